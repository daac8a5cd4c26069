"""A report is made of its sections: each question has one file, and the files are all in one list."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.report import sections, sweep_sections
from analysis.report.data import ReportData, Supplement, report_data
from analysis.report.section import Part, Section
from analysis.report.study import made_sections, report
from analysis.results.store_rows import collect
from fake_store import image_rows, write_study
from metaseg.store.folder import FolderStorage


def rows(arm: str, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng([len(arm), seed])
    return image_rows(0.7 + 0.1 * (arm == "sme") + rng.uniform(-0.02, 0.02, 12), ["a", "b"] * 6)


@pytest.fixture
def data(tmp_path: Path) -> ReportData:
    write_study(tmp_path, rows)
    return report_data(collect(FolderStorage(tmp_path), "cells"), Supplement(), styled=False)


@pytest.mark.parametrize("package", [sections, sweep_sections])
def test_every_file_of_sections_is_in_the_report_once(package: object) -> None:
    folder = Path(str(package.__file__)).parent  # type: ignore[attr-defined]
    files = sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
    listed = [section.__module__.rpartition(".")[2] for section in package.SECTIONS]  # type: ignore[attr-defined]
    assert sorted(listed) == files


def test_a_test_of_ones_own_takes_a_section_and_a_line(
    tmp_path: Path, data: ReportData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it says of its methods, and cites, stands in Methods; its table wherever tables stand."""

    def median_section(data: ReportData) -> Section:
        medians = data.scores.groupby("arm", observed=True)["f1"].median()
        words = f"Medians: {', '.join(f'{arm} {median:.1f}' for arm, median in medians.items())}."
        part = Part((), (words,), files={"medians.csv": b"arm,median\n"})
        return Section("How large are medians?", (part,), ("Medians were taken.",), ("Galton (1881).",))

    monkeypatch.setattr("analysis.report.study.SECTIONS", (median_section, *sections.SECTIONS))
    report(FolderStorage(tmp_path), "cells")
    out = tmp_path / "reports" / "cells"
    assert (out / "medians.csv").exists()
    markdown = (out / "table.md").read_text()
    assert "## How large are medians?\n\nMedians: baseline 0.7, sme 0.8." in markdown
    methods = markdown.partition("## Methods")[2]
    assert "Medians were taken. Arms were compared by" in methods
    assert "\n\nGalton (1881). Dorfman" in methods
    assert "How large are medians?" in (out / "report.html").read_text()


def test_a_question_that_cant_be_asked_has_no_section(data: ReportData) -> None:
    headings = [section.heading for section in made_sections(data)]
    assert "Were arms tuned alike?" not in headings
    assert "What if networks aren't told the truth?" not in headings
    without = made_sections(replace(data, matrices={}, interactions=[]))
    assert "Do seeds agree?" in headings
    assert "Do seeds agree?" not in [section.heading for section in without]


def test_headings_are_questions_of_one_section_each(data: ReportData) -> None:
    headings = [section.heading for section in made_sections(data) if section.heading]
    assert len(set(headings)) == len(headings)
