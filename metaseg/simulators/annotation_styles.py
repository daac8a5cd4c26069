"""Annotation styles (paper, section 3.2 and Figure S2): a third of the training masks is finely and a third coarsely
polygonised, as by annotators who save vertices. The networks see the style and nothing else.

The annotator is simulated, not the image: outlines are simplified by the Douglas-Peucker algorithm
(`skimage.measure.approximate_polygon`), so that no point of a contour is further than the tolerance from its polygon.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image
from scipy.ndimage import binary_fill_holes, find_objects, label
from skimage import measure
from skimage.draw import polygon2mask

from metaseg.data.decode import decode_mask, load_mask
from metaseg.data.files import sha256, source_files
from metaseg.data.manifest import ROW, Manifest, ManifestError
from metaseg.data.mask_values import MaskValues
from metaseg.data.metadata import MetadataColumn
from metaseg.data.split import assign_splits, seeded_order
from metaseg.datasets.derived import derive, mask_name
from metaseg.datasets.source import Progress
from metaseg.simulators.settings import StyleConfig

STYLES = ("accurate", "fine", "coarse")
"""Values of the column `style`."""

_VERSION = 1  # of the masks that are written

Mask = npt.NDArray[np.bool_]


def with_styles(
    manifest: Manifest,
    scratch: Path,
    config: StyleConfig,
    progress: Progress = lambda done, total: None,
) -> Manifest:
    """Redraw a manifest's masks in several styles, and make the style their only metadata.

    The styles are assigned to training samples in equal numbers (up to one), also within each value of the manifest's
    first categorical metadata column; the assignment is a function of the seed and the images' names. Samples for
    validation and test are accurate.

    Objects are polygonised one by one: pixels of equal label in a mask file of several labels, or each file of a folder
    of masks; parts of an object that don't touch, not even at corners, are treated separately. In a file of one value,
    objects that touch are one. The resulting masks are binary.

    Args:
        manifest: has one class and one mask per image. If it has no splits, they are assigned by group and the first
            categorical metadata column.
        scratch: folder in which the masks' folder is made, once for the same masks and styles.
        config: tolerances, splits and seed.
        progress: called with the number of masks written and of all masks.

    Returns:
        A manifest with the metadata column `style`, whose results are broken down as before. The former categorical
        metadata columns are strata. Several classes become one without a name.

    Raises:
        ManifestError: the manifest has several masks per image or a column `style`, or a mask can't be read.
    """
    if manifest.per:
        columns = " and ".join(manifest.per)
        raise ManifestError(f"{manifest.source}: has several masks per image, by {columns}; expected one")
    if "style" in manifest.table:
        raise ManifestError(f"{manifest.source}: has a column 'style' of its own; rename it")
    table = manifest.table.reset_index(drop=True)
    subgroup = (
        table[manifest.subgroup_column].astype(str) if manifest.subgroup_column else pd.Series("all", table.index)
    )
    if "split" not in table:
        group = table["group"] if "group" in table else table["image"]
        table["split"] = assign_splits(group, subgroup, config.val_fraction, config.test_fraction, config.split_seed)
    table["style"] = _styles(table["image"], subgroup, table["split"] == "train", config.seed)
    table["mask"], mask_root = _derive_masks(manifest, table, scratch, config, progress)
    categorical = [column.name for column in manifest.metadata if column.kind == "categorical"]
    for name in categorical:
        table[name] = table[name].astype(str)
    fine, coarse = config.tolerances["fine"], config.tolerances["coarse"]
    styles = f"annotation styles accurate, fine ({fine:g} px) and coarse ({coarse:g} px) in training"
    return replace(
        manifest,
        table=table,
        metadata=(MetadataColumn("style", "categorical"),),
        mask_root=mask_root,
        strata=(*categorical, *manifest.strata),
        reported_by=manifest.subgroup_column,
        about=", ".join(filter(None, (manifest.about, styles))),
        classes=manifest.classes if len(manifest.classes) == 1 else (),
    )


def polygonise(mask: npt.NDArray[Any], tolerance: float) -> Mask:
    """Redraw each object as a polygon of fewer vertices.

    Vertices are some of the points where the contour passes between pixel centres; a pixel is inside if its centre is.
    Holes are polygonised too, and are kept. An object or hole whose polygon would have no area, or no pixel, stays as
    it is. At a tolerance of 0 all stay as they are.

    Args:
        mask: `(H, W)` of bool, or of labels from 0 (background); pixels of equal value that touch, corners included,
            are one object.
        tolerance: largest distance of a point of a contour from its polygon, in pixels.

    Returns:
        `(H, W)` the union of all objects.
    """
    result: Mask = np.zeros(mask.shape, dtype=np.bool_)
    objects = measure.label(mask, connectivity=2)
    for number, box in enumerate(find_objects(objects), start=1):
        alone = objects[box] == number
        filled = np.asarray(binary_fill_holes(alone), dtype=np.bool_)
        redrawn = _redraw(filled, tolerance, "high")
        holes, _ = label(filled & ~alone)
        for hole, place in enumerate(find_objects(holes), start=1):
            redrawn[place] &= ~_redraw(holes[place] == hole, tolerance, "low")
        result[box] |= redrawn
    return result


def _redraw(region: Mask, tolerance: float, connected: Literal["high", "low"]) -> Mask:
    """Redraw a region without holes as its polygon.

    Pixels of an object are connected at corners (`high`), hence those of a hole are not (`low`): each has one contour.
    """
    polygon = simplified_contour(region, tolerance, connected)
    rows, columns = polygon.T
    if np.dot(rows[:-1], columns[1:]) == np.dot(rows[1:], columns[:-1]):  # less than three vertices, or on a line
        return region.copy()
    drawn: Mask = polygon2mask((region.shape[0] + 2, region.shape[1] + 2), polygon + 1)[1:-1, 1:-1]
    return drawn if drawn.any() else region.copy()


def simplified_contour(
    region: Mask, tolerance: float, connected: Literal["high", "low"] = "high"
) -> npt.NDArray[np.float64]:
    """Simplify a region's outer contour to a closed polygon: `(vertices + 1, 2)` row, column; the last is the first."""
    # Padded, so that a contour is closed where the region touches the image's border.
    contours = measure.find_contours(np.pad(region, 1), 0.5, fully_connected=connected)
    return np.asarray(measure.approximate_polygon(max(contours, key=len), tolerance) - 1, dtype=np.float64)


