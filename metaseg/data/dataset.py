"""Preparing a dataset: a manifest is validated, split and decoded once into memory-mapped uint8 arrays."""

import hashlib
import json
import math
import os
import shutil
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from metaseg.config import IGNORED, SPLITS, DataConfig, Split, Subset
from metaseg.data.decode import DECODER_VERSION, decode_image, decode_mask, pixel_statistics, to_channels
from metaseg.data.depth import SCALING_VERSION, few_levels, grey_levels, is_16_bit
from metaseg.data.files import Files, digests_of, source_files, warn_of_duplicates
from metaseg.data.manifest import ROW, Manifest, ManifestError
from metaseg.data.mask_checks import MaskFacts, implausible
from metaseg.data.mask_values import MaskValues, Pixels
from metaseg.data.metadata import MetadataColumn
from metaseg.data.reserved_names import reserved_problems, sample_names, stored_name, users_columns
from metaseg.data.split import assign_splits, limit_per_subgroup

Progress = Callable[[int, int], None]

_CHUNK = 64  # samples decoded ahead of what is written, so that memory stays bounded


class TestWithheldError(RuntimeError):
    """A test image was asked for where settings are still being chosen."""

    __test__ = False  # its name isn't a test's


@dataclass(frozen=True, eq=False)
class Dataset:
    """Decoded, validated samples in uint8 memory maps."""

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


def prepare(
    manifest: Manifest, config: DataConfig, cache: Path, progress: Progress = lambda done, total: None
) -> Dataset:
    """Validate, split and decode a manifest; or find that `cache` holds just this, without decoding anything.

    Samples are split (where the manifest doesn't say), then limited, and only what is kept is decoded. The order of the
    manifest's rows changes nothing. Images with equal bytes are warned about.

    Args:
        manifest: what to prepare.
        config: classes, channels, split and limit.
        cache: the dataset's folder is `cache/FINGERPRINT`; it appears complete or not at all.
        progress: called with the number of samples decoded and of all samples.

    Raises:
        ManifestError: listing missing or unreadable files, sizes and bit depths that don't fit, empty splits, classes
            or metadata values that training lacks.
    """
    table = _kept_samples(manifest, config)
    files = source_files(manifest, table)
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(digests_of, files))
        warn_of_duplicates(manifest, table, [image for image, *_ in digests])
        deep = any(pool.map(is_16_bit, dict.fromkeys(image for image, _ in files)))
        fingerprint = _fingerprint(manifest, config, table, digests, deep)
        folder = cache / fingerprint
        if not _is_checked(folder):
            temporary, before = (cache / f".{fingerprint}.{uuid.uuid4().hex}" for _ in range(2))
            temporary.mkdir(parents=True)
            try:
                _decode(manifest, config, table, files, fingerprint, temporary, pool, progress)
                if folder.exists() and not _is_checked(folder):
                    os.rename(folder, before)
                os.rename(temporary, folder)
            except OSError:
                if not folder.exists():  # else another process was first
                    raise
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
                shutil.rmtree(before, ignore_errors=True)
    dataset = Dataset.open(folder)
    for doubt in dataset.doubts:
        warnings.warn(doubt, stacklevel=2)
    return replace(
        dataset,
        name=manifest.name,
        about=manifest.about,
        subgroup_column=manifest.subgroup_column,
        per=manifest.per,
        share=manifest.share,
    )


def _is_checked(folder: Path) -> bool:
    """Whether a dataset is there that was decoded with the checks that there are now: older code wrote no doubts."""
    try:
        return "doubts" in json.loads((folder / "dataset.json").read_text())
    except (FileNotFoundError, ValueError):
        return False


