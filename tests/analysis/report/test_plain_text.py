"""Names are plain text in whatever is written: nobody's spreadsheet, terminal, browser or LaTeX obeys them."""

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from analysis.__main__ import main
from analysis.report.grid import Cell, Grid
from analysis.report.plain_text import to_csv_text, to_latex, to_markdown, to_markdown_paragraph
from analysis.report.section import Part, Section, to_csv
from fake_store import noisy_rows, write_study
from html_page import page_of
from metaseg.cli.status import print_status
from metaseg.store.runs import Store
from metaseg.terminal import Terminal, revealed, visible

NAMES = [
    "=cmd|' /C calc'!A0",
    "\x1b[31mred\x1b]0;title\x07",
    "<script>alert(1)</script>",
    "line\n\\input{/etc/passwd}",
    "[red]x[/red]",
    "$\\frac$",
    "a\u202eb",
    "_hidden",
    "# heading",
    "@sum",
    "1. one",
    "`code` **bold** <u>x</u>",
    "100%_{x}",
]
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table from elsewhere whose arms and subgroups have such names, and its study too."""
    path = tmp_path_factory.mktemp("names") / "scores.csv"
    generator = np.random.default_rng(0)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["arm", "seed", "image", "subgroup", "score"])
        for arm in ("baseline", NAMES[1] + NAMES[3] + NAMES[0], NAMES[2] + NAMES[5]):
            for seed in range(2):
                for k in range(2 * len(NAMES)):
                    writer.writerow([arm, seed, f"i{k}", NAMES[k % len(NAMES)], generator.uniform(0.4, 0.6)])
    return path


def test_a_report_of_any_names_obeys_none_of_them(scores: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = scores.parent / "out"
    assert main(["report", str(scores), "--out", str(out), "--name", "=sum _hidden $x$ [red] # `1`"]) == 0
    printed = capsys.readouterr()
    assert not CONTROL.search(printed.out + printed.err)
    assert "[red]x[/red]" in printed.out
    page = page_of((out / "report.html").read_text())
    assert all(page.text.count(visible(name)) > 2 for name in NAMES)
    for name in ("table.md", "table.tex"):
        text = (out / name).read_text()
        assert not CONTROL.search(text)
        assert not [line for line in text.splitlines() if line.startswith("\\input")]
    assert not re.search(r"(?<!\\)<script", (out / "table.md").read_text())
    for path in out.glob("*.csv"):
        for row in csv.reader(io.StringIO(path.read_text(), newline="")):
            assert not [cell for cell in row if re.match(r"[=@\t\r]|[+-](?![\d.]+)", cell)], path


def test_a_study_has_a_name_that_a_file_can_have(scores: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in (NAMES[1], NAMES[2], NAMES[3], NAMES[6]):
        assert main(["report", str(scores), "--out", str(scores.parent / "none"), "--name", name]) == 1
        printed = capsys.readouterr()
        assert "name of the study" in printed.err
        assert not CONTROL.search(printed.out + printed.err)
    assert not (scores.parent / "none").exists()


@given(st.text("'=+-@\t\r\n1a,\"\uff1d", max_size=6))
def test_csv_gives_names_back(name: str) -> None:
    written = to_csv(pd.DataFrame({"name": [name, "-0.5", "x"], "value": [1.0, -2.0, np.nan]}))
    read = pd.read_csv(io.BytesIO(written), keep_default_na=False, dtype=str)
    back = read["name"].str.replace(r"^'(?='*[=+\-@\t\r\n\uff1d])", "", regex=True)
    assert back.tolist() == [name, "-0.5", "x"]
    assert read["value"].tolist() == ["1", "-2", ""]
    assert list(csv.reader(io.StringIO(written.decode(), newline="")))[1] == [to_csv_text(name), "1"]


def test_csv_quotes_formulas_and_leaves_numbers() -> None:
    assert [to_csv_text(text) for text in ("=1", "+a", "-a", "@a", "\ta", "\ra", "'=a", "\uff1da")] == [
        "'=1", "'+a", "'-a", "'@a", "'\ta", "'\ra", "''=a", "'\uff1da"
    ]  # fmt: skip
    same = ["-1", "+0.5", "-1e-3", "a=b", "", "'a", "-.5"]
    assert [to_csv_text(text) for text in same] == same
    headed = to_csv(pd.DataFrame({"=a": pd.Categorical(["+b"]), "b": ["-c"]})).decode()
    assert headed == "'=a,b\n'+b,'-c\n"


def test_markdown_shows_what_it_could_obey() -> None:
    for text, shown in {
        "<script>x</script>": r"\<script\>x\</script\>",
        "a\n# b": r"a \# b",
        "1. one": r"1\. one",
        "- one": r"\- one",
        "-0.01 is": "-0.01 is",
        "![x](y)": r"!\[x\](y)",
        "$x$ &lt; ~a~ `b`": r"\$x\$ \&lt; \~a\~ \`b\`",
        "seven_cells _a_": r"seven_cells \_a\_",
        "p = 3 & 4": "p = 3 & 4",
    }.items():
        assert to_markdown_paragraph(text) == shown
    part = Part((), ("<b>words",), files={"x.png": b""}, pictures={"x.png": "a](b)<i>"})
    section = Section("a\n\n<h1>", (part,))
    assert list(section.to_markdown("")) == [r"## a \<h1\>", r"\<b\>words", r"![a\](b)\<i\>](x.png)"]


@given(st.text(max_size=20))
def test_no_text_leaves_its_line(text: str) -> None:
    for shown in (visible(text), to_markdown(text), to_latex(text)):
        assert shown.encode().decode().splitlines() in ([shown], [])
        assert not CONTROL.search(shown)


def test_latex_sets_signs_as_they_are() -> None:
    assert to_latex("a\n\\input{x}") == r"a \textbackslash{}input\{x\}"
    assert to_latex("a--b |c| `d` *") == r"a-{}-b \textbar{}c\textbar{} \textasciigrave{}d\textasciigrave{} {*}"


def test_the_terminal_shows_control_characters_and_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(width=200)
    for printed in ("[red]a[/red] \x1b]0;t", Text("b\x1b[2J\x9b1m \u202ec"), "\ud800 :smile:"):
        terminal.print(printed)
    grid = Grid("t\x1b", "c", ("\x07",), (("r\n", (Cell("\x9b", "\r"),)),))
    for part in grid.to_rich(80, styled=False):
        terminal.print(part)
    shown = capsys.readouterr().out
    assert not CONTROL.search(shown)
    assert shown.startswith("[red]a[/red] \\x1b]0;t\nb\\x1b[2J\\x9b1m \\u202ec\n\\ud800 :smile:\nt\\x1b\n")
    assert revealed("a\nb\x1b") == "a\nb\\x1b"


def test_status_shows_names_and_faults_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_study(tmp_path, noisy_rows, unfinished=[("sme", 1)])
    path = tmp_path / "studies" / "cells.json"
    record = json.loads(path.read_text())
    path.rename(path.with_name("cells\x1b[31m\nfailed: all [bold].json"))
    (run,) = (run["run_id"] for run in record["runs"] if (run["arm"], run["seed"]) == ("sme", 1))
    (tmp_path / "failures").mkdir()
    (tmp_path / "failures" / f"{run}.json").write_text(json.dumps({"error": "\x1b]0;x\x07\nfailed: b [red]"}))
    print_status(Store.at(str(tmp_path)), Terminal(width=200))
    shown = capsys.readouterr().out
    assert not CONTROL.search(shown)
    assert "cells\\x1b[31m failed: all [bold]" in shown
    assert "\\x1b]0;x\\x07 failed: b [red]" in shown
    assert sum(line.startswith("failed:") for line in shown.splitlines()) == 1
