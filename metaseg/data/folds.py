"""Folds: parts of a dataset's groups, each tested by networks that are trained on the others, so that every sample is
tested once.

Like splits, they are a function of a seed and of the groups' and images' names, never of the order of rows.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from metaseg.config import FOLDS_OF, SPLITS, DataConfig, Split
from metaseg.data.manifest import Manifest, ManifestError
from metaseg.data.reserved_names import FOLD, split_of, stored_name
from metaseg.data.split import assign_parts, limit_training, seeded_order

FoldKind = Literal["drawn", "groups", "column"]
"""Origin of folds: drawn by a seed, one for each group, or declared by the manifest's column `fold`."""

MOST_VALIDATION = 0.5
"""Largest share of the samples that a fold doesn't test for validation."""


@dataclass(frozen=True)
class Folds:
    """The folds of a prepared dataset."""

    kind: FoldKind
    names: tuple[str, ...]
    """Sorted: 0, 1, 2 ... where drawn, names of groups, or values of the column."""

    @classmethod
    def of(cls, config: DataConfig, table: pd.DataFrame) -> "Folds | None":
        """Folds of the kept samples; None where `config` asks for none."""
        if config.folds is None:
            return None
        kind: FoldKind = "drawn"
        if isinstance(config.folds, str):
            kind = "groups" if config.folds == "groups" else "column"
        return cls(kind, tuple(sorted(table[FOLD].unique())))


def folds_of_samples(manifest: Manifest, table: pd.DataFrame, config: DataConfig) -> list[str]:
    """Name the fold that tests each of the manifest's samples.

    Args:
        manifest: its column `fold` is used where folds are declared.
        table: `N` rows, one for each of the manifest's, with columns group and subgroup.
        config: says which folds; not None.

    Returns:
        `N` names.

    Raises:
        ManifestError: there are too few groups, no groups, or no column `fold`; or a group or an image is in two folds.
    """
    if "split" in manifest.table:
        sizes = ", ".join(f"{count} {name}" for name, count in manifest.table["split"].value_counts().items())
        warnings.warn(
            f"{manifest.source}: the splits in the table ({sizes}) are replaced by folds, in which every sample is "
            "tested once; remove rows that no network is to be trained on",
            stacklevel=4,
        )
    if config.folds == "groups":
        groups = table["group"].nunique()
        if "group" not in manifest.table:
            raise ManifestError(
                f"{manifest.source}: there are no groups to leave out (--folds groups); expected a column that names "
                "them (--group-by)"
            )
        if groups < 3:
            raise ManifestError(
                f"{manifest.source}: {groups} groups; expected three or more, to test, validate and train on (--folds "
                "groups)"
            )
        return table["group"].astype(str).tolist()
    if isinstance(config.folds, str):
        return _declared(manifest, config.folds)
    assert config.folds is not None
    try:
        return assign_folds(table["group"], table["subgroup"], config.folds, config.split_seed)
    except ValueError as error:
        raise ManifestError(f"{manifest.source}: folds is {config.folds}: {error}") from error


def _declared(manifest: Manifest, folding: str) -> list[str]:
    """Values of the manifest's column `fold`, or of the one that `folding` names, with all rows of a group in one."""
    table, column = manifest.table, folding.removeprefix(FOLDS_OF) if folding.startswith(FOLDS_OF) else "fold"
    if column not in table:
        columns = ", ".join(map(str, table.columns))
        raise ManifestError(f"{manifest.source}: has no column {column!r} (--folds {folding}); it has {columns}")
    absent = np.flatnonzero(table[column].isna()).tolist()
    ManifestError.check(manifest.source, [f"{manifest.where(row)}: no value in column {column!r}" for row in absent])
    fold = table[column].astype(str).tolist()
    if len(set(fold)) < 2:
        raise ManifestError(
            f"{manifest.source}: column {column!r} is {fold[0]!r} everywhere; expected two folds or more"
        )
    problems = []
    for kind in ("group", "image"):
        first: dict[object, int] = {}
        for row, name in enumerate(table.get(kind, ())):
            elder = first.setdefault(name, row)
            if fold[elder] != fold[row]:
                problems.append(
                    f"{manifest.where(row)}: {kind} {name!r} is in fold {fold[row]!r}, but in {fold[elder]!r} in "
                    f"{manifest.where(elder)}; expected all of it in one fold"
                )
    ManifestError.check(manifest.source, problems)
    return fold


