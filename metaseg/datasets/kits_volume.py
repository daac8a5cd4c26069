"""One case of KiTS, from its two NIfTI volumes to 8-bit PNG slices, without ever holding a volume as floats."""

import gzip
import itertools
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from metaseg.config import ConfigError
from metaseg.data.manifest import ManifestError

Volume = npt.NDArray[np.uint8]
"""`(slices, height, width)`"""

_BLOCK = 16
"""Columns read at once: 140 MB of the largest case in float64."""

Flips = tuple[bool, bool, bool]
"""True for each of the three axes that is reversed."""

DIRECTION = 0.01
"""Largest difference between the directions of an axis in two headers, as a share of a voxel's side."""

_MOST_VOXELS = 2**30
"""Nearly four times the largest case published; a header that claims more isn't trusted."""


def write_slices(
    imaging: Path, segmentation: Path, classes: Sequence[str], window: tuple[float, float], step: int, folder: Path
) -> None:
    """Write images/slice_%04d.png and masks/slice_%04d.png of every `step`-th labelled slice into `folder`.

    Args:
        imaging: volume of Hounsfield units, `(slices, height, width)`.
        segmentation: volume of labels of the same shape: 0 background, k the k-th of `classes`.
        classes: names of labels 1, 2, ...
        window: Hounsfield units that become 0 and 255; values outside are clipped.
        step: 1 keeps all labelled slices.
        folder: exists and is empty.

    Raises:
        ManifestError: a volume can't be read or isn't such a volume, shapes differ, orientations differ by more than
            reversed axes, or nothing is labelled.
    """
    labels, space = _labels(segmentation, classes)
    kept = np.flatnonzero(labels.any(axis=(1, 2)))[::step]
    if not len(kept):
        raise ManifestError(f"{segmentation}: has no label; expected slices with {' or '.join(classes)}")
    masks = np.ascontiguousarray(labels[kept])
    shape = labels.shape
    del labels  # before the images are made
    images = _images(imaging, shape, kept, window, space)
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for number, image, mask in zip(kept, images, masks, strict=True):
        Image.fromarray(image).save(folder / "images" / f"slice_{number:04d}.png")
        Image.fromarray(mask).save(folder / "masks" / f"slice_{number:04d}.png")


def _labels(path: Path, classes: Sequence[str]) -> "tuple[Volume, Space]":
    with _Stream(path) as stream:
        if stream.first_axis != "z":
            raise ManifestError(
                f"{path}: its first axis is the scanner's {stream.first_axis}; expected z (slices), as published"
            )
        labels = np.empty(stream.shape, dtype=np.uint8)
        for columns, block in stream.blocks():
            with np.errstate(invalid="ignore"):  # NaN is found to differ below
                labels[..., columns] = block.astype(np.uint8)
            stored = labels[..., columns]
            if stored.max() > len(classes) or not np.array_equal(stored, block):
                found = np.unique(block)
                expected = ", ".join(f"{k} {name}" for k, name in enumerate(("background", *classes)))
                shown = ", ".join(f"{value:g}" for value in found[:10])
                raise ManifestError(f"{path}: has labels {shown}; expected {expected}")
    return labels, stream.space


def _images(
    path: Path, shape: tuple[int, ...], kept: npt.NDArray[np.intp], window: tuple[float, float], space: "Space"
) -> Volume:
    """Read the slices `kept` of a volume of `shape`, windowed and flipped into the `space` of the segmentation."""
    low, high = window
    with _Stream(path) as stream:
        if stream.shape != shape:
            raise ManifestError(f"{path}: has shape {stream.shape}; expected {shape}, as its segmentation")
        flipped = stream.space.flipped_to(space, path)
        rows = shape[0] - 1 - kept if flipped[0] else kept
        images = np.empty((len(kept), *shape[1:]), dtype=np.uint8)
        for columns, block in stream.blocks():
            if flipped[1]:
                block = block[:, ::-1]
            if flipped[2]:
                block = block[..., ::-1]
                columns = slice(shape[2] - columns.stop, shape[2] - columns.start)
            units = block[rows].astype(np.float32)
            if not np.isfinite(units).all():
                raise ManifestError(f"{path}: has a value that is not finite; expected Hounsfield units")
            np.clip(units, low, high, out=units)
            images[..., columns] = np.rint((units - low) * (255 / (high - low)))
    return images


