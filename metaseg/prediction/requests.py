"""The images to segment, with their metadata and, where there are any, reference masks."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from metaseg.config import ConfigError
from metaseg.data.decode import decode_image
from metaseg.data.manifest import ManifestError
from metaseg.data.metadata import CategoricalCode, UnknownMetadataError
from metaseg.data.reading import ImagePixels
from metaseg.datasets.table import read_frame
from metaseg.prediction.ensemble import Ensemble
from metaseg.prediction.image_files import ENDINGS, find_images
from metaseg.schema import UNKNOWN
from metaseg.text import clean_text

Value = str | float | None


@dataclass(frozen=True)
class Request:
    """An image to segment."""

    name: str
    """Its name in tables: its path within the folder that was given."""
    files: tuple[Path, ...]
    """One file; or one for each channel, of one channel each."""
    told: Mapping[str, Value]
    """Its metadata."""
    reference: Path | None = None
    """Its reference mask: a file, or a folder with a file for each object."""
    stem: str = ""
    """Path of what is written of it, within each folder of results and without an ending; unique."""

    def decode(self, ensemble: Ensemble) -> ImagePixels:
        """Read the image as `(H, W, C)`; raises `ManifestError` where that can't be done."""
        channels = [decode_image(file, ensemble.reading) for file in self.files]
        if len({pixels.shape for pixels in channels}) > 1:
            shown = ", ".join(f"{file.name} {pixels.shape}" for file, pixels in zip(self.files, channels, strict=True))
            raise ManifestError(f"{self.files[0].parent}: channels of one image are {shown}; expected one shape")
        pixels = np.concatenate(channels, axis=2)
        expected = {ensemble.channels} if ensemble.reading.every_channel else {1, 3}
        if pixels.shape[2] not in expected:
            raise ManifestError(
                f"{self.files[0]}: has {pixels.shape[2]} channels; expected {ensemble.channels}, as in training"
            )
        return pixels


def find_requests(
    images: Path,
    ensemble: Ensemble,
    told: Mapping[str, str],
    table: Path | None = None,
    masks: Path | None = None,
    varied: Mapping[str, Value] | None = None,
) -> list[Request]:
    """List the images to segment, each with metadata that the networks know.

    Args:
        images: an image; a folder of images; nnU-Net's imagesTs, whose files are called CASE_0000; or a table with a
            column `image` and, where there are references, `mask`, with paths relative to it.
        ensemble: the networks.
        told: metadata of all images, by column; of what isn't in a table.
        table: CSV or Parquet file with a row for each image: a column `image` (or `case`) with its name, and metadata.
        masks: folder of reference masks, called as the images.
        varied: a value for each column that images may lack, since it is varied.

    Raises:
        ConfigError: options that don't go together, or a place without images.
        ManifestError: files or rows are missing or twice there, or have metadata that the networks don't know. The
            first ten problems are listed together.
    """
    source = images
    if images.suffix.lower() in (".csv", ".parquet"):
        if table or masks:
            wrong = "metadata table" if table else "folder of masks"
            raise ConfigError(f"images is the table {images}, which names them itself; expected no {wrong} beside it")
        requests = _of_table(images, ensemble)
    else:
        found = find_images(images, ensemble.channels if ensemble.reading.every_channel else 1)
        requests = [Request(name, files, {}) for name, files in found.items()]
        if table:
            requests, source = _with_metadata(requests, table, ensemble), table
        if masks:
            requests = _with_masks(requests, masks)
    if not requests:
        raise ManifestError(f"{source}: has no rows; expected one for each image")
    if twice := sorted(set(told) & set(requests[0].told)):
        raise ConfigError(f"metadata column {twice[0]!r} is in {source} too; expected its values in one place")
    lacking = [name for name in ensemble.columns if name not in {**requests[0].told, **told, **(varied or {})}]
    if lacking:
        where = f"{source} nor" if source.suffix in (".csv", ".parquet") else "a --metadata-table nor"
        raise ConfigError(
            f"metadata column {lacking[0]!r} is neither in {where} given by --metadata {lacking[0]}=VALUE; these "
            f"networks see {', '.join(ensemble.columns)}"
        )
    everywhere = {name: _value(value) for name, value in told.items()}
    requests = [replace(request, told={**request.told, **everywhere}) for request in requests]
    _check_metadata(requests, ensemble, str(source), varied or {})
    return _with_stems(requests, str(source))


def _of_table(path: Path, ensemble: Ensemble) -> list[Request]:
    frame = read_frame(path, _kinds(ensemble), None, required=("image",)).reset_index(drop=True)
    wanted = [name for name in ensemble.columns if name in frame]
    requests: list[Request] = []
    problems: list[str] = []
    for number, row in enumerate(frame.to_dict("records"), start=1):
        image, mask = row["image"], row.get("mask")
        if not isinstance(image, str) or not image:
            problems.append(f"row {number}: has no image; expected a path")
            continue
        reference = path.parent / mask if isinstance(mask, str) and mask else None
        if not (path.parent / image).is_file():
            problems.append(f"row {number}: image {path.parent / image} isn't there")
        elif reference and not reference.exists():
            problems.append(f"row {number}: mask {reference} isn't there")
        told = {name: _value(row[name]) for name in wanted}
        requests.append(Request(image, (path.parent / image,), told, reference))
    ManifestError.check(str(path), problems)
    return requests