def _kept_samples(manifest: Manifest, config: DataConfig) -> pd.DataFrame:
    """The samples to decode, sorted by image, with `ROW`, their position in the manifest."""
    source = manifest.table
    table = pd.DataFrame({ROW: np.arange(len(source)), "image": source["image"].array, "mask": source["mask"].array})
    table["group"] = source["group" if "group" in source else "image"].array
    values = {column.name: column.cast(source[column.name]).array for column in manifest.metadata}
    strata = {name: source[name].astype(str).array for name in manifest.strata}
    named = values | strata
    table["subgroup"] = named.get(manifest.subgroup_column or "", "all")
    table["split"] = (
        source["split"].array
        if "split" in source
        else assign_splits(
            table["group"], table["subgroup"], config.val_fraction, config.test_fraction, config.split_seed
        )
    )
    named = {stored_name(name): column for name, column in named.items()}
    table = pd.concat([table, pd.DataFrame(named, index=table.index)], axis=1)
    per = list(map(stored_name, sorted(manifest.per)))
    table = table.sort_values(["image", "subgroup", *per], ignore_index=True)
    if config.limit_per_group is not None:
        table = table[limit_per_subgroup(table, config.limit_per_group, config.split_seed)]
    table = table.reset_index(drop=True)
    ManifestError.check(manifest.source, list(reserved_problems(manifest, config.classes, table)))
    ManifestError.check(manifest.source, list(_split_problems(manifest, table)))
    _warn_of_absent_subgroups(manifest, table)
    return table


def _warn_of_absent_subgroups(manifest: Manifest, table: pd.DataFrame) -> None:
    """Warn of each subgroup that validation or test has no sample of: results can say nothing of it, or only badly."""
    for subgroup, rows in table.groupby("subgroup"):
        absent = [split for split in SPLITS if split not in set(rows["split"])]
        if absent:
            warnings.warn(
                f"{manifest.source}: {subgroup!r} ({len(rows)} samples, {rows['group'].nunique()} groups) has none in "
                f"{' and '.join(absent)}; expected three groups or more, one for each split",
                stacklevel=3,
            )


def _split_problems(manifest: Manifest, table: pd.DataFrame) -> Iterator[str]:
    """What is wrong with the splits of the kept samples."""
    sizes = table["split"].value_counts().reindex(SPLITS, fill_value=0)
    for split in SPLITS:
        if not sizes[split]:
            found = ", ".join(f"{size} {name}" for name, size in sizes.items())
            groups, subgroups = table["group"].nunique(), table["subgroup"].nunique()
            too_few = (
                f": {groups} groups (which stay whole) of {subgroups} subgroups (which all need training) are too few"
            )
            reason = "" if "split" in manifest.table else too_few
            yield f"no sample is in split {split!r} ({found}); expected at least one{reason}"
    if not sizes["train"]:
        return
    training = table[table["split"] == "train"]
    for column in (column.name for column in manifest.metadata if column.kind == "categorical"):
        stored = stored_name(column)
        known = sorted(training[stored].unique())
        for value, rows in table[~table[stored].isin(known)].groupby(stored):
            row, split = rows[ROW].iloc[0], rows["split"].iloc[0]
            yield (
                f"{manifest.where(row)}: {column!r} is {value!r} in split {split!r} ({len(rows)} samples), but in no "
                f"training sample; expected one of {', '.join(known)}. Move one of its groups to split 'train' in the "
                "table, or remove its rows"
            )


