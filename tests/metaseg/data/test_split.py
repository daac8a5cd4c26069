"""Splits keep groups whole and subgroups in proportion, whatever the order of rows; limits cut splits alike."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaseg.config import SPLITS
from metaseg.data.split import assign_splits, limit_per_subgroup


def make_table(groups):
    """A row a sample; `groups` are (subgroup, samples), some of which hold one sample of another subgroup."""
    rows = [
        (f"g{number}", "z" if mixed and k == 0 else subgroup, f"i{number}-{k}")
        for number, (subgroup, size, mixed) in enumerate(groups)
        for k in range(size)
    ]
    return pd.DataFrame(rows, columns=["group", "subgroup", "image"])


tables = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9), st.booleans()), min_size=1, max_size=40).map(
    make_table
)
fractions = st.tuples(st.floats(0.01, 0.6), st.floats(0.01, 0.39))


def split(table, fractions=(0.2, 0.2), seed=0):
    return table.assign(split=assign_splits(table["group"], table["subgroup"], *fractions, seed))


@given(tables, fractions, st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_groups_never_straddle_and_every_sample_has_a_split(table, fractions, seed):
    result = split(table, fractions, seed)
    assert set(result["split"]) <= set(SPLITS)
    assert result.groupby("group")["split"].nunique().max() == 1


@given(tables, st.integers(0, 5), st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_the_order_of_rows_changes_neither_split_nor_limit(table, seed, random):
    order = list(range(len(table)))
    random.shuffle(order)
    results = []
    for rows in (table, table.iloc[order]):
        result = split(rows, seed=seed)
        result = result.assign(kept=limit_per_subgroup(result, 4, seed))
        results.append(result.sort_values("image", ignore_index=True))
    pd.testing.assert_frame_equal(*results)


@given(tables, fractions)
@settings(max_examples=25, deadline=None)
def test_three_groups_of_a_subgroup_reach_every_split_and_any_reaches_training(table, fractions):
    table = table[table["subgroup"] != "z"]  # groups of one subgroup only
    for _, members in split(table, fractions).groupby("subgroup"):
        reached = set(members["split"])
        assert "train" in reached
        assert len(reached) == min(members["group"].nunique(), 3)


@given(st.integers(0, 20), st.sampled_from([(0.2, 0.2), (0.1, 0.3), (0.33, 0.33)]), st.integers(1, 4))
@settings(max_examples=15, deadline=None)
def test_many_small_groups_give_the_wanted_proportions_in_every_subgroup(seed, fractions, largest):
    sizes = np.random.default_rng(seed).integers(1, largest + 1, 150)
    result = split(make_table([("aab"[k % 3], int(size), False) for k, size in enumerate(sizes)]), fractions, seed)
    wanted = dict(zip(SPLITS, (1 - sum(fractions), *fractions), strict=True))
    for _, members in result.groupby("subgroup"):
        for name, share in wanted.items():
            assert abs((members["split"] == name).sum() - share * len(members)) <= largest


def test_single_samples_are_split_exactly():
    result = split(make_table([("a", 1, False)] * 50 + [("b", 1, False)] * 10))
    assert result.value_counts(["subgroup", "split"]).to_dict() == {
        ("a", "train"): 30, ("a", "val"): 10, ("a", "test"): 10,
        ("b", "train"): 6, ("b", "val"): 2, ("b", "test"): 2,
    }  # fmt: skip


def test_a_giant_group_is_trained_on_and_the_rest_is_divided():
    result = split(make_table([("a", 60, False), *[("a", 2, False)] * 20]))
    assert set(result.loc[result["group"] == "g0", "split"]) == {"train"}
    assert result["split"].value_counts().to_dict() == {"train": 60, "val": 20, "test": 20}


def test_the_seed_changes_who_is_where_but_not_how_many():
    table = make_table([("a", 2, False)] * 60)
    first, second = split(table, seed=0), split(table, seed=1)
    assert (first["split"] != second["split"]).mean() > 0.2
    assert first["split"].value_counts().to_dict() == second["split"].value_counts().to_dict()


def test_a_tiny_subgroup_is_where_the_whole_table_lacks_samples():
    """Subgroups of two groups each: one trains, and the other ones are shared between val and test."""
    result = split(make_table([("abcdefgh"[k // 2], 2, False) for k in range(16)]))
    assert result["split"].value_counts().to_dict() == {"train": 16, "val": 8, "test": 8}


def test_which_split_a_group_gets_is_left_to_chance():
    """No place in the table, and no name, is likelier to be tested: over seeds each group is tested in a fifth."""
    table = make_table([("a", 1, False)] * 10)
    tested = np.mean([split(table, seed=seed)["split"] == "test" for seed in range(60)], axis=0)
    assert np.abs(tested - 0.2).max() < 4.5 * np.sqrt(0.2 * 0.8 / 60)


@given(tables, st.integers(3, 12), st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_a_limit_keeps_as_many_as_it_can_in_every_split_that_was_there(table, limit, seed):
    result = split(table, seed=seed)
    kept = result[limit_per_subgroup(result, limit, seed)]
    sizes = result["subgroup"].value_counts()
    assert kept["subgroup"].value_counts().to_dict() == sizes.clip(upper=limit).to_dict()
    for (subgroup, _), members in result.groupby(["subgroup", "split"]):
        share = len(members) * min(limit / sizes[subgroup], 1)
        left = members.index.isin(kept.index).sum()
        assert left >= 1
        assert abs(left - share) < 3
        cut = members.assign(kept=members.index.isin(kept.index)).groupby("group")["kept"].mean()
        assert ((cut > 0) & (cut < 1)).sum() <= 1, "only the last group is taken in part"


@pytest.mark.parametrize("limit", [5, 50])
def test_a_larger_limit_and_another_seed_choose_differently(limit):
    result = split(make_table([("a", 3, False)] * 40))
    kept = limit_per_subgroup(result, limit, 0)
    assert (kept <= limit_per_subgroup(result, limit + 20, 0)).all(), "a larger limit adds samples, and drops none"
    assert (kept != limit_per_subgroup(result, limit, 1)).any()
