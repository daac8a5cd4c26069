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
    """A test image was asked for where settings are still being chosen."""

    __test__ = False  # its name isn't a test's


@dataclass(frozen=True, eq=False)
class Dataset:
    """A prepared dataset: decoded and validated samples in uint8 memory maps. `metaseg.prepare` makes one.

    Example:
        >>> from pathlib import Path
        >>> from metaseg import DataConfig, SyntheticConfig, make_seven_cells, prepare
        >>> cells = make_seven_cells(Path("cells"), SyntheticConfig(size=64, images_per_line=3, wells_per_line=3))
        >>> dataset = prepare(cells, DataConfig(), Path("cache"))
        >>> dataset.image(0).shape, dataset.mask(0).shape, len(dataset.indices("test"))
        ((64, 64, 1), (64, 64), 7)
    """

    path: Path
    """Its folder; `Dataset.open(path)` opens it again, in any process."""
    name: str
    """Short name."""
    about: str
    """What the images are, in a sentence; empty where the manifest doesn't say."""
    table: pd.DataFrame
    """A row a sample, sorted by image and subgroup: image, mask, split, group, subgroup, height, width (pixels), mean
    and std (of the image's uint8 values; the std of a constant image is 1), the metadata columns (str or float64) and
    the strata (str)."""
    subgroup_column: str | None
    """The column whose values `subgroup` holds; None where it is "all" everywhere."""
    metadata: tuple[MetadataColumn, ...]
    """Which columns are metadata."""
    classes: tuple[str, ...]
    """Names of mask values 1, 2, ..."""
    channels: int
    """1 (grey) or 3 (RGB), of every image."""
    stored_channels: tuple[int, ...]
    """Channels that each image takes on disk: a grey one is stored once also in an RGB dataset."""
    fingerprint: str
    """Hex digest of all that can change a result: files, table, splits, classes, channels, decoder."""
    per: tuple[str, ...] = ()
    """Columns that tell the rows of one image apart."""
    has_ignored: bool = False
    """Whether masks may hold `IGNORED`."""
    doubts: tuple[str, ...] = ()
    """What is to be warned of whenever the dataset is used: see `mask_checks` and `depth`."""
    images_once: bool = False
    """Whether an image of several rows is stored once; earlier versions stored it for each row."""
    share: float = 1.0
    """Which share of the study's images these are; below 1 only where they serve to plan it."""
    test_withheld: bool = False
    """Whether test images and masks can't be read."""

    @classmethod
    def open(cls, path: Path) -> "Dataset":
        """Open a prepared dataset.

        Raises:
            ManifestError: when it isn't one, or not a whole one.
        """
        if not (path / "dataset.json").is_file():
            raise ManifestError(f"{path} is no prepared dataset; expected a folder that holds dataset.json")
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
        """The same dataset, whose test images raise `TestWithheldError`: for whoever chooses settings by validation."""
        return replace(self, test_withheld=True)

    def image(self, i: int) -> npt.NDArray[np.uint8]:
        """Image of row `i` as a read-only view `(H, W, channels)`."""
        self.require_open(np.array([i]))
        shape = (*self.sizes[i], self.stored_channels[i])
        start = self._image_starts[i]
        return to_channels(self._images[start : start + math.prod(shape)].reshape(shape), self.channels)

    def mask(self, i: int) -> npt.NDArray[np.uint8]:
        """Mask of row `i` as a read-only view `(H, W)`: 0 to `len(classes)`, and `IGNORED` where `has_ignored`."""
        self.require_open(np.array([i]))
        return self._masks[self._mask_starts[i] : self._mask_starts[i + 1]].reshape(self.sizes[i])

    def indices(self, split: Split, subset: Subset | None = None) -> npt.NDArray[np.int64]:
        """Rows of a split, ascending; only those of the subset where it cuts this split down."""
        if self.test_withheld and split == "test":
            raise TestWithheldError(f"test images of dataset {self.name!r} are withheld: settings are still chosen")
        chosen = self.table["split"] == split
        if subset and split in subset.splits:
            chosen &= self.values[subset.column] == subset.value
        return np.flatnonzero(chosen)

    def require_open(self, samples: npt.NDArray[np.int64]) -> None:
        """Raise `TestWithheldError` where test images are withheld and one of `samples` `(N,)` is one."""
        if self.test_withheld and self._is_test[samples].any():
            image = self.table["image"].iloc[samples[self._is_test[samples]][0]]
            raise TestWithheldError(f"test image {image!r} of {self.name!r} is withheld: settings are still chosen")

    @cached_property
    def _is_test(self) -> npt.NDArray[np.bool_]:
        return (self.table["split"] == "test").to_numpy()

    @cached_property
    def values(self) -> pd.DataFrame:
        """Metadata columns and strata by the names that the user's table has for them, which may be names of ours."""
        return users_columns(self.table)

    @cached_property
    def names(self) -> pd.Series:
        """What each sample is called, by its image; and by what else tells it from others of its subgroup."""
        return sample_names(self.table["image"], self.table["subgroup"], self.values[list(self.per)])

    @cached_property
    def statistics(self) -> npt.NDArray[np.float32]:
        """`(samples, 2)` mean and std of each image, as the table has them."""
        return self.table[["mean", "std"]].to_numpy(np.float32)

    @property
    def pixels(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """All images and all masks as they lie on disk, one sample after the other: `(bytes,)` each, read-only."""
        return self._images, self._masks

    @property
    def size_bytes(self) -> int:
        """Of `pixels`."""
        return sum(pixels.nbytes for pixels in self.pixels)

    @property
    def starts(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """`(samples + 1,)` each: where in `pixels` each sample's image and mask start; the last is where all end.

        Samples of one image may share its pixels.
        """
        return self._image_starts, self._mask_starts

    @cached_property
    def sizes(self) -> npt.NDArray[np.int64]:
        """`(samples, 2)` height and width in pixels."""
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
