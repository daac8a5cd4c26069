"""Names and values that people type: they never meet ours, look-alikes are one, and reports' words are refused."""

import unicodedata
import warnings

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaseg.config import DataConfig
from metaseg.data.dataset import Dataset
from metaseg.data.manifest import ManifestError
from metaseg.data.metadata import CategoricalCode, MetadataEncoder
from metaseg.data.preparation import prepare
from metaseg.data.reserved_names import OWN, RESERVED_CLASSES, RESERVED_SUBGROUPS
from metaseg.datasets.table import read_table
from metaseg.schema import MACRO, OVERALL
from metaseg.text import clean_text
from table_files import write_dataset

SPLITS = ["train"] * 6 + ["val"] * 3 + ["test"] * 3
LINES = list("abc") * 4

OURS = [
    *(
        "row",
        "subgroup",
        "height",
        "width",
        "mean",
        "std",
        "class",
        "evaluation",
        "run_id",
        "arm",
        "seed",
        "part",
        "epoch",
    ),
    *(
        "tp",
        "fp",
        "fn",
        "tn",
        "f1",
        "iou",
        "score",
        "metric",
        "dataset",
        "study",
        "parameters",
        "block",
        "meta_x",
        "all",
    ),
    *("index", "level_0", "given", "true", "column", "magnitude", "order", "stratum", "size", "digest", "task", "name"),
]


def prepared(path, metadata, *, config=DataConfig(), per=()) -> Dataset:
    return prepare(read_table(path, metadata, None, per), config, path.parent / "cache")


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("values", [LINES, [k / 4 for k in range(12)]], ids=["text", "numbers"])
def test_metadata_may_be_called_as_our_own_columns(tmp_path, name, values):
    plain = prepared(write_dataset(tmp_path / "plain", split=SPLITS, other=values), ["other"])
    ours = prepared(write_dataset(tmp_path / "ours", split=SPLITS, **{name: values}), [name])
    assert ours.values[name].tolist() == plain.values["other"].tolist()
    assert ours.sizes.tolist() == plain.sizes.tolist()
    assert (ours.statistics == plain.statistics).all()
    assert ours.table["subgroup"].tolist() == plain.table["subgroup"].tolist()
    encoded = [MetadataEncoder.fit(each.metadata, each.values).encode(each.values) for each in (ours, plain)]
    assert (encoded[0] == encoded[1]).all()
    again = Dataset.open(ours.path)
    assert again.values[name].tolist() == ours.values[name].tolist()


@pytest.mark.parametrize("name", [*OWN, "row"])
def test_swapped_values_of_a_column_called_as_ours_have_another_fingerprint(tmp_path, name):
    if name in ("image", "mask", "split", "group"):
        with pytest.raises(ManifestError, match=f"{name!r} has a reserved name"):
            prepared(write_dataset(tmp_path / "a", split=SPLITS, group=LINES), [f"{name}:categorical"])
        return
    prints = {
        prepared(write_dataset(tmp_path / "a", split=SPLITS, **{name: values}), [name]).fingerprint
        for values in (LINES, LINES[::-1])
    }
    assert len(prints) == 2


def test_a_name_with_an_equals_sign_is_refused(tmp_path):
    path = write_dataset(tmp_path / "d", split=SPLITS, **{"a=b": LINES})
    with pytest.raises(ManifestError, match=r"'a=b' has a name that is empty or contains '='; rename"):
        read_table(path, ["a=b"])


def test_all_words_that_reports_need_are_reserved():
    assert OVERALL in RESERVED_SUBGROUPS
    assert MACRO in RESERVED_CLASSES


@pytest.mark.parametrize("word", sorted(RESERVED_SUBGROUPS))
def test_a_subgroup_called_as_reports_call_all_together_is_refused_before_training(tmp_path, word):
    path = write_dataset(tmp_path / "d", split=SPLITS, line=[word, "b", "c"] * 4)
    with pytest.raises(
        ManifestError, match=rf"row 1 \(line 2\): 'line' is '{word}', which is reserved for all subgroups"
    ):
        prepared(path, ["line"])


def test_a_class_called_as_reports_call_all_together_is_refused_before_training(tmp_path):
    path = write_dataset(tmp_path / "d", split=SPLITS)
    with pytest.raises(ManifestError, match="a class is called 'macro'"):
        prepared(path, [], config=DataConfig(classes=("macro",)))


@pytest.mark.parametrize(
    "other", ["HeLa ", " HeLa", "HeLa\u00a0", "He\u200bLa", "\ufeffHeLa", "HeLa\u2009", "\tHeLa"], ids=ascii
)
def test_values_that_look_alike_are_one(tmp_path, other):
    path = write_dataset(tmp_path / "d", line=["HeLa", other] * 6)
    assert set(read_table(path, ["line"]).table["line"]) == {"HeLa"}
    assert set(read_table(path, ["line:categorical"], "line").table["group"]) == {"HeLa"}


def test_names_of_columns_that_look_alike_are_one(tmp_path):
    decomposed = unicodedata.normalize("NFD", "lignée ")
    path = write_dataset(tmp_path / "d", **{" split ": SPLITS, decomposed: LINES})
    manifest = read_table(path, ["lignée"])
    assert manifest.table["lignée"].tolist() == LINES
    assert manifest.table["split"].tolist() == SPLITS
    assert read_table(path, [f"{decomposed}:categorical"]).metadata == manifest.metadata
    twice = write_dataset(tmp_path / "twice", **{"line": LINES, "line ": LINES})
    with pytest.raises(ManifestError, match="has the column 'line' twice"):
        read_table(twice, ["line"])


@pytest.mark.parametrize("blank", [" ", "\u00a0", "\u200b", "\t "], ids=ascii)
def test_a_value_of_spaces_is_missing(tmp_path, blank):
    path = write_dataset(tmp_path / "d", line=[*LINES[:11], blank], dose=[*map(str, range(11)), blank])
    with pytest.raises(ManifestError, match=r"row 12 \(line 13\): no value in column 'line'"):
        read_table(path, ["line"])
    with pytest.raises(ManifestError, match=r"row 12 \(line 13\): no value in column 'dose'"):
        read_table(path, ["dose"])


def test_values_that_differ_in_case_only_are_warned_about(tmp_path):
    path = write_dataset(tmp_path / "d", line=["HeLa", "hela"] * 6, well=["a1", "b1"] * 6)
    with pytest.warns(UserWarning, match=r"'line' is 'HeLa' and 'hela', which differ in upper and lower case only"):
        assert set(read_table(path, ["line"]).table["line"]) == {"HeLa", "hela"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_table(path, ["well"])


@given(st.text())
def test_cleaning_twice_changes_nothing_more(text):
    cleaned = clean_text(text)
    assert clean_text(cleaned) == cleaned
    assert cleaned == cleaned.strip()


def test_a_value_typed_with_spaces_is_the_one_that_training_had():
    code = CategoricalCode("line", ("HeLa", "old "))
    assert code.encode(pd.Series([" HeLa\u00a0", "old "])).tolist() == [[1, 0], [0, 1]]
