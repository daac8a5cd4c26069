"""Scores from elsewhere: what is declared of them is used and named, and what isn't is said not to be."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.results.declaration import ResultsError, read_study
from analysis.wording import plural
from fake_store import image_rows, write_study
from metaseg.store.folder import FolderStorage

Capture = pytest.CaptureFixture[str]


def table(subgroups: bool = True, classes: int = 1) -> pd.DataFrame:
    """Two arms and a dummy, three seeds, 30 slices of 10 mice; "new:er" gains 0.05."""
    rng = np.random.default_rng(0)
    index = pd.MultiIndex.from_product([["plain", "new:er", "dummy"], range(3), range(30), range(classes)])
    frame = index.to_frame(index=False, name=["arm", "seed", "number", "label"])
    base = rng.uniform(0.6, 0.8, 30)[frame["number"]] + 0.05 * (frame["arm"] == "new:er")
    frame["dice"] = (base + rng.normal(0, 0.01, len(frame))).round(4)
    frame["slice"], frame["mouse"] = frame["number"].map("{:03}".format), frame["number"] // 3
    frame["organ"] = np.where(frame["mouse"] % 2, "liver", "lung") if subgroups else "liver"
    frame["class"] = frame["label"].map("c{}".format)
    return frame.drop(columns=["number", "label"] if classes > 1 else ["number", "label", "class"])


COLUMNS = ["image=slice", "group=mouse", "subgroup=organ"]


def reported(tmp_path: Path, frame: pd.DataFrame, *options: str, columns: list[str] = COLUMNS) -> dict[str, str]:
    """The texts of a report on a table, by file."""
    path, out = tmp_path / "scores.csv", tmp_path / "out"
    frame.to_csv(path, index=False)
    assert main(["report", str(path), "--out", str(out), "--baseline", "plain", "--column", *columns, *options]) == 0
    texts = {name: (out / name).read_text() for name in ("report.html", "table.md", "table.tex")}
    texts["report.html"] = re.sub(r'src="data:[^"]*"|<style>.*?</style>', "", texts["report.html"], flags=re.DOTALL)
    return texts


def test_nothing_is_called_declared_that_nobody_declared(tmp_path: Path, capsys: Capture) -> None:
    texts = reported(tmp_path, table()) | {"terminal": capsys.readouterr().out}
    for name, text in texts.items():
        for untrue in (
            "study declares", "the study's", "declared margin", "declared comparisons", "declared beforehand",
            "one setting of learning rate", "test slices", "test images", "receive no metadata",
            "one split of one dataset",
        ):  # fmt: skip
            assert untrue not in text, (name, untrue)
    for name in ("report.html", "table.md", "terminal"):
        text = " ".join(texts[name].split())
        assert "Not declared: a margin of equivalence (0.01 is assumed); comparisons (each arm is compared with" in text
        assert "an average (the mean of all slices is assumed)" in text


def test_what_is_declared_is_used_and_said_and_things_have_the_tables_names(tmp_path: Path, capsys: Capture) -> None:
    options = ["--margin", "0.03", "--compare", "new:er:plain", "--equal", "dummy:plain", "--average", "subgroups"]
    called = ["--call", "metric=Dice", "group=mouse/mice"]
    texts = reported(tmp_path, table(), *options, *called)
    texts["terminal"] = capsys.readouterr().out
    text = texts["table.md"]
    tests = pd.read_csv(tmp_path / "out" / "tests.csv")
    assert tests[tests["subgroup"] == "Average"][["arm", "reference", "claim", "verdict"]].to_numpy().tolist() == [
        ["new:er", "plain", "differs", "helps"], ["dummy", "plain", "equal", "equal"]
    ]  # fmt: skip
    for said in (
        "Declared with the report: a margin of 0.03; the comparisons: new:er against plain and dummy equals plain; "
        "Average as the mean of each organ.",
        "dummy is equivalent to plain, within ±0.03 (the declared margin)",
        "Among the arms that are expected to be equal: dummy",
        "each organ counts the same",
    ):
        assert said in text
    assert "Not declared" not in text
    for name, text in texts.items():
        plain = text.replace("F1 (Dice)", "").split("Command: ")[0].split("Provenance")[0]
        for other in (r"\bF1\b", r"\bimages?\b", r"\bsubgroups?\b", r"\bgroups?\b", "mouses"):
            assert not re.search(other, plain), (name, other)
    for said in ("30 slices in 10 mice, 2 values of organ", "differences of mean Dice", "new mice with new seeds"):
        assert said in " ".join(texts["table.md"].split())


def test_an_endpoint_is_concluded_on(tmp_path: Path) -> None:
    text = reported(tmp_path, table(classes=2), "--endpoint", "c1")["table.md"]
    assert "class c1 as the endpoint" in text
    assert "class c1): new:er +0.05" in text or "class c1): new:er +0.04" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--margin", "0"], "--margin is 0; expected a number between 0 and 1"),
        (["--margin", "nan"], "--margin is nan; expected a number between 0 and 1"),
        (
            ["--compare", "new:plain"],
            "--compare is 'new:plain'; expected ARM:REFERENCE, two different arms of plain,",
        ),
        (["--equal", "plain:plain"], "--equal is 'plain:plain'; expected ARM:REFERENCE"),
        (["--compare", "dummy:plain", "--equal", "dummy:plain"], "--equal 'dummy:plain' compares two arms that are"),
        (["--endpoint", "tumour"], "--endpoint is 'tumour'; expected one of foreground"),
    ],
)
def test_what_cannot_be_declared_is_one_line(tmp_path: Path, capsys: Capture, options: list[str], message: str) -> None:
    table().to_csv(tmp_path / "scores.csv", index=False)
    columns = ["--column", *COLUMNS]
    assert main(["report", str(tmp_path / "scores.csv"), "--out", str(tmp_path / "out"), *columns, *options]) == 1
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_an_average_of_one_subgroup_is_refused(tmp_path: Path, capsys: Capture) -> None:
    table(subgroups=False).to_csv(tmp_path / "scores.csv", index=False)
    arguments = ["report", str(tmp_path / "scores.csv"), "--out", str(tmp_path / "out"), "--average", "subgroups"]
    assert main([*arguments, "--column", *COLUMNS]) == 1
    assert "--average is of several subgroups; these scores have one" in capsys.readouterr().err


def test_a_study_that_declared_its_own_takes_no_other(tmp_path: Path, capsys: Capture) -> None:
    write_study(tmp_path, lambda arm, seed: image_rows([0.5 + 0.1 * seed, 0.6]))
    assert main(["report", str(tmp_path), "--margin", "0.1"]) == 1
    assert "study 'cells': the study declared its comparisons when it was started" in capsys.readouterr().err


def test_a_dataset_that_was_collected_from_a_table_takes_the_same_options(tmp_path: Path) -> None:
    table().to_csv(tmp_path / "scores.csv", index=False)
    collected = ["collect", str(tmp_path / "results"), "--table", str(tmp_path / "scores.csv"), "--name", "theirs"]
    assert main([*collected, "--column", *COLUMNS]) == 0
    assert main(["report", str(tmp_path / "results"), "--margin", "0.03", "--call", "subgroup=organ"]) == 0
    text = (tmp_path / "results" / "reports" / "theirs" / "table.md").read_text()
    assert "a margin of 0.03" in text
    assert "by organ" in text


@pytest.mark.parametrize(
    ("word", "plurals"),
    [("slice", "slices"), ("patch", "patches"), ("biopsy", "biopsies"), ("day", "days"), ("mouse/mice", "mice")],
)
def test_plurals_are_english_or_given(word: str, plurals: str) -> None:
    assert plural(word) == (word.partition("/")[0], plurals)


def test_the_design_of_seeds_is_known_and_nested_unless_declared(tmp_path: Path) -> None:
    write_study(tmp_path, lambda arm, seed: image_rows([0.5, 0.6, 0.7]))
    storage, path = FolderStorage(tmp_path), tmp_path / "studies" / "cells.json"
    assert read_study(storage, "cells").seeds == "nested"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"seeds": "crossed"}))
    assert read_study(storage, "cells").seeds == "crossed"
    path.write_text(json.dumps(record | {"seeds": "mixed"}))
    with pytest.raises(ResultsError, match=r"seeds is 'mixed'; expected one of nested, crossed"):
        read_study(storage, "cells")
