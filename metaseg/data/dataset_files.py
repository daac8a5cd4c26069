"""Writing the files of a prepared dataset: pixels of images and masks, the table, and dataset.json."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from metaseg.config import IGNORED, DataConfig
from metaseg.data.decode import decode_image, decode_mask, pixel_statistics, to_channels
from metaseg.data.depth import few_levels, grey_levels, is_16_bit
from metaseg.data.files import Files
from metaseg.data.folds import Folds
from metaseg.data.manifest import ROW, Manifest, ManifestError
from metaseg.data.mask_checks import MaskFacts, implausible
from metaseg.data.mask_values import MaskValues, Pixels
from metaseg.data.reading import ImagePixels, Reading
from metaseg.data.reserved_names import split_of
from metaseg.data.shrink import shrink_image, shrink_mask

Progress = Callable[[int, int], None]
"""Called with the number of samples done, and of all samples."""

_CHUNK = 64  # samples decoded ahead of writing, so that memory stays bounded


class _Sample(NamedTuple):
    image: ImagePixels
    mask: Pixels
    mean: float
    std: float
    mask_facts: MaskFacts
    levels: int
    """`grey_levels` of an image of 16 bits that were scaled to 8; 256 for others."""


def _decode_sample(files: Files, config: DataConfig) -> _Sample | ManifestError:
    try:
        reading = Reading.of(config)
        image, mask = decode_image(files[0], reading), decode_mask(files[1], MaskValues.of(config))
    except ManifestError as error:
        return error
    if image.shape[:2] != mask.shape:
        sizes = " and ".join(f"{width}x{height}" for height, width in (image.shape[:2], mask.shape))
        return ManifestError(
            f"{files[0]} and its mask {files[1][0]} are {sizes} (width x height); expected the same size"
        )
    if config.channels == "grey":
        image = to_channels(image, 1)
    levels = grey_levels(image) if not reading.kept and is_16_bit(files[0]) else 256
    image, mask = shrink_image(image, reading.shrink), shrink_mask(mask, reading.shrink)
    if (mask == IGNORED).all():
        return ManifestError(f"{files[1][0]}: all pixels have the ignored value {config.ignore} (--ignore)")
    return _Sample(image, mask, *pixel_statistics(image), MaskFacts.of(mask, image), levels)


def write_dataset(
    manifest: Manifest,
    config: DataConfig,
    table: pd.DataFrame,
    files: Sequence[Files],
    fingerprint: str,
    folder: Path,
    pool: ThreadPoolExecutor,
    progress: Progress,
    pixel_type: str = "uint8",
) -> None:
    """Decode samples and write a dataset's files into `folder`, which is empty.

    Args:
        manifest: what the samples are from.
        config: how images and masks are decoded; classes are named.
        table: the samples, one row each, sorted by image, with `ROW`.
        files: their files, in the same order.
        fingerprint: written into dataset.json.
        folder: where to write.
        pool: threads to decode with.
        progress: called after each sample.
        pixel_type: type that holds all images' values, one of `PIXEL_TYPES`.

    Raises:
        ManifestError: files can't be decoded, all listed together; a class is in no training mask; or images have
            unlike numbers of channels, where all channels are taken.
    """
    problems = []
    stored_channels = []
    facts = []
    mask_facts = []
    levels = []
    folds = Folds.of(config, table)
    splits = {"": "split"} if folds is None else {f"fold {fold!r}: ": split_of(fold) for fold in folds.names}
    stored = np.dtype(pixel_type).newbyteorder("<")
    trained = np.zeros((len(splits), 1 + len(config.classes)), dtype=np.int64)
    in_training = (table[list(splits.values())] == "train").to_numpy()
    with (folder / "images.bin").open("wb") as images, (folder / "masks.bin").open("wb") as masks:
        for start in range(0, len(files), _CHUNK):
            decoded = pool.map(partial(_decode_sample, config=config), files[start : start + _CHUNK])
            for i, sample in enumerate(decoded, start):
                if isinstance(sample, ManifestError):
                    problems.append(f"{manifest.where(table[ROW][i])}: {sample}")
                else:
                    if i == 0 or table["image"][i] != table["image"][i - 1]:
                        images.write(sample.image.astype(stored, casting="safe").tobytes())
                    masks.write(sample.mask.tobytes())
                    stored_channels.append(sample.image.shape[2])
                    facts.append((*sample.mask.shape, sample.mean, sample.std))
                    mask_facts.append(sample.mask_facts)
                    levels.append(sample.levels)
                    if in_training[i].any():
                        counted = sample.mask[sample.mask != IGNORED]
                        trained[in_training[i]] += np.bincount(counted, minlength=trained.shape[1])
                progress(i + 1, len(files))
    ManifestError.check(manifest.source, problems)
    if config.channels == "all":
        ManifestError.check(manifest.source, _unlike_channels(list(table["image"]), stored_channels))
    absent = [
        f"{where}class {name!r} has no pixel in any training mask; expected it in at least one"
        for where, pixels in zip(splits, trained[:, 1:], strict=True)
        for name, count in zip(config.classes, pixels, strict=True)
        if not count
    ]
    ManifestError.check(manifest.source, absent)
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
        "channels": {"grey": 1, "rgb": 3}.get(config.channels, max(stored_channels)),
        "stored_channels": stored_channels,
        "fingerprint": fingerprint,
        "per": manifest.per,
        "images_once": True,
        "has_ignored": config.ignore is not None,
        "doubts": [doubt for doubt in doubts if doubt],
        **({"folds": asdict(folds)} if folds else {}),
        **({"trained_only": manifest.trained_only} if manifest.trained_only else {}),
        **({"reading": reading} if (reading := Reading.of(config).to_json()) else {}),
        **({} if pixel_type == "uint8" else {"pixel_type": pixel_type}),
    }
    (folder / "dataset.json").write_text(json.dumps(fields))


def _unlike_channels(images: Sequence[str], channels: Sequence[int]) -> list[str]:
    """A problem for each number of channels that isn't the first image's."""
    firsts = {count: images[channels.index(count)] for count in dict.fromkeys(channels)}
    return [
        f"{image} has {count} channels, {images[0]} {channels[0]}; expected one number (--channels all)"
        for count, image in list(firsts.items())[1:]
    ]
