"""Synthetic anomalies: simulated brightfield images in which the task says whether to segment nuclei or anomalies.

The fields of view are those of `metaseg.simulators.seven_cells`, with nuclei outlined on their contour in all seven
cell lines. Some of them have anomalies: debris, bubbles and spots out of focus. Every image has a row of task `nuclei`;
the few annotated ones have a second row, of task `anomaly`, as 365 of 3024 in the paper (section 3.3).

Consequences for a study:

- At `metadata_effect=1` the two rows of an image have different masks, and only the task distinguishes them.
- At effect e, each anomaly is also in the nuclei mask with probability 1 - e, and each nucleus in the anomaly mask. At
  0 both rows have the same mask, and the task carries no information about it.
- Images never depend on the effect: for a given seed, only masks change with it.
- Anomalies hide what lies beneath, but nuclei masks ignore that: a nucleus under debris is invisible, but in the mask.

An image is a function of (seed, index) and of whether its anomalies are visible, not of the number of images.
"""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image
from scipy.ndimage import label

from metaseg.config import Split
from metaseg.data.manifest import Manifest
from metaseg.datasets.derived import derive
from metaseg.datasets.source import Progress
from metaseg.datasets.table import read_frame, to_manifest
from metaseg.simulators.artefacts import draw_artefacts
from metaseg.simulators.settings import FIELDS, SPLIT_OF_WELLS, AnomalyConfig, SyntheticConfig
from metaseg.simulators.seven_cells import LINES, field_of_view

ANNOTATED: dict[Split, float] = {"train": 194 / 365, "val": 70 / 365, "test": 101 / 365}
"""Shares of the annotated images by split (Table S1)."""


Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ImagePlan:
    """Properties of one image, chosen before it is drawn."""

    cell_line: str
    well: int
    """Counted from 0 in its line."""
    field: int
    """Counted from 0 in its well."""
    split: Split
    annotated: bool
    """True if it has an anomaly mask too."""
    visible: bool
    """True if it has anomalies."""


@dataclass(frozen=True)
class AnomalyScene:
    """One image and the objects in it."""

    image: npt.NDArray[np.uint8]
    """`(size, size)`"""
    nuclei: npt.NDArray[np.int32]
    """`(size, size)`: 0, or the label of the nucleus, from 1; nuclei that touch count as one."""
    anomalies: Mask
    """`(anomalies, size, size)`: the pixels of each. They may overlap."""
    chance: npt.NDArray[np.float64]
    """`(nuclei + anomalies,)` numbers in [0, 1): an object is also in the other task's mask unless its number is below
    the metadata's effect."""

    def masks(self, metadata_effect: float) -> tuple[Mask, Mask]:
        """Draw the masks of the tasks `nuclei` and `anomaly`: `(size, size)` each."""
        stray = self.chance >= metadata_effect
        count = len(stray) - len(self.anomalies)
        nuclei = (self.nuclei > 0) | self.anomalies[stray[count:]].any(axis=0)
        anomalies = np.concatenate([[False], stray[:count]])[self.nuclei] | self.anomalies.any(axis=0)
        return nuclei, anomalies


def make_anomalies(folder: Path, config: AnomalyConfig, progress: Progress = lambda done, total: None) -> Manifest:
    """Write the images, masks and manifest.csv into `folder`, or reuse them if they exist.

    Args:
        folder: doesn't exist, is empty, or holds what this function wrote for the same `config`. It appears complete or
            not at all.
        config: number and kind of images, and the effect of metadata.
        progress: called with the number of images written and of all images.

    Returns:
        One row per image and mask. Metadata: `task` (nuclei, anomaly). Strata: `both_masks` (yes, no) and `cell_line`.

    Raises:
        ConfigError: `folder` holds something else.
    """
    derive(folder, {"anomalies": config.version, **asdict(config)}, lambda complete: _write(complete, config, progress))
    path, metadata = folder / "manifest.csv", ["task"]
    about = (
        "SIMULATED brightfield images of seven cell lines with debris, bubbles and spots out of focus, "
        f"metadata effect {config.metadata_effect:g} (0: none)"
    )
    table, strata = read_frame(path, metadata, None), ("both_masks", "cell_line")
    return to_manifest(table, folder, metadata, None, str(path), strata=strata, per=("task",), about=about)


