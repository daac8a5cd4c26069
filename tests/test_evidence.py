"""The page of evidence on real images says nothing that the tables beside it don't hold."""

import importlib
import re
import shlex
import sys
from collections.abc import Sequence

import pandas as pd
import pytest

from analysis.stats.comparisons import FEWEST_UNITS
from checkout import ROOT
from docs.evidence import make_evidence
from docs.evidence.make_evidence import HERE, PAGE, README, comparison, interval, make_page, read, studies
from metaseg.cli.options import parse
from metaseg.schema import ALPHA, MARGIN

STUDIES = {study["folder"]: study for study in studies()}
ROWS = [(study, row) for study in studies() for row in study["row"]]
NUMBER = re.compile(r"(?<![\w.])[+-]?\d*\.\d{2,4}(?!\w|\.\d)")
DRIFT = 0.00051
"""Largest difference of a rounded number from the one it was rounded from, for three decimals."""


def test_the_tables_of_the_page_are_those_of_the_studies():
    for page in (PAGE, README):
        text = page.read_text()
        assert text == make_page(text), "run python docs/evidence/make_evidence.py"


def test_every_study_is_on_the_page_and_every_folder_is_a_study():
    text = PAGE.read_text()
    anchors = {re.sub(r"[^\w\- ]", "", line.lstrip("# ")).lower().replace(" ", "-") for line in text.splitlines()}
    assert {study["section"] for study in STUDIES.values()} <= anchors
    assert {path.name for path in HERE.iterdir() if path.is_dir() and path.name != "__pycache__"} == set(STUDIES)
    for folder in STUDIES:
        assert f"<!-- command {folder} -->" in text


@pytest.mark.parametrize(("study", "row"), ROWS, ids=[f"{study['folder']}-{row['arm']}" for study, row in ROWS])
def test_a_verdict_follows_from_its_interval(study, row):
    test = comparison(study, row)
    low, high = test["ci_low_adjusted"], test["ci_high_adjusted"]
    assert low <= test["difference"] <= high
    assert test["n_effective"] >= FEWEST_UNITS
    expected = {"helps": low > 0, "hurts": high < 0}
    if test["verdict"] in expected:
        assert expected[test["verdict"]]
        assert test["p_adjusted"] < ALPHA
    elif test["verdict"] == "equal":
        assert abs(test["difference"]) < MARGIN
        assert test["p_equivalence_adjusted"] < ALPHA
    else:
        assert low <= 0 <= high
        assert test["verdict"] in ("no evidence", "undecided", "futile")
    assert f"{interval(test)} |" in PAGE.read_text()


SHOWN = (
    "mean", "sd", "difference", "ci_low", "ci_high", "ci_low_adjusted", "ci_high_adjusted", "f1", "as_trained",
    "network", "human", "relative", "given",
)  # fmt: skip
"""Columns that a sentence may be about. Among all numbers of all columns, nearly any three digits would be found."""


def held(folder: str) -> list[float]:
    """Numbers of a study's tables that a sentence may be about."""
    found = list(STUDIES[folder].get("cited", []))
    for path in (HERE / folder).glob("*.csv"):
        frame = pd.read_csv(path)
        found += frame[[name for name in SHOWN if name in frame]].apply(pd.to_numeric, errors="coerce").stack().tolist()
    return [abs(value) for value in found if not pd.isna(value)]


SECTIONS = re.split(r"\n(?=## )", PAGE.read_text())


def unsupported(section: str, known: Sequence[float]) -> list[str]:
    """Numbers of a section's text, tables and commands left out, that aren't rounded ones of `known`."""
    text = re.sub(r"<!-- .*?<!-- end -->|```.*?```", "", section, flags=re.S)
    found = []
    for number in NUMBER.findall(text):
        drift = DRIFT * 10 ** (3 - len(number.rpartition(".")[2]))
        if not any(abs(abs(float(number)) - value) <= drift for value in known):
            found.append(number)
    return found


@pytest.mark.parametrize("section", SECTIONS, ids=[part.splitlines()[0][:40] for part in SECTIONS])
def test_every_number_of_the_text_is_in_the_tables_of_its_section(section):
    folders = set(re.findall(r"<!-- command (\S+) -->", section)) or set(STUDIES)
    assert not unsupported(section, [value for folder in folders for value in held(folder)])


@pytest.mark.parametrize("folder", STUDIES)
def test_a_command_is_one_that_its_page_understands(folder, monkeypatch):
    command = STUDIES[folder]["command"].replace("\\\n", " ")
    pages = [line for line in command.splitlines() if "studies/" in line]
    assert pages
    for line in pages:
        page, *arguments = shlex.split(line.split("python ", 1)[1])
        module = importlib.import_module(page.removesuffix(".py").replace("/", "."))
        monkeypatch.setattr(sys, "argv", [page, *arguments])
        presets = module.STUDY.presets if hasattr(module, "STUDY") else module.PRESETS
        options = parse(presets, "")
        assert options.data.folds is not None, "all evidence is of folds"
        assert (ROOT / page).is_file()


def test_numbers_that_arent_in_a_table_are_found():
    section = (
        "It rises by +0.123 (-0.05 to 0.987), to 0.124.\n<!-- scores x -->\n0.555\n<!-- end -->\n```\n0.777\n```\n"
    )
    assert unsupported(section, [0.1234, 0.0504]) == ["0.987", "0.124"]


def test_markers_are_filled_and_an_unknown_table_is_an_error(tmp_path, monkeypatch):
    folder = tmp_path / "study"
    folder.mkdir()
    cells = pd.DataFrame({"class": "a", "arm": ["x", "x"], "subgroup": ["Average", "one"], "n_images": 4, "mean": 0.5})
    cells.to_csv(folder / "table.csv", index=False)
    monkeypatch.setattr(make_evidence, "HERE", tmp_path)
    made = make_page("a\n<!-- scores study -->\nold\n<!-- end -->\nb")
    assert made.splitlines()[2:5] == ["| F1 | all (4) | one (4) |", "| --- | ---: | ---: |", "| `x` | 0.500 | 0.500 |"]
    assert made.endswith("<!-- end -->\nb")
    assert read("study", "table")["arm"].tolist() == ["x", "x"]
    with pytest.raises(KeyError):
        make_page("<!-- nothing study -->\n\n<!-- end -->")
