"""Preparing a dataset: a manifest is validated, split and decoded once, then found again by its fingerprint."""

import hashlib
import json
import os
import shutil
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd

from metaseg.config import LEFT_OUT, SPLITS, DataConfig
from metaseg.data.dataset import Dataset
from metaseg.data.dataset_files import Progress, write_dataset
from metaseg.data.decode import DECODER_VERSION
from metaseg.data.depth import SCALING_VERSION, common_type, stored_type
from metaseg.data.files import digests_of, source_files, warn_of_duplicates
from metaseg.data.folds import (
    Folds,
    folds_of_samples,
    lost_folds,
    splits_by_fold,
    warn_of_untold,
    warn_of_unvalidated,
    with_splits,
)
from metaseg.data.manifest import ROW, Manifest, ManifestError
from metaseg.data.mask_values import MaskValues
from metaseg.data.reserved_names import FOLD, reserved_problems, split_of, stored_name
from metaseg.data.split import assign_splits, limit_per_subgroup, limit_training
from metaseg.schema import UNKNOWN


def prepare(
    manifest: Manifest, config: DataConfig, cache: Path, progress: Progress = lambda done, total: None
) -> Dataset:
    """Validate, split and decode a manifest, or open the same dataset from `cache` without decoding anything.

    Samples are split (unless the manifest has splits) or divided into folds, then limited, and only those kept are
    decoded, once for all folds. The order of the manifest's rows changes nothing. Images with equal bytes are warned
    about.

    Args:
        manifest: what to prepare.
        config: classes (those of the manifest by default), channels, split and limit.
        cache: the dataset's folder is `cache/FINGERPRINT`; it appears complete or not at all.
        progress: called with the number of samples decoded and of all samples.

    Raises:
        ManifestError: files are missing or unreadable, sizes or bit depths don't fit, a split is empty, or training
            lacks a class or a metadata value. Problems of one kind are listed together.

    Example:
        >>> from pathlib import Path
        >>> from metaseg import DataConfig, SyntheticConfig, make_seven_cells, prepare
        >>> cells = make_seven_cells(Path("cells"), SyntheticConfig(size=64, images_per_line=3, wells_per_line=3))
        >>> dataset = prepare(cells, DataConfig(), Path("cache"))
        >>> dataset.classes, len(dataset.table)
        (('foreground',), 21)
    """
    config = replace(config, classes=_class_names(manifest, config))
    table = _kept_samples(manifest, config)
    files = source_files(manifest, table)
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(digests_of, files))
        warn_of_duplicates(manifest, table, [image for image, *_ in digests])
        stored = set(pool.map(stored_type, dict.fromkeys(image for image, _ in files)))
        kept, deep = config.pixels == "keep", np.dtype(np.uint16) in stored
        fingerprint = _fingerprint(manifest, config, table, digests, deep and not kept)
        folder = cache.absolute() / fingerprint  # workers may be in another folder
        if not _is_checked(folder):
            temporary, before = (cache / f".{fingerprint}.{uuid.uuid4().hex}" for _ in range(2))
            temporary.mkdir(parents=True)
            try:
                pixel_type = common_type(stored) if kept else "uint8"
                write_dataset(manifest, config, table, files, fingerprint, temporary, pool, progress, pixel_type)
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
        about=", ".join(filter(None, (manifest.about, f"at 1/{config.shrink} of their size" * (config.shrink > 1)))),
        subgroup_column=manifest.subgroup_column,
        per=manifest.per,
        share=manifest.share,
        trained_only=manifest.trained_only,
        folds=Folds.of(config, table),
    )


def _class_names(manifest: Manifest, config: DataConfig) -> tuple[str, ...]:
    """Return the configured class names, else the layout's, else one for all of the foreground.

    Where `config.foreground` selects mask values, the layout's names of single values don't apply.
    """
    named_by_layout = () if config.foreground else manifest.classes
    return config.classes or named_by_layout or ("foreground",)


def _is_checked(folder: Path) -> bool:
    """Return True if `folder` holds a dataset decoded with today's checks: older code wrote no doubts."""
    try:
        return "doubts" in json.loads((folder / "dataset.json").read_text())
    except (FileNotFoundError, ValueError):
        return False


