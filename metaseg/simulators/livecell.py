"""Simulated images of LIVECell's eight cell lines in its published layout, for `metaseg.datasets.livecell` to read.

Two pairs of lines, A172 with SKOV3 and BT474 with MCF7, look alike and are outlined differently, as
`metaseg.simulators.seven_cells` explains; the other four have looks of their own and are outlined on the contour,
whatever the effect. The outlines are those of nuclei. Images never depend on the effect: for a given seed, only the
outlines of the look-alike lines change with it. Every image is a function of (seed, line, well, time).
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import binary_fill_holes, find_objects, label
from skimage.measure import find_contours

from metaseg.config import SPLITS, Split
from metaseg.datasets.derived import derive
from metaseg.datasets.livecell import FOLDERS
from metaseg.datasets.source import Progress
from metaseg.simulators.brightfield import Look, Scene, draw_scene, draw_well
from metaseg.simulators.settings import LiveCellSimulation
from metaseg.simulators.seven_cells import LINES as SEVEN_CELLS
from metaseg.simulators.seven_cells import OFFSET, CellLine, well_splits

_STREAM = 0x11FE  # keeps the random numbers apart from those of other simulators with the same seed

_HOURS = 4  # between the images of a well

LINES: dict[str, CellLine] = {
    "A172": CellLine(SEVEN_CELLS["A549"].look, side=1),
    "BT474": CellLine(SEVEN_CELLS["HepG2"].look, side=1),
    "BV2": CellLine(
        Look(
            nuclei=16, radius=6.4, elongation=1.05, clump=None, body=2.5, contrast=0.10, membrane=0.30, halo=0.40,
            border=0.04, nucleoli=1.2, grain=1.0, roughness=0.05,
        )
    ),
    "Huh7": CellLine(SEVEN_CELLS["HeLa"].look),
    "MCF7": CellLine(SEVEN_CELLS["HepG2"].look, side=-1),
    "SHSY5Y": CellLine(SEVEN_CELLS["NIH3T3"].look),
    "SkBr3": CellLine(SEVEN_CELLS["MDCK"].look),
    "SKOV3": CellLine(SEVEN_CELLS["A549"].look, side=-1),
}  # fmt: skip
"""Cell lines by name. A line's position is part of its random stream."""


def simulate_livecell(folder: Path, config: LiveCellSimulation, progress: Progress = lambda done, total: None) -> Path:
    """Write `images/` and `annotations/LIVECell/` into `folder`, or reuse them if they exist.

    Args:
        folder: doesn't exist, is empty, or holds what this function wrote for the same `config`. It appears complete or
            not at all.
        config: number and kind of images, and the effect of metadata.
        progress: called with the number of images written and of all images.

    Returns:
        `folder`, for `metaseg.datasets.livecell.read_livecell`.

    Raises:
        ConfigError: `folder` holds something else.
    """
    made = {"simulator": config.version, **asdict(config)}
    return derive(folder, made, lambda complete: _write(complete, config, progress))


def field_of_view(config: LiveCellSimulation, line: str, well: int, time: int) -> Scene:
    """Draw one image, counted from 0 in its well's series; `config.metadata_effect` isn't used."""
    stream = (_STREAM, config.seed, list(LINES).index(line), well)
    shared = draw_well(np.random.default_rng([*stream, 0]))
    return draw_scene(LINES[line].look, shared, config.size, np.random.default_rng([*stream, 1 + time]))


def outline(scene: Scene, line: str, metadata_effect: float) -> npt.NDArray[np.bool_]:
    """Outline the nuclei as those of `line`: `(size, size)`, without holes."""
    return np.asarray(binary_fill_holes(scene.distance <= LINES[line].side * OFFSET * metadata_effect), dtype=np.bool_)


def to_polygons(mask: npt.NDArray[np.bool_]) -> list[list[float]]:
    """Trace the outer contour of each connected object of `(H, W)`, as in COCO: x, y, x, y, ... from the corner."""
    components, _ = label(mask)
    polygons = []
    for number, (rows, columns) in enumerate(find_objects(components), start=1):
        alone = np.pad(components[rows, columns] == number, 1)
        # Pixel (r, c) of the padded cut-out has its centre at (r + rows.start - 1 + 0.5) in the image.
        contour = max(find_contours(alone, 0.5), key=len) + np.array([rows.start, columns.start]) - 0.5
        polygons.append(contour[:, ::-1].ravel().tolist())
    return polygons


def _write(folder: Path, config: LiveCellSimulation, progress: Progress) -> None:
    splits = well_splits(config.wells_per_line)
    content: dict[Split, dict[str, list[dict[str, Any]]]] = {s: {"images": [], "annotations": []} for s in SPLITS}
    total = len(LINES) * config.images_per_line
    for done in range(total):
        line = list(LINES)[done // config.images_per_line]
        time, well = divmod(done % config.images_per_line, config.wells_per_line)
        scene = field_of_view(config, line, well, time)
        split = splits[well]
        name = file_name(line, well, time)
        path = folder / "images" / FOLDERS[split] / line / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene.image).save(path)
        images, annotations = content[split].values()
        images.append({"id": done, "file_name": name, "height": config.size, "width": config.size})
        for polygon in to_polygons(outline(scene, line, config.metadata_effect)):
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": done,
                    "category_id": 1,
                    "segmentation": [polygon],
                    "iscrowd": 0,
                }
            )
        progress(done + 1, total)
    (folder / "annotations" / "LIVECell").mkdir(parents=True)
    for part, lists in content.items():
        everything = {
            "info": {"description": "SIMULATED images in LIVECell's layout"},
            "categories": [{"id": 1, "name": "cell", "supercategory": "cell"}],
            **lists,
        }
        path = folder / "annotations" / "LIVECell" / f"livecell_coco_{part}.json"
        path.write_text(json.dumps(everything))


def file_name(line: str, well: int, time: int) -> str:
    """Make the name of an image's file; wells and times are counted from 0."""
    column, row = divmod(well, 8)
    days, hours = divmod(_HOURS * time, 24)
    return f"{line}_Phase_{'ABCDEFGH'[row]}{column + 1}_1_{days:02d}d{hours:02d}h00m_1.tif"
