"""The page: well-formed, complete by itself, and safe with any name."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_store import image_rows, write_study

from analysis.grid import Cell, Grid
from analysis.html import to_html
from analysis.report import report
from analysis.section import Section
from metaseg.storage import FolderStorage

VOID = {"meta", "img", "br", "hr", "link", "input"}
PNG = b"\x89PNG\r\n\x1a\n"


class Page(HTMLParser):
    """Checks nesting while it reads; collects what a reader sees and what the page refers to."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.pictures: list[bytes] = []
        self.feed(content)
        self.close()
        assert self.open == [], "all that is opened is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), "no scripts"
            if name in ("href", "src"):
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")
            if name == "src":
                kind, _, content = (value or "").partition(",")
                assert kind == "data:image/png;base64"
                self.pictures.append(base64.b64decode(content, validate=True))
        assert tag not in ("script", "iframe", "object", "link")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes what was opened last"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)


def page_of(content: str) -> Page:
    page = Page(content)
    assert len(set(page.ids)) == len(page.ids)
    for link in page.links:
        assert link.startswith("data:") or (link.startswith("#") and link[1:] in page.ids), link
    style = content.partition("<style>")[2].partition("</style>")[0]
    assert not re.search(r"url\(|@import|http", style)
    return page


NASTY = ["<b>&", "</td></table>", '"onload="x', "<u>x", "**a** `b`", "<script>alert(1)</script>", "&lt;u&gt;", "a_b|c"]


@pytest.mark.parametrize("name", NASTY)
def test_names_are_shown_and_not_obeyed(name: str) -> None:
    grid = Grid(name, name, (name,), ((name, (Cell(name, name),)),))
    section = Section((grid,), (name,), files={"x.png": PNG}, pictures={"x.png": name}, heading=f"Heading {name}")
    page = page_of(to_html(name, name, [name], [name], [section]))
    assert page.text.count(name) >= 10
    assert page.pictures == [PNG]


def test_each_heading_is_linked_and_what_is_empty_is_left_out() -> None:
    sections = [Section((), ("words",), heading="What is it?"), Section(heading="Nothing"), Section((), ("more",))]
    page = page_of(to_html("Title", "", ["Result."], ["About."], sections))
    assert page.ids == ["what-is-it"]
    assert page.links == ["#what-is-it"]
    assert "Nothing" not in page.text
    assert [word in page.text for word in ("Result.", "About.", "words", "more")] == [True] * 4


def rows(arm: str, seed: int, line: list[str] | None = None, name: str = "nucleus") -> pd.DataFrame:
    rng = np.random.default_rng([len(arm), seed])
    return image_rows(0.7 + 0.1 * (arm == "sme") + rng.uniform(-0.02, 0.02, 24), line or ["all"] * 24, name=name)


NAMES = ["<b>&", "a|b*c*"]


@pytest.mark.parametrize("kind", ["no subgroups", "nasty subgroups and classes", "incomplete"])
def test_the_page_of_a_study_needs_nothing_else(tmp_path: Path, kind: str) -> None:
    def made(arm: str, seed: int) -> pd.DataFrame:
        if kind != "nasty subgroups and classes":
            return rows(arm, seed)
        return pd.concat([rows(arm, seed, NAMES * 12, name) for name in ("nucleus", "<i>debris")], ignore_index=True)

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
