"""The manifest's rules: every broken one is an error that says where, what and what was expected."""

import numpy as np
import pandas as pd
import pytest

from metaseg.data.manifest import Manifest, ManifestError
from metaseg.data.metadata import MetadataColumn
from metaseg.datasets.table import read_table, to_manifest
from table_files import edit_csv, write_dataset

SPLITS = ["train"] * 6 + ["val"] * 3 + ["test"] * 3


@pytest.fixture
def table(tmp_path):
    return write_dataset(
        tmp_path / "cells",
        line=list("aabbccaabbcc"),
        size=np.arange(12) / 2,
        split=SPLITS,
        group=[f"g{n}" for n in range(12)],
    )


def test_a_good_table_becomes_a_manifest_of_strings_and_numbers(table):
    manifest = read_table(table, ["line", "size"])
    assert (manifest.name, manifest.root, manifest.subgroup_column) == ("cells", table.parent, "line")
    assert manifest.metadata == (MetadataColumn("line", "categorical"), MetadataColumn("size", "continuous"))
    assert read_table(table, ["size"]).subgroup_column is None
    assert manifest.table["group"].tolist()[:2] == ["g0", "g1"]


@pytest.mark.parametrize(
    ("row", "column", "value", "message"),
    [
        (
            2,
            "split",
            "validation",
            r"manifest.csv: row 3 \(line 4\): split is 'validation'; expected one of train, val, test",
        ),
        (2, "split", "", r"row 3 \(line 4\): no value in column 'split'"),
        (4, "image", "i1.png", r"row 5 \(line 6\): image 'i1.png' is also row 2 \(line 3\)"),
        (4, "mask", "", r"row 5 \(line 6\): no value in column 'mask'"),
        (11, "line", "", r"row 12 \(line 13\): no value in column 'line'"),
        (11, "size", "NA", r"row 12 \(line 13\): no value in column 'size'"),
        (0, "size", "inf", r"row 1 \(line 2\): 'size' is .*inf.*; expected a finite number"),
        (0, "size", "big", r"row 1 \(line 2\): 'size' is 'big'; expected a finite number"),
        (8, "group", "g0", r"group 'g0' is in train \(row 1 \(line 2\)\) and val \(row 9 \(line 10\)\); expected"),
    ],
)
def test_a_broken_cell_is_named_with_its_row_value_and_what_was_expected(table, row, column, value, message):
    edit_csv(table, row, column, value)
    with pytest.raises(ManifestError, match=message) as caught:
        read_table(table, ["line", "size:continuous"])
    assert len(str(caught.value).splitlines()) == 1, "a cell is complained about once"


@pytest.mark.parametrize("column", ["image", "mask"])
def test_a_missing_column_lists_those_there_are(table, column):
    pd.read_csv(table).drop(columns=column).to_csv(table, index=False)
    with pytest.raises(ManifestError, match=f"has no column '{column}'; it has .*line, size, split, group"):
        read_table(table, ["line"])


def test_a_metadata_column_may_not_take_a_name_of_the_dataset(table):
    with pytest.raises(ManifestError, match="'split' has a reserved name"):
        read_table(table, ["split"])


def test_an_empty_table_is_an_error(tmp_path):
    (tmp_path / "t.csv").write_text("image,mask\n")
    with pytest.raises(ManifestError, match=r"t\.csv: has no rows"):
        read_table(tmp_path / "t.csv", [])


def test_problems_are_reported_together_and_the_rest_counted(table):
    rows = pd.read_csv(table)
    rows["split"] = "training"
    rows.to_csv(table, index=False)
    with pytest.raises(ManifestError) as caught:
        read_table(table, ["line"])
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("12 problems")
    assert len(lines) == 12
    assert lines[-1].strip() == "... and 2 more"


def test_rows_of_a_manifest_that_is_no_csv_have_no_line(tmp_path):
    manifest = Manifest("d", tmp_path, pd.DataFrame({"image": ["a"], "mask": ["b"]}), (), str(tmp_path))
    assert manifest.where(0) == "row 1"


@pytest.mark.parametrize(
    "path", ["/etc/hostname", "../outside.png", "sub/../../outside.png", "link.png", "folder/outside.png"]
)
def test_a_path_that_leaves_the_root_is_an_error(tmp_path, path):
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "outside.png").touch()
    (root / "link.png").symlink_to(tmp_path / "outside.png")
    (root / "folder").symlink_to(tmp_path)
    manifest = Manifest("d", root, pd.DataFrame({"image": [path], "mask": ["m"]}), (), "here")
    with pytest.raises(ManifestError, match="leaves the root"):
        manifest.image_file(path)


def test_a_link_inside_the_root_and_a_root_that_is_a_link_are_fine(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.png").touch()
    (tmp_path / "real" / "b.png").symlink_to("a.png")
    (tmp_path / "root").symlink_to("real")
    manifest = Manifest("d", tmp_path / "root", pd.DataFrame({"image": ["b.png"], "mask": ["a.png"]}), (), "here")
    assert manifest.image_file("b.png").samefile(tmp_path / "real" / "a.png")
    with pytest.raises(ManifestError, match=r"'c\.png' doesn't exist"):
        manifest.image_file("c.png")


def test_an_image_may_have_a_row_for_each_task(table):
    frame = pd.read_csv(table)
    twice = pd.concat([frame.assign(task="nuclei"), frame.head(4).assign(task="anomaly")], ignore_index=True)
    twice.to_csv(table, index=False)
    with pytest.raises(ManifestError, match=r"row 13 \(line 14\): image 'i0.png' is also row 1"):
        read_table(table, ["task"])
    manifest = to_manifest(twice, table.parent, ["task"], None, "t", per=("task",))
    assert len(manifest.table) == len(frame) + 4
    edited = twice.assign(group=[*twice["group"][:-1], "elsewhere"])
    with pytest.raises(ManifestError, match=r"row 16: image 'i3.png' has group 'elsewhere', but 'g3' in row 4"):
        to_manifest(edited, table.parent, ["task"], None, "t", per=("task",))
    with pytest.raises(
        ManifestError, match=r"image 'i0.png' is also row 1 with the same line \(a\); expected one row per"
    ):
        to_manifest(twice, table.parent, ["task", "line"], None, "t", per=("line",))
