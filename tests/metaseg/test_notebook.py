"""Public objects in a notebook: small tables, short texts, and names that nobody can obey."""

import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest

from analysis import example_scores, read_results, write_report
from analysis.results.external_study import Table, adopt
from metaseg import DataConfig, Store, SyntheticConfig, make_seven_cells, plan, prepare
from metaseg.notebook import MOST_ROWS, html_table
from metaseg.store.storage import open_storage

EVIL = "<script>alert(1)</script>\x1b[31m"


def cells(page: str) -> list[list[str]]:
    """Texts of a table's cells, headings first."""
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", page)]


def test_text_is_escaped_wherever_it_stands():
    page = html_table(EVIL, (EVIL,), [(EVIL,)], (EVIL,))
    assert "<script>" not in page
    assert "\x1b" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;\\x1b[31m") == 4


def test_long_tables_are_cut_and_say_so():
    page = html_table("many", ("n",), [(number,) for number in range(1000)])
    assert len(cells(page)) == 1 + MOST_ROWS
    assert f"... and {1000 - MOST_ROWS} more" in page
    rows = [(None, 0.123456, 12345), ("", float("nan"), -1)]
    assert cells(html_table("one", ("a", "b", "c"), rows))[1:] == [["-", "0.1235", "12,345"], ["", "-", "-1"]]


def test_a_study_shows_its_arms_and_comparisons(tmp_path):
    made = make_seven_cells(tmp_path / "cells", SyntheticConfig(size=64, images_per_line=3, wells_per_line=3))
    dataset = prepare(made, DataConfig(), tmp_path / "cache")
    study = plan("cells", dataset, ["baseline", "sme-dummy"], 2)
    assert repr(study) == f"<Study 'cells' on {dataset.name!r}: baseline, sme-dummy; 2 seeds; 4 runs>"
    page = study._repr_html_()
    assert cells(page) == [
        ["arm", "block", "metadata", "runs", "epochs"],
        ["baseline", "se", "absent", "2", "100"],
        ["sme-dummy", "sme", "zeros", "2", "100"],
    ]
    assert "sme-dummy equals baseline" in page
    assert "SIMULATED" in page
    assert repr(Store.at(tmp_path)) == f"Store({str(tmp_path)!r})"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    scores = example_scores(seeds=2, images=12)
    scores["arm"] = scores["arm"].astype(str).replace("sme", f"sme {EVIL[:-5]}")
    scores.to_csv(tmp_path / "scores.csv", index=False)
    adopt(open_storage(str(tmp_path / "results")), [Table(tmp_path / "scores.csv")], "example", {})
    return tmp_path / "results"


def test_results_show_their_arms_and_what_is_missing(results):
    found = read_results(results, "example")
    assert re.fullmatch(r"<Results of study 'example' on '\w+': 4 of 4 runs, 48 rows>", repr(found))
    page = found._repr_html_()
    assert cells(page)[0] == ["arm", "runs", "not finished", "seeds", "images"]
    assert cells(page)[1] == ["baseline", "2", "0", "2", "12"]
    assert "<script>" not in page


@pytest.mark.slow
def test_a_report_shows_its_conclusion_and_tests(results, tmp_path):
    with redirect_stdout(StringIO()):
        report = write_report(read_results(results, "example"), tmp_path / "report")
    assert repr(report) == f"<Report on study 'example': {' '.join(report.result)}>"
    page = report._repr_html_()
    overall = report.tests[report.tests["subgroup"] == "Average"]
    assert cells(page)[0] == ["arm", "reference", "difference", "ci_low", "ci_high", "verdict"]
    assert [row[2] for row in cells(page)[1:]] == [f"{value:.4f}" for value in overall["difference"]]
    assert pd.notna(overall["difference"]).all()
    assert "report.html" in page
    assert "<script>" not in page
