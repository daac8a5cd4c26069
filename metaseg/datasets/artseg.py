"""ArtSeg, as published: brightfield images with artefacts and their masks, and clean images without any.

Ali et al., "ArtSeg: Rapid artifact segmentation and removal in brightfield cell microscopy images" (2022).
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from metaseg.data.decode import load_mask
from metaseg.data.files import sha256
from metaseg.data.manifest import Manifest, ManifestError, inside
from metaseg.datasets.derived import derive
from metaseg.datasets.settings import ArtSegConfig, Polarity
from metaseg.datasets.source import Source
from metaseg.datasets.table import to_manifest
from metaseg.datasets.tasks import TASK

VERSION = 1
"""Raised whenever other masks are made of the same files."""

_SPLITS = {"train": "train", "validation": "val", "test": "test"}

Size = tuple[int, int]
"""Width and height of an image, in pixels."""


def read_artseg(source: Source, config: ArtSegConfig = ArtSegConfig()) -> Manifest:
    """Read `{train,validation,test}/artifact/x/N.png` with masks `artifact/y/N.png`, and images `clean/N.png`.

    Masks in which 255 is an artefact are written to the source's scratch folder, once for the published masks' content.
    The column `task` is "anomaly" in all rows, and is the metadata unless the source names others: together with masks
    of nuclei, it distinguishes the two tasks. `metaseg.datasets.tasks.join_tasks(nuclei, anomalies, ("nuclei",
    "anomaly"))` makes one manifest of both, if the manifest of nuclei has a column `split` too.

    Args:
        source: the folder that holds train, validation and test.
        config: the masks' polarity, and whether clean images take part.

    Raises:
        ManifestError: the folder hasn't this layout, or, listed together, images or masks lack their counterpart, can't
            be read, differ in size, or masks have values other than 0 and one more.
    """
    root = source.path
    parts = ("artifact/x", "artifact/y", *(["clean"] if config.clean else []))
    expected = [f"{folder}/{part}" for folder in _SPLITS for part in parts]
    missing = [name for name in expected if not (root / name).is_dir()]
    ManifestError.check(str(root), [f"has no folder {name}; expected PNG files in it" for name in missing])
    pairs: dict[str, str] = {}
    clean: list[str] = []
    problems: list[str] = []
    for folder in _SPLITS:
        x, y = f"{folder}/artifact/x", f"{folder}/artifact/y"
        images, masks = _names(root / x), _names(root / y)
        problems += [f"{x}/{name} has no mask; expected {y}/{name}" for name in images if name not in masks]
        problems += [f"{y}/{name} has no image; expected {x}/{name}" for name in masks if name not in images]
        if not images and not masks:
            problems.append(f"{x} holds no PNG file; expected the images that have artefacts")
        pairs |= {f"{x}/{name}": f"{y}/{name}" for name in images}
        if config.clean:
            clean += [f"{folder}/clean/{name}" for name in _names(root / folder / "clean")]
    ManifestError.check(str(root), problems)
    sizes = _sizes(root, [*pairs, *clean])
    masks_of = pairs | {image: f"empty/{width}x{height}.png" for image in clean for width, height in [sizes[image]]}
    table = pd.DataFrame({"image": masks_of.keys(), "mask": masks_of.values()})
    table["split"] = [_SPLITS[image.split("/")[0]] for image in table["image"]]
    table[TASK] = "anomaly"
    metadata = source.metadata or (TASK,)
    return to_manifest(
        table,
        root,
        metadata,
        source.group_by,
        str(root),
        mask_root=_derive_masks(source, config.polarity, pairs, sizes),
        about=f"ArtSeg, artefacts in brightfield images, {root}",
        per=(TASK,) if metadata == (TASK,) else (),
    )


def _names(folder: Path) -> list[str]:
    """List the names of the PNG files in a folder, sorted."""
    return sorted(path.name for path in folder.glob("[!.]*") if path.suffix.lower() == ".png")


def _sizes(root: Path, images: list[str]) -> dict[str, Size]:
    """Read each image's size from its header."""
    sizes: dict[str, Size] = {}
    problems = []
    for image in images:
        try:
            with Image.open(inside(root, image), formats=("PNG",)) as opened:
                sizes[image] = opened.size
        except ManifestError as error:
            problems.append(str(error))
        except Exception as error:  # a damaged file can raise anything inside a decoder
            problems.append(f"{image}: unreadable image ({error}); expected a whole PNG file")
    ManifestError.check(str(root), problems)
    return sizes


def _derive_masks(source: Source, polarity: Polarity, pairs: Mapping[str, str], sizes: Mapping[str, Size]) -> Path:
    """Write a mask, 255 in artefacts, for each published one of `pairs` (by image), and empty masks of each size."""
    files = {image: inside(source.path, mask) for image, mask in pairs.items()}
    empty = sorted({size for image, size in sizes.items() if image not in pairs})
    made_from = {
        "masks": [[pairs[image], sizes[image], sha256(file)] for image, file in files.items()],
        "empty": empty,
    }
    content = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()
    parameters = {"artseg": VERSION, "polarity": polarity, "content": content}
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()

    def write(folder: Path) -> None:
        problems = []
        for done, (image, file) in enumerate(files.items(), start=1):
            try:
                artefact = _artefact(file, polarity, sizes[image])
            except ManifestError as error:
                problems.append(str(error))
            else:
                _save(artefact, folder / pairs[image])
            source.progress(done, len(files))
        ManifestError.check(str(source.path), problems)
        for width, height in empty:
            _save(np.zeros((height, width), dtype=np.bool_), folder / "empty" / f"{width}x{height}.png")

    return derive(source.scratch / f"artseg-{digest[:12]}", parameters, write)


def _artefact(path: Path, polarity: Polarity, size: Size) -> npt.NDArray[np.bool_]:
    """Read the pixels of artefacts in a published mask: `(height, width)`.

    Raises:
        ManifestError: the file can't be read, has another size, or values other than 0 and one more; it is named.
    """
    stored = load_mask(path)
    if stored.shape[2] != 1:
        raise ManifestError(f"{path}: is a colour mask; expected one channel, or three equal ones")
    if stored.shape[:2] != size[::-1]:
        raise ManifestError(
            f"{path}: is {stored.shape[1]}x{stored.shape[0]} (width x height); expected {size[0]}x{size[1]}, as its "
            "image"
        )
    values = np.unique(stored)
    if len(values) > 2 or (len(values) == 2 and values[0] != 0):
        shown = ", ".join(map(str, values[:10].astype(int))) + (", ..." if len(values) > 10 else "")
        raise ManifestError(f"{path}: has mask values {shown}; expected 0 and one other, or one alone")
    ones: npt.NDArray[np.bool_] = stored[..., 0] > 0
    return ones if polarity == "artifact-is-one" else ~ones


def _save(mask: npt.NDArray[np.bool_], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0))).save(path)