def plan(config: AnomalyConfig) -> list[ImagePlan]:
    """Choose each image's properties. The images with the lowest random numbers are annotated, about equally many of
    each cell line."""
    chance = [float(_generator(config, index, 0).uniform()) for index in range(config.images)]
    wells = [divmod(index // FIELDS, len(LINES)) for index in range(config.images)]
    splits = [SPLIT_OF_WELLS[index // FIELDS % len(SPLIT_OF_WELLS)] for index in range(config.images)]
    earlier: Counter[tuple[Split, int]] = Counter()
    turns: dict[int, int] = {}
    for index in sorted(range(config.images), key=chance.__getitem__):
        place = splits[index], wells[index][1]
        turns[index] = earlier[place]
        earlier[place] += 1
    annotated: set[int] = set()
    for split, share in ANNOTATED.items():
        ordered = sorted((index for index in turns if splits[index] == split), key=turns.__getitem__)
        annotated.update(ordered[: max(1, round(config.annotated * config.images * share))])
    visible = [index in annotated or chance[index] < config.prevalence for index in range(config.images)]
    return [
        ImagePlan(list(LINES)[line], well, index % FIELDS, splits[index], index in annotated, visible[index])
        for index, (well, line) in enumerate(wells)
    ]


def draw_image(config: AnomalyConfig, index: int, visible: bool) -> AnomalyScene:
    """Draw the image `index`, with its anomalies or without; `config.metadata_effect` isn't used."""
    well, field = divmod(index, FIELDS)
    number, line = divmod(well, len(LINES))
    cells = field_of_view(SyntheticConfig(size=config.size, seed=config.seed), list(LINES)[line], number, field)
    nuclei, count = label(cells.distance <= 0)
    image, anomalies = cells.image, np.zeros((0, config.size, config.size), dtype=np.bool_)
    if visible:
        light, anomalies = draw_artefacts(config.size, _generator(config, index, 1))
        image = np.clip(np.rint(image * light), 0, 255).astype(np.uint8)
    chance = _generator(config, index, 2).uniform(size=count + len(anomalies))
    return AnomalyScene(image, nuclei.astype(np.int32), anomalies, chance)


def _generator(config: AnomalyConfig, index: int, stream: int) -> np.random.Generator:
    """Make a generator; its spawn key keeps it independent of those that the cells are drawn with."""
    return np.random.default_rng(np.random.SeedSequence([config.seed, index], spawn_key=(stream,)))


def _write(folder: Path, config: AnomalyConfig, progress: Progress) -> None:
    for name in ("images", "masks/nuclei", "masks/anomaly"):
        (folder / name).mkdir(parents=True)
    rows = []
    for index, image in enumerate(plan(config)):
        scene = draw_image(config, index, image.visible)
        group = f"{image.cell_line}-W{image.well + 1:03d}"
        name = f"{group}-F{image.field + 1}.png"
        Image.fromarray(scene.image).save(folder / "images" / name)
        for task, mask in zip(("nuclei", "anomaly"), scene.masks(config.metadata_effect), strict=True):
            if task == "anomaly" and not image.annotated:
                continue
            Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0))).save(folder / "masks" / task / name)
            rows.append({
                "image": f"images/{name}", "mask": f"masks/{task}/{name}", "split": image.split, "group": group,
                "task": task, "both_masks": "yes" if image.annotated else "no", "cell_line": image.cell_line,
            })  # fmt: skip
        progress(index + 1, config.images)
    pd.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)