def assign_folds(group: pd.Series, subgroup: pd.Series, count: int, seed: int) -> list[str]:
    """Assign a fold to every sample: groups stay whole, and each subgroup is divided evenly.

    By scikit-learn's `StratifiedGroupKFold`, given groups from large to small (by powers of two) and in seeded order
    among equals.

    Args:
        group: `(N,)` samples of equal value share a fold.
        subgroup: `(N,)` samples of equal value are divided evenly.
        count: number of folds, at least 2.
        seed: seed of the order among groups of about the same size.

    Returns:
        `N` names: "0" to `count` - 1.

    Raises:
        ValueError: there are fewer groups than folds, or fewer samples in each subgroup.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # slow to import, and few studies need it

    sizes = group.astype(str).value_counts()
    if len(sizes) < count:
        raise ValueError(f"{len(sizes)} groups; expected at least as many as folds")
    order = pd.DataFrame({"magnitude": -np.log2(sizes).astype(int)})
    order["drawn"] = seeded_order(sizes.index.to_series(), seed, "fold")
    rank = pd.Series(range(len(sizes)), index=order.sort_values(["magnitude", "drawn"]).index)
    places, fold = rank[group.astype(str)].to_numpy(), np.empty(len(group), dtype=object)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a subgroup of few samples isn't in every fold
        drawn = StratifiedGroupKFold(count).split(places, subgroup.astype(str).to_numpy(), places)
        for number, (_, tested) in enumerate(drawn):
            fold[tested] = str(number)
    return fold.tolist()


def with_splits(table: pd.DataFrame, folds: Folds, config: DataConfig) -> pd.DataFrame:
    """Add each fold's split of all samples, in columns `split_of(fold)`.

    A fold's own samples are for test. Of the others, whole groups are for validation: about `val_fraction` of all
    samples, but at most half of the others, in proportion from each subgroup. A subgroup's last group is for training,
    except where groups are left out and no subgroup has a second one, as where groups are cell lines and so are
    subgroups.

    Args:
        table: `N` rows with columns group, subgroup and `FOLD`.
        folds: those of the table.
        config: share of samples for validation, and seed.
    """
    splits: dict[str, pd.Series] = {}
    for fold in folds.names:
        split = pd.Series("test", index=table.index)
        rest = table[table[FOLD] != fold]
        if len(rest):
            share = min(config.val_fraction * len(table) / len(rest), MOST_VALIDATION)
            shares: dict[Split, float] = {"train": 1 - share, "val": share}
            purpose = f"validation of fold {fold}"
            parts = assign_parts(rest["group"], rest["subgroup"], shares, config.split_seed, purpose)
            if "val" not in parts and folds.kind == "groups":
                parts = assign_parts(
                    rest["group"], pd.Series("all", index=rest.index), shares, config.split_seed, purpose
                )
            split.update(pd.Series(parts, index=rest.index, dtype=str))
        splits[split_of(fold)] = limit_training(table.assign(split=split), config.training_limits, config.split_seed)
    return pd.concat([table, pd.DataFrame(splits, index=table.index)], axis=1)


def lost_folds(table: pd.DataFrame, kept: pd.DataFrame, limit: int | None) -> Iterator[str]:
    """Yield problems: folds of which a limit keeps no sample."""
    for fold in sorted(set(table[FOLD]) - set(kept[FOLD])):
        yield f"fold {fold!r} keeps no sample (--limit-per-group {limit}); expected a limit of at least one per fold"


def untold(
    columns: Iterable[str], table: pd.DataFrame, splits: Mapping[str, pd.Series], of: Sequence[Split] = ("test",)
) -> dict[str, dict[str, list[str]]]:
    """Metadata values of samples that training lacks: networks are given zeros for them, or told that they
    are unknown, if they can be.

    Args:
        columns: names of categorical metadata columns.
        table: the kept samples.
        splits: the samples' splits by fold.
        of: splits whose samples are compared with training.

    Returns:
        Sorted values by column and fold; columns and folds without any aren't there.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for column in columns:
        values = table[stored_name(column)]
        for fold, split in splits.items():
            if lacking := set(values[split.isin(of)]) - set(values[split == "train"]):
                found.setdefault(column, {})[fold] = sorted(lacking)
    return found


def warn_of_untold(manifest: Manifest, table: pd.DataFrame, folds: Folds) -> None:
    """Warn of metadata values that a fold's training lacks: its networks are told nothing about these samples.

    Args:
        manifest: what the samples are from.
        table: the kept samples, with each fold's split.
        folds: those of the table.
    """
    categorical = [column.name for column in manifest.metadata if column.kind == "categorical"]
    for column, lacking in untold(categorical, table, splits_by_fold(table, folds), ("val", "test")).items():
        fold, values = next(iter(lacking.items()))
        warnings.warn(
            f"{manifest.source}: in {len(lacking)} of {len(folds.names)} folds, training lacks values of {column!r} "
            f"(fold {fold!r}: {', '.join(values)}): networks are given zeros for them, or told that they are unknown, "
            "if they can be",
            stacklevel=4,
        )


def warn_of_unvalidated(manifest: Manifest, table: pd.DataFrame, folds: Folds) -> None:
    """Warn of subgroups that a fold tests without any sample for training or validation: networks of one value each
    (`Arm.stratified`) can't be trained for it there.

    Args:
        manifest: what the samples are from.
        table: the kept samples, with each fold's split.
        folds: those of the table.
    """
    for subgroup, rows in table.groupby("subgroup"):
        found = {fold: set(split) for fold, split in splits_by_fold(rows, folds).items()}
        if folds.kind == "column":  # a value that is left out altogether is meant to be, and `warn_of_untold` names it
            found = {fold: splits for fold, splits in found.items() if splits & {"train", "val"}}
        lacking = [fold for fold, splits in found.items() if "test" in splits and not splits >= set(SPLITS)]
        if lacking:
            warnings.warn(
                f"{manifest.source}: {subgroup!r} ({len(rows)} samples, {rows['group'].nunique()} groups) is tested in "
                f"fold {', '.join(lacking)}, which has none of it for training or validation: an arm with a network "
                "for each value has none for it there; expected three groups or more",
                stacklevel=4,
            )


def splits_by_fold(table: pd.DataFrame, folds: Folds) -> dict[str, pd.Series]:
    """Each fold's split of the samples, from a table that `with_splits` made."""
    return {fold: table[split_of(fold)] for fold in folds.names}