def _with_metadata(requests: Sequence[Request], path: Path, ensemble: Ensemble) -> list[Request]:
    """Add each image's metadata from a table, whose names may lack the image's ending."""
    if not path.is_file():
        raise ManifestError(f"{path} doesn't exist; expected a CSV or Parquet file with a column image and metadata")
    frame = read_frame(path, [*_kinds(ensemble), "case:categorical"], None).reset_index(drop=True)
    key = next((name for name in ("image", "case") if name in frame), None)
    if key is None:
        raise ManifestError(f"{path}: has no column 'image'; it has {', '.join(map(str, frame.columns))}")
    wanted = [name for name in ensemble.columns if name in frame]
    if not wanted:
        expected = ", ".join(ensemble.columns) or "no table, since these networks don't see metadata"
        raise ManifestError(f"{path}: has no metadata that these networks see; expected {expected}")
    names = frame[key].fillna("").astype(str)
    rows: dict[str, list[int]] = {}
    alike: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows.setdefault(name, []).append(row)
        alike.setdefault(_bare(name), []).append(row)
    answered: list[Request] = []
    problems: list[str] = []
    values = frame[wanted].to_dict("records")
    for request in requests:
        bare = _bare(request.name)
        places = [row for name in {request.name, bare} for row in rows.get(name, [])] or alike.get(bare, [])
        if len(places) == 1:
            told = {str(name): _value(value) for name, value in values[places[0]].items()}
            answered.append(replace(request, told=told))
        else:
            problems.append(f"has {len(places) or 'no'} rows for image {request.name!r}; expected one")
    if not answered:
        shown = ", ".join(map(repr, names[:3]))
        problems = [f"has no row that fits the {len(requests)} images, such as {requests[0].name!r}; it has {shown}"]
    ManifestError.check(str(path), problems)
    return answered


def _with_masks(requests: Sequence[Request], masks: Path) -> list[Request]:
    if not masks.is_dir():
        raise ConfigError(f"masks is {masks}, which isn't a folder; expected one with masks called as the images")
    there: dict[str, list[Path]] = {}
    for file in masks.glob("[!.]*"):
        there.setdefault(_bare(file.name), []).append(file)
    found = [there.get(_bare(request.name), []) for request in requests]
    problems = [
        f"has {len(files) or 'no'} masks for image {request.name!r}; expected one, called {_bare(request.name)}"
        for request, files in zip(requests, found, strict=True)
        if len(files) != 1
    ]
    if len(problems) == len(requests) > 1:
        raise ManifestError(f"{masks}: has no mask that is called as one of the {len(requests)} images")
    ManifestError.check(str(masks), problems)
    return [replace(request, reference=files[0]) for request, files in zip(requests, found, strict=True)]


def _check_metadata(requests: Sequence[Request], ensemble: Ensemble, source: str, varied: Mapping[str, Value]) -> None:
    problems: dict[str, list[str]] = {}
    for request in requests:
        try:
            ensemble.choose({**varied, **request.told})
        except (ConfigError, UnknownMetadataError) as error:
            problems.setdefault(str(error), []).append(request.name)
    if len(problems) == 1 and len(next(iter(problems.values()))) == len(requests):
        raise ConfigError(next(iter(problems)))  # it isn't about one of the images
    listed = [f"image {name!r}: {problem}" for problem, names in problems.items() for name in names]
    ManifestError.check(source, listed)


def _with_stems(requests: Sequence[Request], source: str) -> list[Request]:
    """Name what is written: as the images without endings; with them, or with metadata, where images share a name."""
    paths = [_inside(request.name) for request in requests]
    bare = [str(path.with_suffix("")) for path in paths]
    told = ["_".join(_plain(str(value)) for value in request.told.values()) for request in requests]
    stems: Sequence[str]
    for stems in (bare, list(map(str, paths)), [f"{name}_{text}" for name, text in zip(bare, told, strict=True)]):
        if len(set(stems)) == len(stems):
            return [replace(request, stem=stem) for request, stem in zip(requests, stems, strict=True)]
    twice = pd.Series(stems).duplicated()
    names = dict.fromkeys(request.name for request, again in zip(requests, twice, strict=True) if again)
    raise ManifestError(f"{source}: has image {next(iter(names))!r} twice with equal metadata; expected it once")


def _inside(name: str) -> Path:
    """A name as a path without root and `..`, since what is written is called by it."""
    return Path(*[part for part in Path(name).parts if part not in (Path(name).anchor, "..")])


def _plain(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", text)


def _bare(name: str) -> str:
    """A file's name without the ending of an image."""
    path = Path(name)
    return path.stem if path.suffix.lower() in ENDINGS else path.name


def _kinds(ensemble: Ensemble) -> list[str]:
    """Metadata columns with the kinds that the networks take, for reading a table: `dose:continuous`."""
    kinds = dict.fromkeys(ensemble.columns, "categorical")
    for member in ensemble.members:
        for code in member.predictor.encoder.codes:
            if code.column in kinds and not isinstance(code, CategoricalCode):
                kinds[code.column] = "continuous"
    return [f"{name}:{kind}" for name, kind in kinds.items()]


def _value(value: object) -> Value:
    if value is None or value != value or (isinstance(value, str) and clean_text(value) in ("", UNKNOWN)):
        return None
    return float(value) if isinstance(value, int | float | np.number) else str(value)