def _styles(image: pd.Series, subgroup: pd.Series, training: pd.Series, seed: int) -> list[str]:
    order = pd.DataFrame({"subgroup": subgroup, "order": seeded_order(image, seed, "style"), "image": image})
    order = order[training].sort_values(["subgroup", "order", "image"])
    styles = {row: STYLES[place % len(STYLES)] for place, row in enumerate(order.index)}
    return [styles.get(row, STYLES[0]) for row in image.index]


def _derive_masks(
    manifest: Manifest, table: pd.DataFrame, scratch: Path, config: StyleConfig, progress: Progress
) -> tuple[list[str], Path]:
    """Write the masks; return their names and their folder, which is named by a hash of what they are made from."""
    files = [masks for _, masks in source_files(manifest, table.assign(**{ROW: range(len(table))}))]
    names = [mask_name(image) for image in table["image"]]
    tolerances = [config.tolerances[style] for style in table["style"]]
    made = {
        name: [tolerance, [sha256(file) for file in masks]]
        for name, tolerance, masks in zip(names, tolerances, files, strict=True)
    }
    digest = hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()

    def write(folder: Path) -> None:
        for done, (name, tolerance, masks) in enumerate(zip(names, tolerances, files, strict=True), start=1):
            pixels = np.where(_read(masks, tolerance), np.uint8(255), np.uint8(0))
            Image.fromarray(pixels).save(folder / name)
            progress(done, len(names))

    parameters: Mapping[str, object] = {"styles": _VERSION, "tolerances": config.tolerances, "masks": digest}
    return names, derive(scratch / f"styles-{digest[:12]}", parameters, write)


def _read(files: Sequence[Path], tolerance: float) -> Mask:
    """Read a sample's mask and redraw it with `tolerance`."""
    united: Mask = decode_mask(files, MaskValues(("object",))) == 1
    if not tolerance:
        return united
    result = np.zeros_like(united)
    for file in files:
        result |= polygonise(load_mask(file)[..., 0], tolerance)
    return result
