"""A folder or bucket of results: what is written of each image, and the table of all."""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
import tifffile
from PIL import Image
from skimage.segmentation import find_boundaries

from metaseg.config import IGNORED, ConfigError
from metaseg.data.decode import mask_files
from metaseg.data.display import to_display
from metaseg.data.mask_values import Pixels
from metaseg.data.reading import ImagePixels
from metaseg.pictures.draw import CLASSES, TRUTH
from metaseg.prediction.ensemble import Prediction
from metaseg.prediction.requests import Request
from metaseg.schema import META
from metaseg.store.runs import from_json, to_json
from metaseg.store.storage import Storage

Kind = Literal["masks", "probabilities", "overlays", "disagreement"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""Files that can be written of an image, each in a folder of that name."""

TABLE, RECORD = "predictions.csv", "predictions.json"

VERSION = 1
"""Raised whenever results are computed in another way."""

ENDING: Mapping[Kind, str] = {"masks": ".png", "probabilities": ".tif", "overlays": ".png", "disagreement": ".png"}


def mask_png(mask: npt.NDArray[np.uint8], classes: int) -> bytes:
    """Encode a mask as an 8-bit PNG: 0 for background, k for the k-th class; 255 if there is only one."""
    return _png(mask * np.uint8(255) if classes == 1 else mask)


def probability_tiff(probabilities: npt.NDArray[np.float32]) -> bytes:
    """Encode `(K, H, W)` probabilities as a float32 TIFF with a page for each class."""
    content = io.BytesIO()
    tifffile.imwrite(content, probabilities, photometric="minisblack", compression="zlib", metadata={"axes": "CYX"})
    return content.getvalue()


def overlay_png(pixels: ImagePixels, prediction: Prediction, reference: Pixels | None) -> bytes:
    """Draw the outline of each class on the image, and that of the reference, of any class, in yellow beneath."""
    shown = np.array(np.broadcast_to(to_display(pixels), (*pixels.shape[:2], 3)))
    if reference is not None:
        shown[find_boundaries(reference, mode="inner")] = _rgb(TRUTH)
    outline = find_boundaries(prediction.mask, mode="inner")
    for k in range(1, int(prediction.mask.max()) + 1):
        shown[outline & (prediction.mask == k)] = _rgb(CLASSES[(k - 1) % len(CLASSES)])
    return _png(shown)


def disagreement_png(prediction: Prediction) -> bytes:
    """Encode the standard deviation of the probability, 0 to its largest value of 0.5, as grey values 0 to 255."""
    spread = np.zeros(prediction.mask.shape) if prediction.spread is None else prediction.spread
    return _png(np.rint(np.clip(2 * spread, 0, 1) * 255).astype(np.uint8))


def rows_of(prediction: Prediction, classes: Sequence[str], reference: Pixels | None) -> list[dict[str, Any]]:
    """Rows of an image in the table, one for each class: area, disagreement and, with a reference, F1 and its counts.

    F1 is 1 where reference and prediction both lack the class, and 0 where only one does. Pixels that the reference
    ignores don't count.
    """
    rows: list[dict[str, Any]] = []
    for k, name in enumerate(classes, start=1):
        found = prediction.mask == k
        row: dict[str, Any] = {"class": name, "area_px": int(found.sum()), "share": float(found.mean())}
        if prediction.disagreement is not None:
            row["disagreement"] = prediction.disagreement[k - 1]
        if reference is not None:
            counted, wanted = reference != IGNORED, reference == k
            tp, fp, fn = (int((one & counted).sum()) for one in (found & wanted, found & ~wanted, wanted & ~found))
            row |= {"f1": 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 1.0, "tp": tp, "fp": fp, "fn": fn}
        rows.append(row)
    return rows


@dataclass
class Results:
    """The files of predictions: nothing is written twice, and each file completely or not at all."""

    storage: Storage
    settings: Mapping[str, Any]
    """All that the predictions depend on besides the images: networks, and the meaning of the references' values."""
    kinds: Sequence[Kind]
    images: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Record of each image that is done, by stem: its files' state, what it was told, rows of the table."""

    @classmethod
    def open(cls, storage: Storage, settings: Mapping[str, Any], kinds: Sequence[Kind]) -> "Results":
        """Open a folder for results, which may hold some of an earlier call.

        Raises:
            ConfigError: it holds predictions of other networks.
        """
        settings = {"version": VERSION, **settings}
        before = from_json(storage.read_or_none(RECORD))
        results = cls(storage, settings, kinds)
        if before is None:
            if taken := [kind for kind in KINDS if storage.names(kind)]:
                raise ConfigError(
                    f"out is {storage.where}, where {taken[0]}/ holds files that aren't metaseg's predictions; "
                    "expected another folder"
                )
            return results
        for name, value in settings.items():
            if before.get(name) != value:
                there, here = (_short(each) for each in (before.get(name), value))
                raise ConfigError(
                    f"out is {storage.where}, which holds predictions with other {name} ({there}, not {here}); "
                    "expected another folder"
                )
        images = before.get("images")
        if isinstance(images, dict):
            results.images = {stem: record for stem, record in images.items() if isinstance(record, dict)}
        return results

    def require_own(self, requests: Iterable[Request]) -> None:
        """Raise `ConfigError` if the folder holds results of another image that would be called the same."""
        for request in requests:
            there = self.images.get(request.stem, {}).get("source")
            if there not in (None, _source(request)):
                raise ConfigError(
                    f"out is {self.storage.where}, which holds {request.stem} of images in {there}; expected another "
                    f"folder for those in {_source(request)}"
                )

    def is_done(self, request: Request) -> bool:
        """Return True if the image was segmented with the same metadata, hasn't changed, and has all its files."""
        before = self.images.get(request.stem)
        if before is None or any(before.get(name) != value for name, value in _state(request).items()):
            return False
        written = before.get("written")
        return (
            isinstance(written, list)
            and set(self.kinds) <= set(written)
            and all(self.storage.exists(self.name(kind, request)) for kind in self.kinds)
        )

    def name(self, kind: Kind, request: Request) -> str:
        """Name of an image's file within the storage."""
        return f"{kind}/{request.stem}{ENDING[kind]}"

    def add(
        self,
        request: Request,
        pixels: ImagePixels,
        prediction: Prediction,
        classes: Sequence[str],
        reference: Pixels | None,
    ) -> None:
        """Write an image's files, and then remember it."""
        for kind in self.kinds:
            if kind == "masks":
                content = mask_png(prediction.mask, len(classes))
            elif kind == "probabilities":
                content = probability_tiff(prediction.probabilities)
            elif kind == "overlays":
                content = overlay_png(pixels, prediction, reference)
            else:
                content = disagreement_png(prediction)
            self.storage.write(self.name(kind, request), content)
        rows = rows_of(prediction, classes, reference)
        about = {"name": request.name, "source": _source(request), **_state(request)}
        self.images[request.stem] = {**about, "written": list(self.kinds), "rows": rows}

    def table(self, requests: Iterable[Request] | None = None) -> pd.DataFrame:
        """Table of the images that are done, a row for each class: the given ones, or all in the folder, by name."""
        stems = sorted(self.images) if requests is None else [request.stem for request in requests]
        rows = []
        for record in (self.images.get(stem, {}) for stem in stems):
            told = {META + column: value for column, value in record.get("told", {}).items()}
            rows += [{"image": record.get("name"), **row, **told} for row in record.get("rows", [])]
        return pd.DataFrame(rows)

    def save(self) -> None:
        """Write the record, from which an interrupted call goes on, and the table of all images in the folder."""
        self.storage.write(RECORD, to_json({**self.settings, "images": dict(self.images)}))
        self.storage.write(TABLE, self.table().to_csv(index=False).encode())


def _source(request: Request) -> str:
    """Folder of an image's files."""
    return str(request.files[0].resolve().parent)


def _state(request: Request) -> dict[str, Any]:
    """State of an image's metadata and files, as JSON keeps it: results are renewed when it changes."""
    files = [*request.files, *(mask_files(request.reference) if request.reference else [])]
    stats = [file.stat() for file in files]
    return {
        "told": dict(request.told),
        "files": [[file.name, stat.st_size, stat.st_mtime_ns] for file, stat in zip(files, stats, strict=True)],
    }


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format="PNG")
    return content.getvalue()


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour.removeprefix("#")))


def _short(value: object) -> str:
    if isinstance(value, dict) and value:
        return f"{', '.join(list(value)[:2])}{f' and {len(value) - 2} more' if len(value) > 2 else ''}"
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