def _kept_samples(manifest: Manifest, config: DataConfig) -> pd.DataFrame:
    """Return the samples to decode, sorted by image, with `ROW`, their position in the manifest."""
    source = manifest.table
    table = pd.DataFrame({ROW: np.arange(len(source)), "image": source["image"].array, "mask": source["mask"].array})
    table["group"] = source["group" if "group" in source else "image"].array
    values = {column.name: column.cast(source[column.name]).array for column in manifest.metadata}
    strata = {name: source[name].astype(str).array for name in manifest.strata}
    named = values | strata
    table["subgroup"] = named.get(manifest.subgroup_column or "", "all")
    part = "split" if config.folds is None else FOLD
    if config.folds is not None:
        table[FOLD] = folds_of_samples(manifest, table, config)
    elif "split" in source:
        table["split"] = source["split"].array
    else:
        table["split"] = assign_splits(
            table["group"], table["subgroup"], config.val_fraction, config.test_fraction, config.split_seed
        )
    named = {stored_name(name): column for name, column in named.items()}
    table = pd.concat([table, pd.DataFrame(named, index=table.index)], axis=1)
    per = list(map(stored_name, sorted(manifest.per)))
    table = table.sort_values(["image", "subgroup", *per], ignore_index=True)
    if config.limit_per_group is not None:
        parts = table.rename(columns={part: "split"})
        kept = table[limit_per_subgroup(parts, config.limit_per_group, config.split_seed)]
        lost = [] if config.folds is None else list(lost_folds(table, kept, config.limit_per_group))
        ManifestError.check(manifest.source, lost)
        table = kept
    table = table.reset_index(drop=True)
    ManifestError.check(manifest.source, list(reserved_problems(manifest, config.classes, table)))
    known = sorted(set(table["subgroup"].astype(str)))
    ManifestError.check(
        manifest.source,
        [
            f"{manifest.subgroup_column or 'all'!r} is never {value!r} (--limit-training); it is {', '.join(known)}"
            for value in config.training_limits
            if value not in known
        ],
    )
    folds = Folds.of(config, table)
    if folds is None:
        split = limit_training(table, config.training_limits, config.split_seed)
        table = _without_tests(manifest, table.assign(split=split), ["split"])
        table = table[table["split"] != LEFT_OUT].reset_index(drop=True)
        ManifestError.check(manifest.source, list(_split_problems(manifest, table)))
        _warn_of_absent_subgroups(manifest, table)
        _warn_of_unseen_unknown(manifest, table, {"": table["split"]})
        return table
    table = _without_tests(manifest, with_splits(table, folds, config), list(map(split_of, folds.names)))
    for fold in folds.names:
        seen = table.assign(split=table[split_of(fold)])
        problems = _split_problems(manifest, seen, may_lack_values=folds.kind != "drawn")
        ManifestError.check(manifest.source, [f"fold {fold!r}: {problem}" for problem in problems])
    if folds.kind != "drawn":
        warn_of_untold(manifest, table, folds)
    if folds.kind != "groups":  # where groups are left out, that is the point
        warn_of_unvalidated(manifest, table, folds)
        _warn_of_unseen_unknown(manifest, table, splits_by_fold(table, folds))
    return table


def _without_tests(manifest: Manifest, table: pd.DataFrame, splits: Sequence[str]) -> pd.DataFrame:
    """Leave rows that are for training only out of the test splits, in columns `splits`."""
    if manifest.trained_only is None:
        return table
    only = (table[stored_name(manifest.trained_only)] == "yes").to_numpy()
    return table.assign(**{split: table[split].mask(only & (table[split] == "test"), LEFT_OUT) for split in splits})


def _warn_of_absent_subgroups(manifest: Manifest, table: pd.DataFrame) -> None:
    """Warn of each subgroup that is missing from a split: it can't be scored, or only poorly."""
    if manifest.trained_only is not None:
        table = table[table[stored_name(manifest.trained_only)] != "yes"]
    for subgroup, rows in table.groupby("subgroup"):
        absent = [split for split in SPLITS if split not in set(rows["split"])]
        if absent:
            warnings.warn(
                f"{manifest.source}: {subgroup!r} ({len(rows)} samples, {rows['group'].nunique()} groups) has none in "
                f"{' and '.join(absent)}; expected three groups or more, one for each split",
                stacklevel=3,
            )


