"""LIVECell as published: phase-contrast images of eight cell lines, whose cells are outlined in COCO JSON files.

`images/livecell_{train_val,test}_images/`, with or without a folder a cell line, hold
`LINE_Phase_WELL_LOCATION_TIME_CROP.tif`; `livecell_coco_{train,val,test}.json` lie in `annotations/LIVECell/` or beside
`images/`. The published annotations have peculiarities, which are handled as follows:

- All images of a well are one time series, so a well is a group. Test has wells of its own, but training and
  validation share theirs. The published split is kept: where validation shares a well with training, its part of the
  well is a group of its own. This makes validation scores too good, but not test scores.
- Some images are listed twice, because they were annotated twice. A pixel is cell if it is inside any outline.
- A few images are listed for training and for validation. They are used for validation.
"""

import hashlib
import json
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
from PIL import Image

from metaseg.config import SPLITS, Split
from metaseg.data.manifest import Manifest, ManifestError
from metaseg.datasets.coco import draw_outlines, pycocotools, read_coco, read_json
from metaseg.datasets.derived import PARAMETERS, derive
from metaseg.datasets.source import Source
from metaseg.datasets.table import to_manifest

LINES = ("A172", "BT474", "BV2", "Huh7", "MCF7", "SHSY5Y", "SkBr3", "SKOV3")
"""The cell lines, as spelled in file names."""

FOLDERS: dict[Split, str] = {
    "train": "livecell_train_val_images",
    "val": "livecell_train_val_images",
    "test": "livecell_test_images",
}
"""Folder in `images` that holds each split's images."""

_VERSION = 1  # of the masks that are drawn

_NAME = re.compile(r"([A-Za-z0-9]+)_Phase_([A-H]\d{1,2})_\d+_(\d{2,})d(\d\d)h(\d\d)m_\d+\.tif", re.ASCII)
_NAME_EXPECTED = "LINE_Phase_WELL_LOCATION_TIME_CROP.tif, as in A172_Phase_C7_1_02d16h00m_2.tif"


def read_livecell(source: Source) -> Manifest:
    """Read LIVECell, or a part of it, or images that `metaseg.simulators.livecell` made in its layout.

    Columns for `source.metadata`: `cell_line` (the default), `well` (with its line: `A172-C7`), `hours` (since the time
    series began). Images are grouped by well unless `source.group_by` names another column. The published split is used
    if all three JSON files exist, else images are split by group. Masks are drawn into `source.scratch` once.

    Warns:
        UserWarning: images on disk aren't listed, and are left out; images are listed several times; training and
            validation share wells.

    Raises:
        ManifestError: there is no annotation file, or a listed image isn't on disk; a file isn't COCO, is inconsistent,
            or has an outline that can't be drawn; a file name isn't as published.
        ConfigError: the package `pycocotools` isn't installed.
    """
    root = source.path
    files = _annotation_files(root)
    parameters = {"importer": "livecell", "version": _VERSION, "annotations": {s: _sha256(f) for s, f in files.items()}}
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:12]
    on_disk = _images_on_disk(root)
    folder = derive(
        source.scratch / f"livecell-{digest}",
        parameters,
        lambda folder: _write_masks(folder, files, on_disk, source.progress),
    )
    table = pd.read_csv(folder / "images.csv", dtype={"name": str, "split": str})
    _check_on_disk(str(root), table["name"], on_disk)
    names = [_parse(name) for name in table["name"]]
    table["cell_line"] = [line for line, _, _ in names]
    table["well"] = [f"{line}-{well}" for line, well, _ in names]
    table["hours"] = [hours for _, _, hours in names]
    table["image"] = [on_disk[name] for name in table["name"]]
    table["mask"] = [f"masks/{Path(name).stem}.png" for name in table["name"]]
    if len(files) < len(SPLITS):
        del table["split"]
    if source.group_by is None:
        table["group"] = _groups(root, table)
    _warn_of_oddities(root, table, len(on_disk))
    return to_manifest(
        table.drop(columns=["name", "listings"]),
        root,
        source.metadata or ("cell_line",),
        source.group_by,
        str(root),
        mask_root=folder,
        about=_about(root, table["cell_line"].nunique()),
    )


def _annotation_files(root: Path) -> dict[Split, Path]:
    places = (root / "annotations" / "LIVECell", root)
    found = {s: [file for place in places if (file := place / f"livecell_coco_{s}.json").is_file()] for s in SPLITS}
    twice = [f"{s.name} is also in {t.parent}; expected one" for s, t in (f for f in found.values() if len(f) > 1)]
    ManifestError.check(str(root), twice)
    if not any(found.values()):
        raise ManifestError(
            f"{root} has no annotations; expected livecell_coco_train.json, livecell_coco_val.json or "
            "livecell_coco_test.json in annotations/LIVECell, or in the folder itself"
        )
    return {split: files[0] for split, files in found.items() if files}


