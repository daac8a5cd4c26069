"""Splitting samples into train, val and test, and limiting their number.

Both are functions of a seed and of the groups' and images' names, never of the order of rows.
"""

import hashlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from metaseg.config import LEFT_OUT, Split


def assign_splits(
    group: pd.Series, subgroup: pd.Series, val_fraction: float, test_fraction: float, seed: int
) -> list[Split]:
    """Assign a split to every sample: groups stay whole, and each subgroup is divided in the wanted proportions.

    Three or more groups of a subgroup cover all splits; of two groups, one is in train; a single group is in train.

    Args:
        group: `(N,)` samples of equal value share a split.
        subgroup: `(N,)` samples of equal value are divided in the wanted proportions.
        val_fraction: share of samples for val.
        test_fraction: share of samples for test; the rest is for train.
        seed: seed of the order among groups of about the same size.

    Returns:
        `N` splits.
    """
    shares: dict[Split, float] = {"train": 1 - val_fraction - test_fraction, "val": val_fraction, "test": test_fraction}
    return assign_parts(group, subgroup, shares, seed, "split")


def assign_parts(
    group: pd.Series, subgroup: pd.Series, shares: Mapping[Split, float], seed: int, purpose: str
) -> list[Split]:
    """Assign one of several splits to every sample: groups stay whole, and each subgroup is divided in proportion.

    A group counts towards the subgroup of most of its samples. Within a subgroup, groups are taken from large to small
    (by powers of two, in seeded order among equals), and each goes to the split that is emptiest for its share. As many
    groups of a subgroup as there are splits cover all of them; of fewer, one is in train.

    Args:
        group: `(N,)` samples of equal value share a split.
        subgroup: `(N,)` samples of equal value are divided in the wanted proportions.
        shares: shares of samples, of sum 1, train among them.
        seed: seed of the order among groups of about the same size.
        purpose: what is assigned: the order is a function of (seed, purpose, group).

    Returns:
        `N` splits.
    """
    counts = pd.DataFrame({"group": group.to_numpy(), "subgroup": subgroup.to_numpy()}).value_counts().reset_index()
    counts = counts.sort_values(["count", "subgroup"], ascending=[False, True])
    groups = counts.groupby("group").agg(stratum=("subgroup", "first"), size=("count", "sum"))
    groups["magnitude"] = np.log2(groups["size"]).astype(int)
    groups["order"] = seeded_order(groups.index.to_series(), seed, purpose)
    groups = groups.sort_values(["stratum", "magnitude", "order"], ascending=[True, False, True])

    assigned: dict[object, Split] = {}
    overall = dict.fromkeys(shares, 0)
    for _, stratum in groups.groupby("stratum"):
        filled = dict.fromkeys(shares, 0)
        for taken, (name, size) in enumerate(stratum["size"].items()):
            empty = [split for split in shares if not filled[split]]
            candidates = empty if len(stratum) - taken <= len(empty) else list(shares)
            if taken == len(stratum) - 1 and not filled["train"]:
                candidates = ["train"]
            split = min(candidates, key=lambda s: _fill(s, size, shares, filled, overall))
            assigned[name] = split
            filled[split] += size
            overall[split] += size
    return [assigned[name] for name in group]


def _fill(
    split: Split, size: int, shares: Mapping[Split, float], filled: dict[Split, int], overall: dict[Split, int]
) -> tuple[float, float]:
    """Compute how full a split would be for its share, in the subgroup and, to break ties, in all subgroups.

    Counting half of the new group favours neither large nor small shares (the Sainte-Laguë method).
    """
    return round((filled[split] + size / 2) / shares[split], 6), round((overall[split] + size / 2) / shares[split], 6)


def limit_per_subgroup(table: pd.DataFrame, limit: int, seed: int) -> npt.NDArray[np.bool_]:
    """Choose at most `limit` samples of each subgroup, in proportion from its splits.

    Within a split, whole groups are taken in seeded order, and only the last is taken in part. Every split that has
    samples of the subgroup keeps at least one (for `limit` >= 3).

    Args:
        table: `N` rows with columns image, group, subgroup and split.
        limit: most samples to keep of each subgroup.
        seed: seed of the choice.

    Returns:
        `(N,)` True for each row to keep.
    """
    order = table[["subgroup", "split"]].reset_index(drop=True)
    order["by_group"] = seeded_order(table["group"], seed, "limit group")
    order["by_image"] = seeded_order(table["image"], seed, "limit image")
    order = order.sort_values(["by_group", "by_image"])
    parts = order.groupby(["subgroup", "split"])
    # the k-th of n samples stands at k/n, so that cutting at one place cuts all splits in proportion
    order["position"] = parts.cumcount() / parts["split"].transform("size")
    order = order.sort_values("position", kind="stable")
    kept = np.zeros(len(table), dtype=np.bool_)
    kept[order.groupby("subgroup").head(limit).index] = True
    return kept


def limit_training(table: pd.DataFrame, limits: Mapping[str, int], seed: int) -> pd.Series:
    """Leave samples out of training and validation, so that at most so many of a subgroup are in the two together.

    They are taken from both in proportion, at least one from each. Those of a smaller limit are among a larger's.

    Args:
        table: `N` rows with columns image, group, subgroup and split.
        limits: most samples, at least 2, by subgroup; other subgroups stay whole.
        seed: seed of the choice.

    Returns:
        `(N,)` the splits, `LEFT_OUT` in the place of train and val for samples beyond a limit.
    """
    split = table["split"].copy()
    for subgroup, limit in limits.items():
        rows = table[(table["subgroup"].astype(str) == subgroup) & split.isin(("train", "val"))]
        split[rows.index[~limit_per_subgroup(rows, limit, seed)]] = LEFT_OUT
    return split


def seeded_order(names: pd.Series, seed: int, purpose: str) -> list[int]:
    """Hash each name to a pseudo-random number, a function of (seed, purpose, name) alone."""
    digests = (hashlib.sha256(f"{seed}/{purpose}/{name}".encode()).digest() for name in names)
    return [int.from_bytes(digest[:7]) for digest in digests]