def _fingerprint(
    manifest: Manifest, config: DataConfig, table: pd.DataFrame, digests: Sequence[Sequence[str]], deep: bool
) -> str:
    """Hex digest of what is decoded; `deep` says whether an image has 16 bits."""
    content = {
        "decoder": SCALING_VERSION if deep else DECODER_VERSION,
        "classes": config.classes,
        **_meaning(config).describe(),
        "channels": config.channels,
        "metadata": [asdict(column) for column in manifest.metadata],
        "table": table.drop(columns=ROW).to_dict("list"),
        "files": digests,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _meaning(config: DataConfig) -> MaskValues:
    return MaskValues.parse(config.classes, config.foreground, config.ignore)


class _Sample(NamedTuple):
    image: Pixels
    mask: Pixels
    mean: float
    std: float
    mask_facts: MaskFacts
    levels: int
    """`grey_levels` of an image that had 16 bits; 256 of others."""


def _decode_sample(files: Files, config: DataConfig) -> _Sample | ManifestError:
    try:
        image, mask = decode_image(files[0]), decode_mask(files[1], _meaning(config))
    except ManifestError as error:
        return error
    if (mask == IGNORED).all():
        return ManifestError(f"{files[1][0]}: all of its pixels are {config.ignore}, which don't count (--ignore)")
    if image.shape[:2] != mask.shape:
        sizes = " and ".join(f"{width}x{height}" for height, width in (image.shape[:2], mask.shape))
        return ManifestError(
            f"{files[0]} and its mask {files[1][0]} are {sizes} (width x height); expected the same size"
        )
    if config.channels == "grey":
        image = to_channels(image, 1)
    levels = grey_levels(image) if is_16_bit(files[0]) else 256
    return _Sample(image, mask, *pixel_statistics(image), MaskFacts.of(mask, image), levels)


def _decode(
    manifest: Manifest,
    config: DataConfig,
    table: pd.DataFrame,
    files: Sequence[Files],
    fingerprint: str,
    folder: Path,
    pool: ThreadPoolExecutor,
    progress: Progress,
) -> None:
    """Write a dataset's files into `folder`."""
    problems = []
    stored_channels = []
    facts = []
    mask_facts = []
    levels = []
    trained = np.zeros(1 + len(config.classes), dtype=np.int64)
    with (folder / "images.bin").open("wb") as images, (folder / "masks.bin").open("wb") as masks:
        for start in range(0, len(files), _CHUNK):
            decoded = pool.map(partial(_decode_sample, config=config), files[start : start + _CHUNK])
            for i, sample in enumerate(decoded, start):
                if isinstance(sample, ManifestError):
                    problems.append(f"{manifest.where(table[ROW][i])}: {sample}")
                else:
                    if i == 0 or table["image"][i] != table["image"][i - 1]:
                        images.write(sample.image.tobytes())
                    masks.write(sample.mask.tobytes())
                    stored_channels.append(sample.image.shape[2])
                    facts.append((*sample.mask.shape, sample.mean, sample.std))
                    mask_facts.append(sample.mask_facts)
                    levels.append(sample.levels)
                    if table["split"][i] == "train":
                        trained += np.bincount(sample.mask[sample.mask != IGNORED], minlength=len(trained))
                progress(i + 1, len(files))
    ManifestError.check(manifest.source, problems)
    absent = [name for name, pixels in zip(config.classes, trained[1:], strict=True) if not pixels]
    ManifestError.check(
        manifest.source,
        [f"class {name!r} has no pixel in any training mask; expected it in at least one" for name in absent],
    )
    doubts = [few_levels(manifest.source, list(table["image"]), levels)]
    if len(config.classes) == 1:
        doubts.append(implausible(manifest.source, list(table["mask"]), mask_facts))
    if config.ignore is not None and not any(each.has_ignored for each in mask_facts):
        doubts.append(f"{manifest.source}: no mask has the value {config.ignore}, which isn't to count (--ignore)")
    table = table.drop(columns=ROW)
    table[["height", "width", "mean", "std"]] = pd.DataFrame(facts)
    table.to_parquet(folder / "table.parquet", index=False)
    fields = {
        "name": manifest.name,
        "about": manifest.about,
        "subgroup_column": manifest.subgroup_column,
        "metadata": [asdict(column) for column in manifest.metadata],
        "classes": config.classes,
        "channels": 1 if config.channels == "grey" else 3 if config.channels == "rgb" else max(stored_channels),
        "stored_channels": stored_channels,
        "fingerprint": fingerprint,
        "per": manifest.per,
        "images_once": True,
        "has_ignored": config.ignore is not None,
        "doubts": [doubt for doubt in doubts if doubt],
    }
    (folder / "dataset.json").write_text(json.dumps(fields))