@dataclass(frozen=True, eq=False)
class Space:
    """Position and orientation of a volume in the scanner."""

    affines: tuple[npt.NDArray[np.float64], ...]
    """Affines `(4, 4)` from array indices to millimetres, the preferred one first: a header may have two (sform,
    qform), or none, and then has only the size of a voxel."""
    shape: tuple[int, ...]

    def flipped_to(self, other: "Space", path: Path) -> Flips:
        """Find the axes to reverse so that the voxels have the same orientation as another volume's.

        If one of the two headers has no orientation, no axis is reversed, with a warning.

        Raises:
            ManifestError: reversing axes doesn't align the volumes, or the two affines of a header disagree on which
                axes to reverse.
        """
        if not (self.affines and other.affines):
            if self.affines or other.affines:
                which = "it" if other.affines else "its segmentation"
                warnings.warn(
                    f"{path}: the header of {which} has no orientation; voxels are used as stored", stacklevel=2
                )
            return False, False, False
        found = {self._flips(own, its) for own in self.affines for its in other.affines} - {None}
        if len(found) > 1:
            raise ManifestError(
                f"{path}: the two affines (sform, qform) of its header or its segmentation's disagree on which axes "
                f"are reversed: {_shown(self.affines)}, of the segmentation {_shown(other.affines)}; expected one"
            )
        for flips in found:
            if flips:
                return flips
        raise ManifestError(
            f"{path}: isn't aligned with its segmentation: its affine is {_shown(self.affines[:1])}, that of the "
            f"segmentation {_shown(other.affines[:1])}; expected the same, except for reversed axes"
        )

    def _flips(self, own: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> Flips | None:
        """Find the axes whose reversal turns an affine into the other one; None if there are none such."""
        size = np.linalg.norm(other[:3, :3], axis=0)
        for flips in itertools.product((False, True), repeat=3):
            turn = np.eye(4)
            for axis in np.flatnonzero(flips):
                turn[axis, axis], turn[axis, 3] = -1, self.shape[axis] - 1
            turned = own @ turn
            if (np.abs(turned - other)[:3, :3] <= DIRECTION * size).all():
                # Directions are rounded differently; shifted by more than half a voxel, labels are of other tissue.
                apart = np.linalg.lstsq(other[:3, :3], (turned - other)[:3, 3])[0]
                return (flips[0], flips[1], flips[2]) if (np.abs(apart) <= 0.5).all() else None
        return None


def _shown(affines: tuple[npt.NDArray[np.float64], ...]) -> str:
    return " and ".join(str(np.round(affine[:3], 2).tolist()) for affine in affines)


class _Stream:
    """A .nii.gz file, read once from front to back: gzip has no random access, and NIfTI stores the first axis, here
    the slices, fastest, so that no slice is contiguous. A range of the last axis is."""

    shape: tuple[int, ...]
    first_axis: Literal["x", "y", "z"]
    """The scanner's axis that is nearest to the array's first."""
    space: Space

    def __init__(self, path: Path) -> None:
        try:
            import nibabel
        except ImportError as error:
            raise ConfigError(f"{path} needs another package ({error}): pip install 'metaseg[kits]'") from error
        self._path = path
        self._file = gzip.open(path)  # noqa: SIM115 (closed by __exit__)
        try:
            image = nibabel.Nifti1Image.from_stream(self._file)
            self.shape, self._values = image.shape, image.dataobj
            affine = np.asarray(image.affine, dtype=np.float64)
            self.first_axis = ("x", "y", "z")[int(np.abs(affine[:3, 0]).argmax())]
            header: Any = image.header
            stated = (header.get_sform(coded=True)[0], header.get_qform(coded=True)[0])
            self.space = Space(tuple(np.asarray(each, np.float64) for each in stated if each is not None), self.shape)
        except Exception as error:  # a damaged header can raise anything inside a parser
            self._file.close()
            raise self._unreadable(error) from error
        if len(self.shape) != 3 or not 0 < np.prod(self.shape, dtype=np.float64) <= _MOST_VOXELS:
            self._file.close()
            raise ManifestError(
                f"{path}: has shape {self.shape}; expected (slices, height, width), at most {_MOST_VOXELS} voxels"
            )

    def __enter__(self) -> "_Stream":
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def blocks(self) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
        """Yield all voxels, a few columns at a time, scaled if the header says so."""
        for start in range(0, self.shape[2], _BLOCK):
            columns = slice(start, min(start + _BLOCK, self.shape[2]))
            try:
                block = np.asarray(self._values[..., columns])
            except (OSError, EOFError, ValueError, zlib.error) as error:
                raise self._unreadable(error) from error
            yield columns, block
        try:
            while self._file.read(1 << 20):  # gzip's checksum is at the end
                pass
        except (OSError, EOFError, zlib.error) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> ManifestError:
        return ManifestError(f"{self._path}: unreadable volume ({error}); expected a whole .nii.gz file")
