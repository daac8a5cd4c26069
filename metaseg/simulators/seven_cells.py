"""Synthetic seven cell lines: simulated brightfield images whose cell line says how nuclei were outlined.

Two pairs of lines, A549 with HT1080 and HepG2 with MCF7, look alike: their images are drawn by the same code with the
same parameters. They are annotated differently: the simulated laboratory outlines the nuclei of the first line of a
pair `OFFSET * metadata_effect` px outside their contour and those of the second equally far inside. HeLa, MDCK and
NIH3T3 have looks of their own and are outlined on the contour, whatever the effect.

Consequences for a study:

- An image of a look-alike pair alone doesn't determine the outline; together with the cell line it does. For nuclei of
  radius r, the best outline drawn without the line has an expected Dice of about 1 - `OFFSET * metadata_effect` / r.
- At `metadata_effect=0` the distribution of (image, mask) is the same for both lines of a pair, so that the conditional
  mutual information I(mask; line | image, look) is exactly zero: metadata adds nothing to the look.
- Between looks, metadata repeats what the image shows. If it helps a network there, it does so as a shortcut, not by
  adding information.
- Images never depend on the effect: for a given seed, only the masks of the look-alike lines change with it.

Every field of view is a function of (seed, line, well, field), so it doesn't depend on the number of fields.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from metaseg.config import Split
from metaseg.data.manifest import Manifest
from metaseg.datasets.derived import derive
from metaseg.datasets.source import Progress
from metaseg.datasets.table import read_table
from metaseg.simulators.brightfield import Look, Scene, draw_scene, draw_well
from metaseg.simulators.settings import SyntheticConfig

OFFSET = 1.15
"""Distance from the contour at which look-alike nuclei are outlined at `metadata_effect=1`, in pixels."""


@dataclass(frozen=True)
class CellLine:
    """A cell line: its look, and where the simulated laboratory outlines its nuclei."""

    look: Look
    side: int = 0
    """Place of the outline: 1 outside the contour, -1 inside, 0 on it."""


_SPREAD = Look(
    nuclei=14, radius=7.6, elongation=1.3, clump=None, body=8.0, contrast=-0.10, membrane=0.24, halo=0.24,
    border=0.08, nucleoli=2.0, grain=2.5, roughness=0.06,
)  # fmt: skip
_CLUMPED = Look(
    nuclei=19, radius=6.9, elongation=1.12, clump=6.0, body=4.0, contrast=0.28, membrane=0.30, halo=0.0,
    border=0.12, nucleoli=1.5, grain=1.2, roughness=0.14,
)  # fmt: skip

LINES: dict[str, CellLine] = {
    "HeLa": CellLine(
        Look(
            nuclei=11, radius=9.0, elongation=1.15, clump=None, body=10.0, contrast=-0.25, membrane=0.10, halo=0.0,
            border=0.06, nucleoli=3.5, grain=0.9, roughness=0.12,
        )
    ),
    "MDCK": CellLine(
        Look(
            nuclei=26, radius=6.0, elongation=1.1, clump=None, body=6.5, contrast=0.20, membrane=0.20, halo=0.0,
            border=0.30, nucleoli=1.0, grain=1.5, roughness=0.04,
        )
    ),
    "A549": CellLine(_SPREAD, side=1),
    "HT1080": CellLine(_SPREAD, side=-1),
    "HepG2": CellLine(_CLUMPED, side=1),
    "MCF7": CellLine(_CLUMPED, side=-1),
    "NIH3T3": CellLine(
        Look(
            nuclei=10, radius=7.3, elongation=2.1, clump=None, body=5.0, contrast=-0.15, membrane=0.10, halo=0.32,
            border=0.15, nucleoli=1.5, grain=3.0, roughness=0.09,
        )
    ),
}  # fmt: skip
"""Cell lines by name. A line's position is part of its random stream, so append new ones."""


def make_seven_cells(folder: Path, config: SyntheticConfig, progress: Progress = lambda done, total: None) -> Manifest:
    """Simulate brightfield images of seven cell lines: write images, masks and manifest.csv into `folder`.

    Files that this function wrote for the same `config` are reused.

    Args:
        folder: doesn't exist, is empty, or holds what this function wrote for the same `config`. It appears complete or
            not at all.
        config: number and kind of images, and the effect of metadata.
        progress: called with the number of images written and of all images.

    Raises:
        ConfigError: `folder` holds something else.

    Example:
        >>> from pathlib import Path
        >>> from metaseg import SyntheticConfig, make_seven_cells
        >>> cells = make_seven_cells(Path("cells"), SyntheticConfig(size=64, images_per_line=3, wells_per_line=3))
        >>> cells.metadata[0].name, len(cells.table)
        ('cell_line', 21)
    """
    made = {"simulator": config.version, **asdict(config)}
    derive(folder, made, lambda complete: _write(complete, config, progress))
    about = f"SIMULATED brightfield images of seven cell lines, metadata effect {config.metadata_effect:g} (0: none)"
    return replace(read_table(folder / "manifest.csv", ["cell_line"]), about=about)


def field_of_view(config: SyntheticConfig, line: str, well: int, field: int) -> Scene:
    """Draw one field of view, counted from 0 in its well; `config.metadata_effect` isn't used."""
    stream = (config.seed, list(LINES).index(line), well)
    shared = draw_well(np.random.default_rng([*stream, 0]))
    return draw_scene(LINES[line].look, shared, config.size, np.random.default_rng([*stream, 1 + field]))


def outline(scene: Scene, line: str, metadata_effect: float) -> npt.NDArray[np.bool_]:
    """Outline the nuclei as the simulated laboratory outlines those of `line`: `(size, size)`."""
    return scene.distance <= LINES[line].side * OFFSET * metadata_effect


def well_splits(wells: int) -> list[Split]:
    """Assign a split to each of a line's wells: half for training, a third for test, the rest for validation.

    Wells are independent draws from one distribution, so that the assignment needn't be random.
    """
    test = max(1, round(wells / 3))
    val = max(1, round(wells / 6))
    share: dict[Split, int] = {"train": wells - val - test, "val": val, "test": test}
    return [split for split, count in share.items() for _ in range(count)]


def _write(folder: Path, config: SyntheticConfig, progress: Progress) -> None:
    for name in ("images", "masks"):
        (folder / name).mkdir()
    splits = well_splits(config.wells_per_line)
    total = len(LINES) * config.images_per_line
    rows: list[dict[str, object]] = []
    for line in LINES:
        for number in range(config.images_per_line):
            field, well = divmod(number, config.wells_per_line)
            scene = field_of_view(config, line, well, field)
            group = f"{line}-W{well + 1:02d}"
            name = f"{group}-F{field + 1:02d}.png"
            mask = np.where(outline(scene, line, config.metadata_effect), np.uint8(255), np.uint8(0))
            Image.fromarray(scene.image).save(folder / "images" / name)
            Image.fromarray(mask).save(folder / "masks" / name)
            rows.append(
                {
                    "image": f"images/{name}",
                    "mask": f"masks/{name}",
                    "split": splits[well],
                    "group": group,
                    "cell_line": line,
                    "n_nuclei": scene.nuclei,
                }
            )
            progress(len(rows), total)
    pd.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)
