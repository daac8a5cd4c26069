"""Tables as people save them: which line an error names, commas too many, and numbers that aren't written as such."""

import warnings

import pandas as pd
import pytest

from metaseg.data.manifest import ManifestError
from metaseg.datasets.table import read_table
from table_files import write_dataset

SPLITS = ["train"] * 6 + ["val"] * 3 + ["test"] * 3


@pytest.fixture
def lines(tmp_path):
    """A table's path and its lines, which a test changes and writes again."""
    path = write_dataset(tmp_path / "d", split=SPLITS, line=list("abc") * 4)
    return path, path.read_text().splitlines()


@pytest.mark.parametrize("blank", ["", "   "], ids=["empty", "spaces"])
def test_blank_lines_do_not_shift_the_line_that_an_error_names(lines, blank):
    path, rows = lines
    rows[5] = rows[5].replace("train", "validation")
    path.write_text("\n".join([rows[0], blank, *rows[1:3], blank, blank, *rows[3:]]))
    with pytest.raises(ManifestError, match=r"row 5 \(line 9\): split is 'validation'"):
        read_table(path, ["line"])


def test_values_of_several_lines_do_not_shift_the_line_that_an_error_names(lines):
    path, rows = lines
    rows[1] = rows[1].removesuffix("a") + '"a\nof two"'
    rows[5] = rows[5].replace("train", "validation")
    path.write_text("\n".join(rows))
    with pytest.raises(ManifestError, match=r"row 5 \(line 7\): split is 'validation'"):
        read_table(path, ["line"])


@pytest.mark.parametrize("which", [slice(1, None), slice(0, None), slice(3, 4)], ids=["rows", "all", "one row"])
def test_a_comma_at_the_end_of_lines_changes_nothing(lines, which):
    path, rows = lines
    before = read_table(path, ["line"]).table
    rows[which] = [row + "," for row in rows[which]]
    path.write_text("\n".join(rows))
    assert read_table(path, ["line"]).table[list(before)].equals(before)


def test_a_line_with_more_values_than_the_header_is_named(lines):
    path, rows = lines
    rows[4] += ",5"
    path.write_text("\n".join(rows))
    with pytest.raises(ManifestError, match=r"manifest\.csv: line 5: has 5 values; expected 4, as in the header"):
        read_table(path, ["line"])


def test_the_suffix_may_be_upper_case(lines):
    path, _ = lines
    upper = path.rename(path.with_suffix(".CSV"))
    assert len(read_table(upper, ["line"]).table) == 12


ODD = {
    "decimal comma": ["0,5", "1,0"],
    "thousands": ["1,000", "500"],
    "apostrophe": ["1'000", "500"],
    "percent": ["12%", "15 %"],
    "below": ["<5", "7.5"],
    "at most": ["\u2264 5", "7"],
    "minus sign": ["\u22125", "7"],
}


@pytest.mark.parametrize("values", ODD.values(), ids=ODD)
def test_numbers_written_otherwise_are_no_categories_unless_said_to_be(tmp_path, values):
    path = write_dataset(tmp_path / "d", dose=values * 6)
    with pytest.raises(ManifestError, match=r"'dose' is .*; expected numbers with a decimal point.*dose:categorical"):
        read_table(path, ["dose"])
    assert set(read_table(path, ["dose:categorical"]).table["dose"]) == set(values)


@pytest.mark.parametrize("odd", ["<5", "high", "1,000", "12%"])
def test_numbers_beside_text_are_warned_about(tmp_path, odd):
    path = write_dataset(tmp_path / "d", dose=["0.5", "1", "none given", odd] * 3)
    with pytest.warns(UserWarning, match=r"'dose' is read as categorical, but '0\.5', .* look like numbers"):
        read_table(path, ["dose"])


@pytest.mark.parametrize("values", [["3T3", "HeLa"], ["A1", "B12"], ["2024-01-05", "2024-02-05"], [True, False]])
def test_names_with_digits_are_categories_without_a_word(tmp_path, values):
    path = write_dataset(tmp_path / "d", line=values * 6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_table(path, ["line"]).metadata[0].kind == "categorical"


def test_leading_zeros_are_never_lost_in_silence(tmp_path):
    path = write_dataset(tmp_path / "d", plate=["007", "12"] * 6)
    with pytest.raises(ManifestError, match=r"line 2: 'plate' is '007', which as a number loses its 0; give plate:cat"):
        read_table(path, ["plate"])
    assert set(read_table(path, ["plate:categorical"]).table["plate"]) == {"007", "12"}
    assert set(read_table(path, ["plate:continuous"]).table["plate"]) == {7, 12}


def test_a_number_with_a_space_beside_it_is_a_number(tmp_path):
    path = write_dataset(tmp_path / "d", dose=["0.5", "1\u00a0", " 2"] * 4)
    manifest = read_table(path, ["dose"])
    assert manifest.metadata[0].kind == "continuous"
    assert manifest.table["dose"].tolist() == [0.5, 1.0, 2.0] * 4


def test_nested_columns_that_nobody_asks_for_are_no_matter(tmp_path):
    path = write_dataset(tmp_path / "nested", line=list("abc") * 4)
    rows = pd.read_csv(path)
    rows.assign(bbox=[[1, 2, 3]] * len(rows)).to_parquet(path.with_suffix(".parquet"))
    assert len(read_table(path.with_suffix(".parquet"), ("line",)).table) == len(rows)


def test_one_image_by_two_spellings_of_its_path_is_one_image(tmp_path):
    path = write_dataset(tmp_path / "twice", line=list("abc") * 4)
    rows = pd.read_csv(path)
    rows.loc[1, "image"] = f"./{rows.loc[0, 'image']}"
    rows.to_csv(path, index=False)
    with pytest.raises(ManifestError, match=r"image 'i0\.png' is also row 1"):
        read_table(path, ("line",))
