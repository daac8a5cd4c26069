"""The page: well-formed, complete by itself, and safe with any name."""

import re
from pathlib import Path

import pandas as pd
import pytest

from analysis.report.grid import Cell, Grid
from analysis.report.html import to_html
from analysis.report.section import Part, Section
from analysis.report.study import report
from fake_store import noisy_rows, write_study
from html_page import page_of
from metaseg.store.folder import FolderStorage

PNG = b"\x89PNG\r\n\x1a\n"


NASTY = ["<b>&", "</td></table>", '"onload="x', "<u>x", "**a** `b`", "<script>alert(1)</script>", "&lt;u&gt;", "a_b|c"]


@pytest.mark.parametrize("name", NASTY)
def test_names_are_shown_and_not_obeyed(name: str) -> None:
    grid = Grid(name, name, (name,), ((name, (Cell(name, name),)),))
    section = Section(f"Heading {name}", (Part((grid,), (name,), files={"x.png": PNG}, pictures={"x.png": name}),))
    page = page_of(to_html(name, name, [name], [name], [section]))
    assert page.text.count(name) >= 10
    assert page.pictures == [PNG]


def test_each_heading_is_linked_and_what_is_empty_is_left_out() -> None:
    words, more = Part((), ("words",)), Part((), ("more",))
    sections = [Section("What is it?", (words,)), Section("Nothing", (Part(),)), Section("", (more,))]
    page = page_of(to_html("Title", "", ["Result."], ["About."], sections))
    assert page.ids == ["what-is-it"]
    assert page.links == ["#what-is-it"]
    assert "Nothing" not in page.text
    assert [word in page.text for word in ("Result.", "About.", "words", "more")] == [True] * 4


NAMES = ["<b>&", "a|b*c*"]


@pytest.mark.parametrize("kind", ["no subgroups", "nasty subgroups and classes", "incomplete"])
def test_the_page_of_a_study_needs_nothing_else(tmp_path: Path, kind: str) -> None:
    def made(arm: str, seed: int) -> pd.DataFrame:
        if kind != "nasty subgroups and classes":
            return noisy_rows(arm, seed)
        classes = [noisy_rows(arm, seed, NAMES * 12, name) for name in ("nucleus", "<i>debris")]
        return pd.concat(classes, ignore_index=True)

    unfinished = [("sme", 1)] if kind == "incomplete" else []
    write_study(tmp_path, made, about="SIMULATED <cells> & more.", unfinished=unfinished)
    result = report(FolderStorage(tmp_path), "cells")
    out = tmp_path / "reports" / "cells"
    page = page_of((out / "report.html").read_text())
    assert sorted(page.pictures) == sorted(path.read_bytes() for path in out.glob("*.png"))
    assert "SIMULATED <cells> & more." in page.text
    for sentence in result.result:
        assert sentence in page.text
    assert ("INCOMPLETE" in page.text) == (kind == "incomplete")
    if kind == "nasty subgroups and classes":
        assert all(name in page.text for name in NAMES)
    for part in ("Methods", "Caveats", "Provenance", "study.py", *(run.run_id for run in result.missing)):
        assert part in page.text
    assert not re.search(r"\bnan\b|None", page.text)