def _warn_of_unseen_unknown(manifest: Manifest, table: pd.DataFrame, splits: Mapping[str, pd.Series]) -> None:
    """Warn of columns that are unknown in a split's validation or test samples, and in none for training.

    Args:
        manifest: what the samples are from.
        table: the kept samples.
        splits: their splits by fold.
    """
    for column in (column.name for column in manifest.metadata if column.missing == "unknown"):
        unknown = table[stored_name(column)] == UNKNOWN
        lacking = [fold for fold, split in splits.items() if unknown.any() and not (unknown & (split == "train")).any()]
        if lacking:
            where = f" in {len(lacking)} of {len(splits)} folds" if len(splits) > 1 else ""
            warnings.warn(
                f"{manifest.source}: {column!r} is unknown in {unknown.sum()} samples and in none for training{where}; "
                "networks are given zeros for them, except in arms with metadata dropout (sme-robust ...)",
                stacklevel=4,
            )


def _split_problems(manifest: Manifest, table: pd.DataFrame, may_lack_values: bool = False) -> Iterator[str]:
    """Yield problems with the splits of the kept samples; training may lack metadata values if that is the point."""
    sizes = table["split"].value_counts().reindex(SPLITS, fill_value=0)
    for split in SPLITS:
        if not sizes[split]:
            found = ", ".join(f"{size} {name}" for name, size in sizes.items())
            groups, subgroups = table["group"].nunique(), table["subgroup"].nunique()
            too_few = (
                f": {groups} groups (which stay whole) of {subgroups} subgroups (which all need training) are too few"
            )
            reason = "" if "split" in manifest.table and FOLD not in table else too_few
            yield f"no sample is in split {split!r} ({found}); expected at least one{reason}"
    if not sizes["train"]:
        return
    training = table[table["split"] == "train"]
    for column in (column.name for column in manifest.metadata if column.kind == "continuous"):
        if training[stored_name(column)].isna().all():
            yield f"{column!r} has no value in any training sample; expected some, or a study without the column"
    if may_lack_values:
        return
    remedy = (
        "It needs groups in two folds; to test values that training lacks, group by the column (--folds groups)"
        if FOLD in table
        else "Move one of its groups to split 'train' in the table"
    )
    for declared in (column for column in manifest.metadata if column.kind == "categorical"):
        column, stored = declared.name, stored_name(declared.name)
        # Where a column may be unknown, training may lack that value: `_warn_of_unseen_unknown`.
        known = sorted({*training[stored], *([UNKNOWN] if declared.missing == "unknown" else [])})
        for value, rows in table[~table[stored].isin(known)].groupby(stored):
            row, split = rows[ROW].iloc[0], rows["split"].iloc[0]
            yield (
                f"{manifest.where(row)}: {column!r} is {value!r} in split {split!r} ({len(rows)} samples), but in no "
                f"training sample; expected one of {', '.join(known)}. {remedy}, or remove its rows"
            )


def _fingerprint(
    manifest: Manifest, config: DataConfig, table: pd.DataFrame, digests: Sequence[Sequence[str]], deep: bool
) -> str:
    """Return the hex digest of everything that is decoded; `deep` is True if an image of 16 bits is scaled to 8."""
    content = {
        "decoder": SCALING_VERSION if deep else DECODER_VERSION,
        "classes": config.classes,
        **MaskValues.of(config).describe(),
        "channels": config.channels,
        **({} if config.pixels == "8-bit" else {"pixels": config.pixels}),
        **({} if config.shrink == 1 else {"shrink": config.shrink}),
        "metadata": [asdict(column) for column in manifest.metadata],
        **({} if manifest.trained_only is None else {"trained_only": manifest.trained_only}),
        "table": table.drop(columns=ROW).to_dict("list"),
        "files": digests,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
