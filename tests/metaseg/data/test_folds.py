"""Folds: every sample is tested once, groups stay whole, and nothing depends on the order of rows."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from metaseg.config import SPLITS, ConfigError, DataConfig, NetworkConfig, RunConfig, ScheduleConfig
from metaseg.data.dataset import Dataset, TestWithheldError
from metaseg.data.folds import Folds, assign_folds, with_splits
from metaseg.data.manifest import ManifestError
from metaseg.data.metadata import MetadataEncoder, UnknownMetadataError
from metaseg.data.preparation import prepare
from metaseg.data.reserved_names import FOLD, split_of
from metaseg.datasets.table import read_table
from metaseg.study.plan import plan
from metaseg.training.fit import encode_metadata
from table_files import edit_csv, write_dataset

tables = st.lists(st.tuples(st.sampled_from("aab"), st.integers(1, 6)), min_size=8, max_size=40).map(
    lambda groups: pd.DataFrame(
        [(f"g{n}", line, f"i{n}-{k}") for n, (line, size) in enumerate(groups) for k in range(size)],
        columns=["group", "subgroup", "image"],
    )
)


def folded(table, config=DataConfig(folds=4)):
    """The table with its folds, and the splits of each."""
    fold = assign_folds(table["group"], table["subgroup"], config.folds, config.split_seed)
    table = table.assign(**{FOLD: fold})
    folds = Folds.of(config, table)
    assert folds is not None
    return with_splits(table, folds, config), folds


@given(tables, st.integers(0, 5), st.randoms(use_true_random=False))
@settings(max_examples=8, deadline=None)
def test_each_sample_is_tested_once_by_whole_groups_in_whatever_order_rows_come(table, seed, random):
    config = DataConfig(folds=4, split_seed=seed)
    order = list(range(len(table)))
    random.shuffle(order)
    results = [folded(rows, config)[0].sort_values("image", ignore_index=True) for rows in (table, table.iloc[order])]
    pd.testing.assert_frame_equal(*results)
    result, names = results[0], "0123"
    tested = np.stack([result[split_of(fold)] == "test" for fold in names])
    assert (tested.sum(axis=0) == 1).all()
    assert (result[FOLD].to_numpy() == np.array(list(names))[tested.argmax(axis=0)]).all()
    for fold in names:
        assert set(result[split_of(fold)]) <= set(SPLITS)
        assert result.groupby("group")[split_of(fold)].nunique().max() == 1
        trained = result[result[split_of(fold)] == "train"]
        for line, rows in result[result[split_of(fold)] != "test"].groupby("subgroup"):
            assert line in set(trained["subgroup"]), "a subgroup outside the fold is trained on"
            if rows["group"].nunique() > 1:
                assert "val" in set(rows[split_of(fold)])


@given(st.integers(0, 20), st.integers(2, 6), st.integers(1, 4))
@settings(max_examples=5, deadline=None)
def test_subgroups_are_divided_evenly_and_validation_is_its_share(seed, count, largest):
    sizes = np.random.default_rng(seed).integers(1, largest + 1, 150)
    rows = [(f"g{n}", "aab"[n % 3], f"i{n}-{k}") for n, size in enumerate(sizes) for k in range(size)]
    config = DataConfig(folds=count, split_seed=seed)
    table, folds = folded(pd.DataFrame(rows, columns=["group", "subgroup", "image"]), config)
    for _, members in table.groupby("subgroup"):
        for fold in folds.names:
            sizes = members[split_of(fold)].value_counts()
            assert abs(sizes["test"] - len(members) / count) <= 2 * largest
            assert abs(sizes["val"] - config.val_fraction * len(members)) <= 2 * largest


def test_the_seed_changes_who_is_where_and_folds_validate_differently():
    table = pd.DataFrame(
        {"group": [f"g{n}" for n in range(60)], "subgroup": "a", "image": [f"i{n}" for n in range(60)]}
    )
    first, second = (folded(table, DataConfig(folds=4, split_seed=seed))[0] for seed in (0, 1))
    assert (first[FOLD] != second[FOLD]).mean() > 0.5
    assert first[FOLD].value_counts().to_dict() == dict.fromkeys("0123", 15)
    validation = [frozenset(first["group"][first[split_of(fold)] == "val"]) for fold in "0123"]
    assert len(set(validation)) == 4


@pytest.fixture
def table(tmp_path):
    columns = {"line": list("abc" * 8), "well": [f"w{n // 2}" for n in range(24)], "fold": list("xyz" * 8)}
    return write_dataset(tmp_path / "cells", 24, **columns)


def prepare_table(table, metadata=("line",), group_by=None, **settings):
    return prepare(read_table(table, metadata, group_by), DataConfig(**settings), table.parent.parent / "cache")


def test_a_folds_view_is_a_dataset_with_that_folds_splits(table):
    dataset = prepare_table(table, group_by="well", folds=3)
    assert dataset.folds == Folds("drawn", ("0", "1", "2"))
    assert Dataset.open(dataset.path).folds == dataset.folds
    np.testing.assert_array_equal(dataset.tested, np.arange(24))
    tested = [view.indices("test") for view in dataset.views]
    np.testing.assert_array_equal(np.sort(np.concatenate(tested)), np.arange(24))
    for view in dataset.views:
        assert (view.fingerprint, view.path) == (dataset.fingerprint, dataset.path)
        assert view.of_fold(view.fold) is view
        assert list(view.values) == list(dataset.values) == ["line"]
        assert {view.fold_of(int(row)) for row in view.indices("test")} == {view.fold}
        np.testing.assert_array_equal(view.image(3), dataset.image(3))
        hidden = view.without_test()
        with pytest.raises(TestWithheldError):
            hidden.image(int(view.indices("test")[0]))
        hidden.image(int(view.indices("train")[0]))


def test_a_fold_must_be_chosen_and_exist(table):
    dataset, plain = prepare_table(table, folds=3), prepare_table(table)
    with pytest.raises(ConfigError, match="has folds; expected one to be chosen"):
        dataset.indices("test")
    with pytest.raises(ConfigError, match="fold is '9'; dataset 'cells' has 0, 1, 2"):
        dataset.of_fold("9")
    with pytest.raises(ConfigError, match="fold is None; dataset 'cells' has 0, 1, 2"):
        dataset.of_fold(None)
    with pytest.raises(ConfigError, match=r"fold is '1'; dataset 'cells' has 0$"):
        dataset.of_fold("0").of_fold("1")
    with pytest.raises(ConfigError, match="fold is '0'; dataset 'cells' has no folds"):
        plain.of_fold("0")
    assert plain.of_fold(None) is plain
    assert plain.views == (plain,)


def test_folds_are_part_of_the_fingerprint_and_a_dataset_without_them_is_as_before(table):
    plain = prepare_table(table)
    assert "folds" not in json.loads((plain.path / "dataset.json").read_text())
    assert {FOLD, split_of("0")}.isdisjoint(plain.table)
    variants = [plain, *(prepare_table(table, folds=folds) for folds in (3, 4))]
    variants += [prepare_table(table, folds=3, split_seed=1), prepare_table(table, folds=3, val_fraction=0.3)]
    assert len({variant.fingerprint for variant in variants}) == len(variants)


def test_declared_folds_are_used_as_they_are(table):
    dataset = prepare_table(table, (), folds="column")
    assert dataset.folds == Folds("column", ("x", "y", "z"))
    source = pd.read_csv(table).set_index("image")["fold"]
    assert [dataset.fold_of(row) for row in range(24)] == source[dataset.table["image"]].tolist()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"folds": 30}, "24 groups; expected at least as many as folds"),
        ({"folds": "groups"}, r"no groups to leave out .* \(--group-by\)"),
        ({"folds": "column", "group_by": "well"}, "row 2 .*: group 'w0' is in fold 'y', but in 'x' in row 1"),
        ({"folds": 2, "group_by": "line"}, r"fold '0': .*'line' is '.' in split 'test' .* \(--folds groups\)"),
        ({"folds": 6, "limit_per_group": 3}, "fold '.' keeps no sample .--limit-per-group 3."),
    ],
)
def test_folds_that_cant_be_are_an_error_that_says_why(table, settings, message):
    metadata = () if "limit_per_group" in settings or settings["folds"] == "column" else ("line",)
    with pytest.raises(ManifestError, match=message):
        prepare_table(table, metadata, **settings)


def test_a_sample_without_a_declared_fold_and_a_manifest_without_any_are_named(table):
    edit_csv(table, 4, "fold", "")
    with pytest.raises(ManifestError, match=r"row 5 .*: no value in column 'fold'"):
        prepare_table(table, (), folds="column")
    pd.read_csv(table).drop(columns="fold").to_csv(table, index=False)
    with pytest.raises(ManifestError, match="has no column 'fold'"):
        prepare_table(table, (), folds="column")


def test_a_class_that_a_folds_training_lacks_is_named_with_the_fold(table):
    for number in range(24):
        edit_csv(table, number, "mask", f"m{number % 3}.png")  # fold x has one mask
    for number, value in enumerate((2, 1, 1)):
        mask = np.zeros((6, 8), np.uint8)
        mask[:, :4] = value
        Image.fromarray(mask).save(table.parent / f"m{number}.png")
    with pytest.raises(ManifestError, match="fold 'x': class 'two' has no pixel in any training mask"):
        prepare_table(table, (), folds="column", classes=("one", "two"))


def test_a_split_in_the_table_is_replaced_and_that_is_said(table):
    source = pd.read_csv(table)
    source.assign(split=["train"] * 12 + ["val"] * 6 + ["test"] * 6).to_csv(table, index=False)
    with pytest.warns(UserWarning, match=r"splits in the table \(12 train, 6 val, 6 test\) are replaced by folds"):
        dataset = prepare_table(table, folds=3)
    assert len(dataset.tested) == 24


def test_a_value_that_a_fold_tests_but_cant_validate_is_warned_of(table):
    """Or one network for each value would lack some of it unsaid."""
    for number in range(24):
        edit_csv(table, number, "line", "rare" if number < 2 else "common")
    with pytest.warns(
        UserWarning, match=r"'rare' \(2 samples, 2 groups\) is tested in fold ., ., which has none of it"
    ):
        dataset = prepare_table(table, folds=4)
    parts = [
        run.part for run in plan("lines", dataset, ["baseline-stratified"], 1, baseline="baseline-stratified").runs
    ]
    assert set(parts) == {"common"}
    assert dataset.untold == {}


def test_a_value_that_is_left_out_is_zeros_to_the_networks_and_that_is_said(table):
    with pytest.warns(UserWarning, match="in 3 of 3 folds, training lacks values of 'line'"):
        dataset = prepare_table(table, group_by="line", folds="groups")
    assert dataset.folds == Folds("groups", ("a", "b", "c"))
    assert dataset.untold == {"line": {"a": ["a"], "b": ["b"], "c": ["c"]}}
    assert plan("lines", dataset, ["baseline"], 1).record([])["untold"] == dataset.untold
    view = dataset.of_fold("a")
    assert view.untold == {"line": {"a": ["a"]}}, "also of one fold"
    assert view.table.groupby("line")["split"].nunique().max() == 1
    config = RunConfig("sme", "true", 0, view.fingerprint, NetworkConfig(), ScheduleConfig(), fold="a")
    encoder, vectors = encode_metadata(config, view)
    trained = (view.table["split"] == "train").to_numpy()
    assert (vectors[trained].sum(dim=1) == 1).all()
    assert (vectors[~trained] == 0).all()
    assert MetadataEncoder.from_json(json.loads(json.dumps(encoder.to_json()))) == encoder
    with pytest.raises(UnknownMetadataError, match="'typo'"):
        encoder.encode(view.values.assign(line="typo"))


def test_a_limit_is_taken_in_proportion_from_folds(table):
    whole, few = prepare_table(table, folds=3), prepare_table(table, folds=3, limit_per_group=4)
    assert few.table["line"].value_counts().to_dict() == dict.fromkeys("abc", 4)
    assert set(zip(few.table["image"], few.table[FOLD], strict=True)) < set(
        zip(whole.table["image"], whole.table[FOLD], strict=True)
    )


def test_a_metadata_column_called_fold_is_the_users(table):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = prepare_table(table, ("fold",), folds=2)
    assert list(dataset.values) == ["fold"]
    assert set(dataset.values["fold"]) == set("xyz")
