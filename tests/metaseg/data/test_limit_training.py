"""Limited training: few samples of a subgroup are trained and validated on, and all are tested."""

import warnings

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaseg.config import LEFT_OUT, ConfigError, DataConfig
from metaseg.data.folds import Folds
from metaseg.data.manifest import ManifestError
from metaseg.data.preparation import prepare
from metaseg.data.split import limit_training
from metaseg.datasets.table import read_table
from table_files import write_dataset

splits = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["train", "val", "test"])), min_size=12).map(
    lambda rows: pd.DataFrame(rows, columns=["subgroup", "split"]).assign(
        group=[f"g{number // 2}" for number in range(len(rows))], image=[f"i{number}" for number in range(len(rows))]
    )
)


@pytest.fixture
def table(tmp_path):
    lines, fields = ["a", "b"] * 20, [f"w{number // 2}" for number in range(40)]
    return write_dataset(tmp_path / "cells", 40, line=lines, well=fields)


def prepare_table(path, **config):
    return prepare(read_table(path, ["line"]), DataConfig(**config), path.parent / "cache")


@given(splits, st.integers(2, 9), st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_a_limit_leaves_out_only_training_samples_of_its_subgroup_and_keeps_some_of_each_split(table, limit, seed):
    limited = limit_training(table, {"a": limit}, seed)
    left_out = limited == LEFT_OUT
    assert (limited[~left_out] == table["split"][~left_out]).all()
    assert (table["subgroup"][left_out] == "a").all()
    assert (table["split"][left_out] != "test").all()
    own = table[(table["subgroup"] == "a") & (table["split"] != "test")]
    kept = own[limited[own.index] != LEFT_OUT]
    assert len(kept) == min(limit, len(own))
    assert set(kept["split"]) == set(own["split"])
    larger = limit_training(table, {"a": limit + 1}, seed)
    assert set(table.index[left_out]) >= set(table.index[larger == LEFT_OUT])


def test_with_folds_each_sample_is_tested_and_few_are_trained_on_in_each(table):
    dataset = prepare_table(table, folds=4, limit_training=("b=3",))
    assert len(dataset.tested) == 40
    for view in dataset.views:
        rows = view.table[view.table["split"] != "test"]
        trained = rows[rows["split"] != LEFT_OUT]["line"].value_counts()
        assert trained.to_dict() == {"a": 15, "b": 3}
        assert {"train", "val"} <= set(rows[rows["line"] == "b"]["split"])


def test_without_folds_samples_that_nothing_is_done_with_arent_decoded(table):
    dataset = prepare_table(table, limit_training=("b=4",))
    whole = prepare_table(table)
    assert set(dataset.table["split"]) == {"train", "val", "test"}
    counts = dataset.table.groupby("line")["split"].value_counts()
    assert counts["b"]["train"] + counts["b"]["val"] == 4
    assert counts["b"]["test"] == (whole.table[whole.table["line"] == "b"]["split"] == "test").sum()
    assert dataset.fingerprint != whole.fingerprint


@pytest.mark.parametrize("item", ["b", "b=1", "=4", "b=x", "b=-3", "b=²"])
def test_limits_that_cant_be_are_refused(item):
    with pytest.raises(ConfigError, match=r"limit_training is .*; expected VALUE=COUNT, each value once"):
        DataConfig(limit_training=(item,))
    with pytest.raises(ConfigError, match="limit_training"):
        DataConfig(limit_training=("b=3", "b=4"))


def test_a_value_may_hold_an_equals_sign_and_one_that_isnt_there_is_named_with_those_that_are(table):
    assert DataConfig(limit_training=("pH=7=12",)).training_limits == {"pH=7": 12}
    with pytest.raises(ManifestError, match=r"'line' is never 'c' \(--limit-training\); it is a, b"):
        prepare_table(table, limit_training=("c=3",))


def test_any_column_may_name_what_is_left_out_and_its_values_may_be_unseen(table):
    source = pd.read_csv(table)
    source["line"] = ["a", "a", "b", "b"] * 10
    source["site"] = source["line"].map({"a": "one", "b": "two"})
    source.to_csv(table, index=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        dataset = prepare_table(table, folds="column:site")
    (said,) = (str(warning.message) for warning in caught)  # not that there are too few groups, too
    assert "in 2 of 2 folds, training lacks values of 'line'" in said
    assert dataset.folds == Folds("column", ("one", "two"))
    assert dataset.untold == {"line": {"one": ["a"], "two": ["b"]}}
    with pytest.raises(ManifestError, match=r"no column 'ward' \(--folds column:ward\)"):
        prepare_table(table, folds="column:ward")
    with pytest.raises(ConfigError, match="expected a number from 2, groups, column or column:NAME"):
        DataConfig(folds="column:")
