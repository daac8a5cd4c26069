"""A report's table as terminal text, Markdown, LaTeX and HTML: nothing is lost, and no name breaks it."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from analysis.report.grid import Cell, Emphasis, Grid
from metaseg.terminal import visible

NASTY = r"<b>&a_b*c*|d#1$2%{x}~^\"'[e]"
EMPHASES: tuple[Emphasis, ...] = ("plain", "best", "second", "helps", "hurts", "faint")


def grid_of(name: str) -> Grid:
    cells = tuple(Cell(f"{name}{k}", "± 0.1" if k % 2 else "", emphasis) for k, emphasis in enumerate(EMPHASES))
    return Grid(f"Title {name}", name, tuple(f"{name} {k}" for k in range(6)), (("row", cells), (name, cells)))


class Cells(HTMLParser):
    """The text of each cell, and whether all tags are closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        if tag in ("td", "th", "figcaption"):
            self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts[-1] += data


def test_wide_tables_continue_below_instead_of_breaking() -> None:
    cells = tuple(Cell("0.500", "± 0.001") for _ in range(40))
    grid = Grid("F1", "arm", tuple(f"line {i:02}" for i in range(40)), (("sme", cells),))
    console = Console(width=100, record=True, file=StringIO())
    for table in grid.to_rich(100, styled=False):
        console.print(table)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 100
    assert text.count("0.500") == 40
    assert "…" not in text


def test_names_cant_break_a_markdown_table() -> None:
    lines = grid_of("a|b*c*<i>").to_markdown().splitlines()
    assert lines[0] == r"## Title a\|b\*c\*\<i\>"
    rows = [re.split(r"(?<!\\)\|", line) for line in lines[2:]]
    assert {len(row) for row in rows} == {9}
    assert lines[4].startswith("| row | a\\|b\\*c\\*\\<i\\>0 | **a\\|b\\*c\\*\\<i\\>1** ± 0.1 | <u>")


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12))
def test_names_come_through_html_as_they_are(name: str) -> None:
    parsed = Cells(grid_of(name).to_html())
    assert parsed.open == []
    name = visible(name)  # else as it is
    assert parsed.texts[0] == f"Title {name}"
    assert parsed.texts[1:8] == [name, *(f"{name} {k}" for k in range(6))]
    assert parsed.texts[8:11] == ["row", f"{name}0", f"{name}1± 0.1"]


def environments(latex: str) -> list[str]:
    """Environments that are left open; a wrong end fails."""
    stack: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", latex):
        if kind == "begin":
            stack.append(name)
        else:
            assert stack.pop() == name
    return stack


def test_latex_is_a_booktabs_table_in_which_braces_and_environments_close() -> None:
    latex = grid_of(NASTY).to_latex(f"Data: {NASTY}")
    assert environments(latex) == []
    bare = re.sub(r"\\[\\{}]", "", latex)
    depth = 0
    for character in bare:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert [latex.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    body = latex.partition(r"\toprule")[2].partition(r"\bottomrule")[0]
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {6}
    assert len(rows) == 1 + 2 * 2  # header; two rows, each with a line for what stands second


def test_latex_has_no_special_character_left() -> None:
    text = Grid(NASTY, "", ("x",), (("y", (Cell("1"),)),)).to_latex()
    caption = text.partition(r"\caption{")[2].partition("\n")[0]
    plain = re.sub(r"\\text\w+\{\}|\\[&%$#_{}]|\$[<>]\$|\{[\[*]\}", "", caption)
    assert not set(plain) & set("&%$#_~^<>{\\")


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex isn't installed")
def test_latex_compiles(tmp_path: Path) -> None:
    table = grid_of(NASTY).to_latex(NASTY)
    packages = r"\documentclass{article}\usepackage[utf8]{inputenc}\usepackage{booktabs}"
    (tmp_path / "a.tex").write_text(rf"{packages}\begin{{document}}{table}\end{{document}}")
    done = subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "a.tex"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_a_table_that_would_scroll_sideways_is_turned_on_the_page_where_that_helps() -> None:
    lines = tuple(f"line {i:02}" for i in range(40))
    cells = tuple(Cell(f"0.5{i:02}", "± 0.001") for i in range(40))
    wide = Grid("F1", "arm", lines, (("baseline", cells), ("sme", cells)))
    texts = Cells(wide.to_html()).texts
    assert texts[1:7] == ["", "baseline", "sme", "line 00", "0.500± 0.001", "0.500± 0.001"]
    assert "| arm | line 00 |" in wide.to_markdown(), "as it is elsewhere"
    narrow = Grid("F1", "arm", lines[:5], (("baseline", cells[:5]), ("sme", cells[:5])))
    assert Cells(narrow.to_html()).texts[1:3] == ["arm", "line 00"]
    square = Grid("F1", "arm", lines, tuple((f"arm {i}", cells) for i in range(40)))
    assert Cells(square.to_html()).texts[1:3] == ["arm", "line 00"], "turned, it would scroll as well"
