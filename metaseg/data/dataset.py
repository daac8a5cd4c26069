"""A prepared dataset: decoded, validated samples in uint8 memory maps."""

import json
import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from metaseg.config import Split, Subset
from metaseg.data.decode import to_channels
from metaseg.data.manifest import ManifestError
from metaseg.data.metadata import MetadataColumn
from metaseg.data.reserved_names import sample_names, users_columns


class TestWithheldError(RuntimeError):
    """Raised when a test image is read while settings are still being chosen."""

    __test__ = False  # its name isn't a test's


@dataclass(frozen=True, eq=False)
class Dataset:
    """Decoded, validated samples in uint8 memory maps."""

    path: Path
    """Folder of the dataset; `Dataset.open(path)` opens it again, in any process."""
    name: str
    """Short name."""
    about: str
    """A sentence about the images; empty where the manifest has none."""
    table: pd.DataFrame
    """One row per sample, sorted by image and subgroup: image, mask, split, group, subgroup, height, width (pixels),
    mean and std (of the image's uint8 values; the std of a constant image is 1), the metadata columns (str or float64)
    and the strata (str)."""
    subgroup_column: str | None
    """Column whose values `subgroup` holds; None where it is "all" everywhere."""
    metadata: tuple[MetadataColumn, ...]
    """The metadata columns."""
    classes: tuple[str, ...]
    """Names of mask values 1, 2, ..."""
    channels: int
    """Channels of every image: 1 (grey) or 3 (RGB)."""
    stored_channels: tuple[int, ...]
    """Channels of each image on disk: a grey image is stored once even in an RGB dataset."""
    fingerprint: str
    """Hex digest of everything that can change a result: files, table, splits, classes, channels, decoder."""
    per: tuple[str, ...] = ()
    """Columns that distinguish the rows of one image."""
    has_ignored: bool = False
    """True if masks may hold `IGNORED`."""
    doubts: tuple[str, ...] = ()
    """Warnings to repeat whenever the dataset is used: see `mask_checks` and `depth`."""
    images_once: bool = False
    """True if an image of several rows is stored once; earlier versions stored it for each row."""
    share: float = 1.0
    """Share of the study's images that are here; below 1 only where they serve to plan it."""
    test_withheld: bool = False
    """True if test images and masks must not be read."""

    @classmethod
    def open(cls, path: Path) -> "Dataset":
        """Open a prepared dataset.

        Raises:
            ManifestError: the folder isn't a prepared dataset, or is incomplete or damaged.
        """
        if not (path / "dataset.json").is_file():
            raise ManifestError(f"{path} is not a prepared dataset; expected a folder that holds dataset.json")
        try:
            dataset = cls._read(path)
        except (AttributeError, KeyError, NotImplementedError, RecursionError, TypeError, ValueError) as error:
            raise ManifestError(f"{path} is damaged ({error!r:.200}): remove the folder to decode again") from error
        for file, starts in (("images.bin", dataset._image_starts), ("masks.bin", dataset._mask_starts)):
            size = (path / file).stat().st_size
            if size != starts[-1]:
                raise ManifestError(
                    f"{path / file} has {size} bytes; expected {starts[-1]}: remove the folder to decode again"
                )
        return dataset

    @classmethod
    def _read(cls, path: Path) -> "Dataset":
        fields = json.loads((path / "dataset.json").read_text())
        return cls(
            path=path,
            name=fields["name"],
            about=fields["about"],
            table=pd.read_parquet(path / "table.parquet"),
            subgroup_column=fields.get("subgroup_column"),  # earlier versions didn't say
            metadata=tuple(MetadataColumn(**column) for column in fields["metadata"]),
            classes=tuple(fields["classes"]),
            channels=fields["channels"],
            stored_channels=tuple(fields["stored_channels"]),
            fingerprint=fields["fingerprint"],
            per=tuple(fields.get("per", ())),
            has_ignored=fields.get("has_ignored", False),
            doubts=tuple(fields.get("doubts", ())),
            images_once=fields.get("images_once", False),
        )

    def without_test(self) -> "Dataset":
        """Return the same dataset, but reading test images raises `TestWithheldError`: for choosing settings."""
        return replace(self, test_withheld=True)

    def image(self, i: int) -> npt.NDArray[np.uint8]:
        """Return the image of row `i` as a read-only view `(H, W, channels)`."""
        self.require_open(np.array([i]))
        shape = (*self.sizes[i], self.stored_channels[i])
        start = self._image_starts[i]
        return to_channels(self._images[start : start + math.prod(shape)].reshape(shape), self.channels)

    def mask(self, i: int) -> npt.NDArray[np.uint8]:
        """Return the mask of row `i` as a read-only view `(H, W)`: 0 to `len(classes)`, or `IGNORED`."""
        self.require_open(np.array([i]))
        return self._masks[self._mask_starts[i] : self._mask_starts[i + 1]].reshape(self.sizes[i])

    def indices(self, split: Split, subset: Subset | None = None) -> npt.NDArray[np.int64]:
        """Return the rows of a split, ascending; where `subset` applies to that split, only its rows."""
        if self.test_withheld and split == "test":
            raise TestWithheldError(f"test images of dataset {self.name!r} are withheld while settings are chosen")
        chosen = self.table["split"] == split
        if subset and split in subset.splits:
            chosen &= self.values[subset.column] == subset.value
        return np.flatnonzero(chosen)

    def require_open(self, samples: npt.NDArray[np.int64]) -> None:
        """Raise `TestWithheldError` if test images are withheld and `samples` `(N,)` includes one."""
        if self.test_withheld and self._is_test[samples].any():
            image = self.table["image"].iloc[samples[self._is_test[samples]][0]]
            raise TestWithheldError(f"test image {image!r} of {self.name!r} is withheld while settings are chosen")

    @cached_property
    def _is_test(self) -> npt.NDArray[np.bool_]:
        return (self.table["split"] == "test").to_numpy()

    @cached_property
    def values(self) -> pd.DataFrame:
        """Metadata columns and strata under the names that they have in the user's table."""
        return users_columns(self.table)

    @cached_property
    def names(self) -> pd.Series:
        """Name of each sample in results: its image, and where that is ambiguous within its subgroup, columns `per`."""
        return sample_names(self.table["image"], self.table["subgroup"], self.values[list(self.per)])

    @cached_property
    def statistics(self) -> npt.NDArray[np.float32]:
        """Mean and std of each image, `(N, 2)`, from the table."""
        return self.table[["mean", "std"]].to_numpy(np.float32)

    @property
    def pixels(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """All images and all masks as stored, one sample after the other: `(bytes,)` each, read-only."""
        return self._images, self._masks

    @property
    def size_bytes(self) -> int:
        """Size of `pixels`, in bytes."""
        return sum(pixels.nbytes for pixels in self.pixels)

    @property
    def starts(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Offsets in `pixels` of each sample's image and mask, `(N + 1,)` each; the last one is the end.

        Samples of one image may share its pixels.
        """
        return self._image_starts, self._mask_starts

    @cached_property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Height and width of each image in pixels, `(N, 2)`."""
        return self.table[["height", "width"]].to_numpy(np.int64)

    @cached_property
    def _mask_starts(self) -> npt.NDArray[np.int64]:
        return np.cumsum([0, *self.sizes.prod(axis=1)])

    @cached_property
    def _image_starts(self) -> npt.NDArray[np.int64]:
        sizes = self.sizes.prod(axis=1) * self.stored_channels
        repeated = (self.images_once & (self.table["image"] == self.table["image"].shift())).to_numpy()
        ends = np.cumsum(np.where(repeated, 0, sizes))
        return np.append(ends - sizes, ends[-1])

    @cached_property
    def _images(self) -> npt.NDArray[np.uint8]:
        return np.asarray(np.memmap(self.path / "images.bin", dtype=np.uint8, mode="r"))

    @cached_property
    def _masks(self) -> npt.NDArray[np.uint8]:
        return np.asarray(np.memmap(self.path / "masks.bin", dtype=np.uint8, mode="r"))
