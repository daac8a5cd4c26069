"""A prepared dataset: decoded, validated samples in memory maps."""

import json
import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from metaseg.config import ConfigError, Split, Subset
from metaseg.data.decode import to_channels
from metaseg.data.folds import Folds, splits_by_fold, untold
from metaseg.data.manifest import ManifestError
from metaseg.data.metadata import MetadataColumn
from metaseg.data.reading import PIXEL_TYPES, ImagePixels, Reading
from metaseg.data.reserved_names import FOLD, fold_columns, sample_names, split_of, users_columns


class TestWithheldError(RuntimeError):
    """Raised when a test image is read while settings are still being chosen."""

    __test__ = False  # its name isn't a test's


@dataclass(frozen=True, eq=False)
class Dataset:
    """A prepared dataset: decoded and validated samples in memory maps. `metaseg.prepare` makes one.

    Example:
        >>> from pathlib import Path
        >>> from metaseg import DataConfig, SyntheticConfig, make_seven_cells, prepare
        >>> cells = make_seven_cells(Path("cells"), SyntheticConfig(size=64, images_per_line=3, wells_per_line=3))
        >>> dataset = prepare(cells, DataConfig(), Path("cache"))
        >>> dataset.image(0).shape, dataset.mask(0).shape, len(dataset.indices("test"))
        ((64, 64, 1), (64, 64), 7)
    """

    path: Path
    """Folder of the dataset; `Dataset.open(path)` opens it again, in any process."""
    name: str
    """Short name."""
    about: str
    """A sentence about the images; empty where the manifest has none."""
    table: pd.DataFrame
    """One row per sample, sorted by image and subgroup: image, mask, split, group, subgroup, height, width (pixels),
    mean and std (of the image's values over all channels; the std of a constant image is 1), the metadata columns
    (str or float64) and the strata (str). With folds, `=fold` too, and a column `split=NAME` for each fold instead of
    split."""
    subgroup_column: str | None
    """Column whose values `subgroup` holds; None where it is "all" everywhere."""
    metadata: tuple[MetadataColumn, ...]
    """The metadata columns."""
    classes: tuple[str, ...]
    """Names of mask values 1, 2, ..."""
    channels: int
    """Channels of every image: 1 (grey), 3 (RGB), or those of the files."""
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
    folds: Folds | None = None
    """The folds, where every sample is tested once; `of_fold` gives the dataset as one of them sees it."""
    fold: str | None = None
    """The fold that `split` is of, where there are folds. Until one is chosen, the table has no `split`."""
    reading: Reading = Reading()
    """The way in which image files were read."""
    trained_only: str | None = None
    """Stratum whose value `yes` marks rows that no network is tested on; their metadata are zeros to networks."""
    pixel_type: str = "uint8"
    """Type of all images' values: uint8, or where values are kept, the one of `PIXEL_TYPES` that holds them."""

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
        width = np.dtype(dataset.pixel_type).itemsize
        for file, end in (("images.bin", width * dataset._image_starts[-1]), ("masks.bin", dataset._mask_starts[-1])):
            size = (path / file).stat().st_size
            if size != end:
                raise ManifestError(
                    f"{path / file} has {size} bytes; expected {end}: remove the folder to decode again"
                )
        return dataset

    @classmethod
    def _read(cls, path: Path) -> "Dataset":
        fields = json.loads((path / "dataset.json").read_text())
        if fields.get("pixel_type", "uint8") not in PIXEL_TYPES:
            raise ValueError(f"pixel_type is {fields['pixel_type']!r}; expected one of {', '.join(PIXEL_TYPES)}")
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
            folds=_folds(fields.get("folds")),
            reading=Reading.from_json(fields.get("reading", {})),
            pixel_type=fields.get("pixel_type", "uint8"),
            trained_only=fields.get("trained_only"),
        )

    def of_fold(self, fold: str | None) -> "Dataset":
        """Return the dataset as a fold sees it, with that fold's splits: the same pixels, under the same fingerprint.

        Args:
            fold: one of `folds.names`; None only where there are no folds, for the dataset itself.

        Raises:
            ConfigError: there is no such fold, or the dataset is that of another one.
        """
        if fold == self.fold and (fold is not None or self.folds is None):
            return self
        if self.folds is None or fold not in self.folds.names or self.fold is not None:
            known = (
                "no folds" if self.folds is None else ", ".join(self.folds.names) if self.fold is None else self.fold
            )
            raise ConfigError(f"fold is {fold!r}; dataset {self.name!r} has {known}")
        if fold not in self._views:
            split = self.table[split_of(fold)]
            table = self.table.drop(columns=fold_columns(self.table)).assign(split=split)
            self._views[fold] = replace(self, table=table, fold=fold)
        return self._views[fold]

    @property
    def views(self) -> "tuple[Dataset, ...]":
        """The dataset as each of its folds sees it; the dataset itself where it has none or is that of one."""
        if self.folds is None or self.fold is not None:
            return (self,)
        return tuple(map(self.of_fold, self.folds.names))

    @cached_property
    def untold(self) -> dict[str, dict[str, list[str]]]:
        """Values of test samples that training lacks, for which networks get zeros: by metadata column and fold."""
        categorical = [column.name for column in self.metadata if column.kind == "categorical"]
        if self.folds is None:
            return {}
        splits = splits_by_fold(self.table, self.folds) if self.fold is None else {self.fold: self.table["split"]}
        return untold(categorical, self.table, splits)

    @cached_property
    def _views(self) -> "dict[str, Dataset]":
        return {}

    def without_test(self) -> "Dataset":
        """Return the same dataset, but reading test images raises `TestWithheldError`: for choosing settings."""
        return replace(self, test_withheld=True)

    def image(self, i: int) -> ImagePixels:
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
        if self.folds and self.fold is None:
            raise ConfigError(f"dataset {self.name!r} has folds; expected one to be chosen (of_fold) for its {split}")
        chosen = self.table["split"] == split
        if subset and split in subset.splits:
            chosen &= self.values[subset.column] == subset.value
        return np.flatnonzero(chosen)

    @property
    def tested(self) -> npt.NDArray[np.int64]:
        """Rows that are tested, ascending: with folds, each by its own fold."""
        if self.folds and self.fold is None:
            return np.flatnonzero(~self.is_trained_only)
        return self.indices("test")

    def fold_of(self, i: int) -> str | None:
        """Return the fold that tests row `i`; None where there are no folds."""
        return str(self.table[FOLD].iloc[i]) if self.folds else None

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
    def is_trained_only(self) -> npt.NDArray[np.bool_]:
        """`(N,)` True for rows that no network is tested on, wherever their image is."""
        if self.trained_only is None:
            return np.zeros(len(self.table), np.bool_)
        return (self.values[self.trained_only] == "yes").to_numpy(np.bool_)

    @cached_property
    def names(self) -> pd.Series:
        """Name of each sample in results: its image, and where that is ambiguous within its subgroup, columns `per`."""
        return sample_names(self.table["image"], self.table["subgroup"], self.values[list(self.per)])

    @cached_property
    def statistics(self) -> npt.NDArray[np.float32]:
        """Mean and std of each image, `(N, 2)`, from the table."""
        return self.table[["mean", "std"]].to_numpy(np.float32)

    @property
    def pixels(self) -> tuple[ImagePixels, npt.NDArray[np.uint8]]:
        """All images and all masks as stored, one sample after the other: `(values,)` each, read-only."""
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
    def _images(self) -> ImagePixels:
        stored = np.dtype(self.pixel_type).newbyteorder("<")
        return np.asarray(np.memmap(self.path / "images.bin", dtype=stored, mode="r"))

    @cached_property
    def _masks(self) -> npt.NDArray[np.uint8]:
        return np.asarray(np.memmap(self.path / "masks.bin", dtype=np.uint8, mode="r"))


def _folds(fields: dict[str, Any] | None) -> Folds | None:
    """The folds that dataset.json describes; earlier versions had none."""
    return Folds(fields["kind"], tuple(fields["names"])) if fields else None