def _images_on_disk(root: Path) -> dict[str, str]:
    """Map the name of each image's file to its path relative to `root`."""
    found: dict[str, str] = {}
    problems = []
    for folder in sorted(set(FOLDERS.values())):
        for pattern in ("[!.]*", "[!._]*/[!.]*"):
            for path in sorted((root / "images" / folder).glob(pattern)):
                if path.suffix.lower() != ".tif":
                    continue
                relative = path.relative_to(root).as_posix()
                first = found.setdefault(path.name, relative)
                if first != relative:
                    problems.append(f"image {relative!r} has the name of {first!r}; expected one file per name")
    ManifestError.check(str(root), problems)
    return found


def _check_on_disk(source: str, names: Iterable[str], on_disk: Mapping[str, str]) -> None:
    absent = sorted(set(names) - on_disk.keys())
    if absent:
        shown = ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else "")
        folders = " or ".join(f"images/{folder}" for folder in sorted(set(FOLDERS.values())))
        raise ManifestError(
            f"{source}: {len(absent)} of {len(set(names))} annotated images aren't on disk ({shown}); expected all in "
            f"{folders}, directly or in a folder of their cell line"
        )


def _groups(root: Path, table: pd.DataFrame) -> pd.Series:
    """Group images by well; validation images of a well that training has too are a group of their own."""
    if "split" not in table:
        return table["well"]
    in_val = table["split"] == "val"
    shared = in_val & table["well"].isin(table["well"][table["split"] == "train"])
    if shared.any():
        warnings.warn(
            f"{root}: training shares {table['well'][shared].nunique()} wells with {shared.sum()} of {in_val.sum()} "
            "validation images, as published, so that validation scores are too good; test scores are not affected. "
            "Remove one annotation file to have images split by well",
            stacklevel=3,
        )
    return table["well"].where(~shared, table["well"] + " (val)")


def _warn_of_oddities(root: Path, table: pd.DataFrame, images: int) -> None:
    if images > len(table):
        warnings.warn(f"{root}: {images - len(table)} of {images} images aren't listed; left out", stacklevel=3)
    if again := int((table["listings"] > 1).sum()):
        warnings.warn(
            f"{root}: {again} images are listed several times; their outlines are united, and those listed for "
            "training and validation are used for validation",
            stacklevel=3,
        )


def _about(root: Path, lines: int) -> str:
    if not (root / PARAMETERS).is_file():
        return f"LIVECell, phase-contrast images of {lines} cell lines"
    expected = "a simulator's, with simulator and metadata_effect"
    made = read_json(root / PARAMETERS, expected)
    effect = made.get("metadata_effect") if isinstance(made, dict) and "simulator" in made else None
    if not isinstance(effect, int | float):
        raise ManifestError(f"{root / PARAMETERS}: holds {made!r:.80}; expected {expected}")
    return f"SIMULATED images of {lines} cell lines in LIVECell's layout, metadata effect {effect:g} (0: none)"


def _write_masks(
    folder: Path, files: Mapping[Split, Path], on_disk: Mapping[str, str], progress: Callable[[int, int], None]
) -> None:
    """Write `masks/NAME.png`, 255 in cells, and `images.csv` with the name, split and listings of each image."""
    pycocotools()  # so that a missing package is reported before minutes of reading
    (folder / "masks").mkdir()
    rows: dict[str, dict[str, object]] = {}
    for split in sorted(files, key=("test", "val", "train").index):  # the first one keeps an image
        path = files[split]
        images = read_coco(path)
        _check_names(path, split, images, rows)
        _check_on_disk(str(path), images, on_disk)
        for done, (name, image) in enumerate(images.items(), start=1):
            if name in rows:
                rows[name]["listings"] = cast(int, rows[name]["listings"]) + image.listings
            else:
                rows[name] = {"name": name, "split": split, "listings": image.listings}
                pixels = np.where(draw_outlines(image, str(path)), np.uint8(255), np.uint8(0))
                Image.fromarray(pixels).save(folder / "masks" / f"{Path(name).stem}.png")
            progress(done, len(images))
    pd.DataFrame(rows.values(), columns=["name", "split", "listings"]).to_csv(folder / "images.csv", index=False)


def _check_names(path: Path, split: Split, names: Iterable[str], earlier: Mapping[str, Mapping[str, object]]) -> None:
    problems = []
    for name in names:
        try:
            _parse(name)
        except ValueError as error:
            problems.append(str(error))
        if name in earlier and earlier[name]["split"] == "test":
            problems.append(f"image {name!r} is for {split}, but also for test; expected test images in test only")
    ManifestError.check(str(path), problems)


def _parse(name: str) -> tuple[str, str, float]:
    """Parse cell line, well and hours from an image's name; raises `ValueError` if it isn't as published."""
    found = _NAME.fullmatch(name)
    if not found:
        raise ValueError(f"image has the name {name!r}; expected {_NAME_EXPECTED}")
    line, well, days, hours, minutes = found.groups()
    if line not in LINES:
        raise ValueError(f"image {name!r} is of the cell line {line!r}; expected one of {', '.join(LINES)}")
    return line, well, 24 * int(days) + int(hours) + int(minutes) / 60


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
