"""COCO annotation files: outlines of objects as polygons or run lengths (RLE), drawn into masks.

Files are not trusted: values that pycocotools doesn't check (an outline's size, run lengths, coordinates) are checked
first.
"""

import importlib
import json
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from metaseg.config import ConfigError
from metaseg.data.manifest import ManifestError

Mask = npt.NDArray[np.bool_]

SLACK = 1.0
"""Pixels by which a polygon may reach beyond its image."""


@dataclass
class CocoImage:
    """An image, by its file's name, and the outlines of objects in it."""

    name: str
    height: int
    width: int
    listings: int = 1
    """Times that the file lists an image of this name, each with an id and outlines of its own."""
    outlines: list[tuple[object, object]] = field(default_factory=list)
    """Each annotation's id and `segmentation`: a list of polygons (x, y, x, y, ...), or run lengths (`size` and
    `counts`, which is a list of numbers or COCO's compressed string)."""


def read_coco(path: Path) -> dict[str, CocoImage]:
    """Read the images that a file lists, by name; their outlines are checked only when they are drawn.

    Raises:
        ManifestError: the file isn't COCO, or its entries are inconsistent.
    """
    content = read_json(path, "COCO annotations")
    for key in ("images", "annotations"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise ManifestError(f"{path}: has no list {key!r}; expected COCO annotations, lists images and annotations")
    problems: list[str] = []
    by_id: dict[Hashable, CocoImage] = {}
    by_name: dict[str, CocoImage] = {}
    for number, entry in enumerate(content["images"], start=1):
        if problem := _image_problem(entry):
            problems.append(f"image {number} {problem}")
            continue
        image = CocoImage(entry["file_name"], entry["height"], entry["width"])
        same = by_name.setdefault(image.name, image)
        if entry["id"] in by_id:
            problems.append(f"images {by_id[entry['id']].name!r} and {image.name!r} both have id {entry['id']!r}")
        elif (same.height, same.width) != (image.height, image.width):
            problems.append(
                f"image {image.name!r} is listed as {same.width}x{same.height} and {image.width}x{image.height}"
            )
        same.listings += same is not image
        by_id[entry["id"]] = same
    ManifestError.check(str(path), problems)
    for number, entry in enumerate(content["annotations"], start=1):
        absent = _absent(entry, ("image_id", "segmentation"))
        if absent or not isinstance(entry["image_id"], int | str):
            problems.append(f"annotation {number} {absent or 'has no number or text as image_id'}")
        elif entry["image_id"] not in by_id:
            problems.append(f"annotation {number} is of image id {entry['image_id']!r}; expected the id of an image")
        else:
            by_id[entry["image_id"]].outlines.append((entry.get("id", f"number {number}"), entry["segmentation"]))
    ManifestError.check(str(path), problems)
    return by_name


def read_json(path: Path, expected: str) -> Any:
    """Read a JSON file; raises `ManifestError`, which names what was `expected`, if it isn't JSON."""
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{path}: is not JSON ({error}); expected {expected}") from error


def draw_outlines(image: CocoImage, source: str) -> Mask:
    """Draw the union of an image's objects: `(height, width)`.

    Polygons are filled by pycocotools and have no holes; those of fewer than three vertices are empty. Run lengths keep
    their holes. Crowds are drawn like objects.

    Raises:
        ManifestError: an outline can't be drawn; `source`, the image and the annotation are named.
        ConfigError: the package `pycocotools` isn't installed.
    """
    mask: Mask = np.zeros((image.height, image.width), dtype=np.bool_)
    problems = []
    polygons: list[npt.NDArray[np.float64]] = []
    for name, outline in image.outlines:
        try:
            if isinstance(outline, dict):
                mask |= _decode(outline, image)
            else:
                polygons += _polygons(outline, image)
        except ValueError as error:
            problems.append(f"image {image.name!r}, annotation {name}: {error}")
    ManifestError.check(source, problems)
    if polygons:
        coco = pycocotools()
        united = coco.merge(coco.frPyObjects(polygons, image.height, image.width))
        mask |= _decode({"size": united["size"], "counts": united["counts"].decode()}, image)
    return mask


def pycocotools() -> Any:
    """Import `pycocotools.mask`; raises `ConfigError`, with how to install it, if it isn't installed."""
    try:
        return importlib.import_module("pycocotools.mask")
    except ImportError as error:
        raise ConfigError(
            f"COCO annotations need another package ({error}): pip install 'metaseg[livecell]'"
        ) from error


def _image_problem(entry: object) -> str:
    if absent := _absent(entry, ("id", "file_name", "height", "width")):
        return absent
    assert isinstance(entry, dict)
    if not isinstance(entry["file_name"], str) or not isinstance(entry["id"], int | str):
        return f"has id {entry['id']!r} and file_name {entry['file_name']!r}; expected a number or text, and text"
    height, width, limit = entry["height"], entry["width"], Image.MAX_IMAGE_PIXELS
    if type(height) is not int or type(width) is not int or height < 1 or width < 1:
        return f"({entry['file_name']}) has width {width!r} and height {height!r}; expected positive whole numbers"
    if limit is not None and height * width > limit:
        return f"({entry['file_name']}) claims {width}x{height} pixels; expected at most {limit}"
    return ""


def _absent(entry: object, keys: tuple[str, ...]) -> str:
    if not isinstance(entry, dict):
        return f"is {entry!r:.60}; expected an object with {', '.join(keys)}"
    absent = [key for key in keys if key not in entry]
    return f"has no {', '.join(absent)}; expected {', '.join(keys)}" if absent else ""


def _polygons(outline: object, image: CocoImage) -> Iterator[npt.NDArray[np.float64]]:
    if outline == []:
        raise ValueError(
            "segmentation is []; expected a list of polygons: draw the object, or remove an annotation without one"
        )
    if not isinstance(outline, list):
        raise ValueError(f"segmentation is {outline!r:.60}; expected a list of polygons, or an object of run lengths")
    for polygon in outline:
        try:
            numbers = np.asarray(polygon, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            numbers = np.empty((0, 0))
        if numbers.ndim != 1:
            raise ValueError(f"polygon is {polygon!r:.60}; expected a list of numbers x, y, x, y, ...")
        if len(numbers) % 2:
            raise ValueError(f"polygon has {len(numbers)} numbers; expected pairs x, y")
        points = numbers.reshape(-1, 2)
        outside = ~((points >= -SLACK) & (points <= np.array([image.width, image.height]) + SLACK)).all(axis=1)
        if outside.any():
            x, y = points[outside][0]
            raise ValueError(
                f"polygon has a vertex at x {x:g}, y {y:g}; expected x 0 to {image.width}, y 0 to {image.height}"
            )
        if len(points) >= 3:
            yield numbers


def _decode(outline: dict[object, object], image: CocoImage) -> Mask:
    """Decode run lengths, down the columns from the left, of background and object in turn: `(height, width)`."""
    size = [image.height, image.width]
    if outline.get("size") != size:
        raise ValueError(f"run lengths are of size {outline.get('size')!r:.60}; expected {size} (height, width)")
    counts = outline.get("counts")
    runs = _decompress(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(run) is int and run >= 0 for run in runs):
        raise ValueError(f"counts are {counts!r:.60}; expected whole numbers from 0, or COCO's compressed text")
    if sum(runs) != image.height * image.width:
        raise ValueError(f"run lengths cover {sum(runs)} pixels; expected {image.height * image.width}")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(image.width, image.height).T


def _decompress(text: str) -> list[int]:
    """Decompress run lengths from COCO's text.

    Numbers are in base 32, low digits first; from the fourth on, they are differences to the last but one.
    A character is 48 plus five bits of the number, plus 32 if more follow; bit 16 of the last one is the sign.
    """
    digits = [ord(character) - 48 for character in text]
    if not all(0 <= digit < 64 for digit in digits) or (digits and digits[-1] & 32):
        raise ValueError(f"counts are {text!r:.60}; expected COCO's compressed text")
    ends = [0, *(place for place, digit in enumerate(digits, start=1) if not digit & 32)]
    runs: list[int] = []
    for start, end in pairwise(ends):
        number = sum((digit & 31) << (5 * place) for place, digit in enumerate(digits[start:end]))
        if digits[end - 1] & 16:
            number -= 1 << (5 * (end - start))
        runs.append(number + (runs[-2] if len(runs) > 2 else 0))
    return runs
