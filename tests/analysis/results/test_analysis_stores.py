"""A results dataset of several stores: united, or refused where they disagree; and the command that collects."""

import json
from pathlib import Path

import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.results.dataset import read_results
from analysis.results.declaration import ResultsError
from analysis.results.merge import collect, gather
from fake_store import run_id, seal, write_study
from metaseg.store.folder import FolderStorage
from results_dataset import assert_same_rows, change, gather_one, rows, state


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_study(tmp_path / "store", rows)
    return tmp_path / "store"


@pytest.fixture
def out(tmp_path: Path) -> FolderStorage:
    return FolderStorage(tmp_path / "out")


def split_study(tmp_path: Path) -> tuple[Path, Path]:
    """One study of two stores: seeds 0 and 1 in the first, 1 and 2 in the second."""
    first, second = tmp_path / "first", tmp_path / "second"
    write_study(first, rows)
    write_study(second, rows, seeds=3)
    path = second / "studies" / "cells.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"runs": record["runs"][2:], "command": "other.py"}))
    return first, second


def test_runs_of_one_study_in_two_stores_are_united(tmp_path: Path, out: FolderStorage) -> None:
    gathered = gather_one(out, *split_study(tmp_path))
    assert len(gathered.added) == 6
    found = read_results(out, "cells")
    assert len(found.images) == 6 * 4
    assert not found.images.duplicated(["run_id", "image"]).any()
    assert found.study.command == "study.py; other.py"
    write_study(tmp_path / "whole", rows, seeds=3)
    assert_same_rows(found.images, collect(FolderStorage(tmp_path / "whole"), "cells").images)


def test_collecting_one_store_after_the_other_is_collecting_both(tmp_path: Path, out: FolderStorage) -> None:
    first, second = split_study(tmp_path)
    gather_one(out, first)
    gather_one(out, second)
    both = FolderStorage(tmp_path / "both")
    gather_one(both, first, second)
    pd.testing.assert_frame_equal(read_results(out, "cells").images, read_results(both, "cells").images)
    assert read_results(out, "cells").study == read_results(both, "cells").study


@pytest.mark.parametrize("at_once", [True, False])
def test_a_run_with_other_results_in_another_store_is_an_error(
    tmp_path: Path, out: FolderStorage, at_once: bool
) -> None:
    first, second = split_study(tmp_path)
    change(second, "sme", 1, rows("sme", 1).assign(tp=1))
    if not at_once:
        gather_one(out, first)
    before = state(out.root)
    with pytest.raises(ResultsError, match=rf"run sme seed 1 .* has other results in {second} than in {first}"):
        gather_one(out, first, second)
    assert state(out.root) == before


@pytest.mark.parametrize(("key", "value"), [("baseline", "sme"), ("average", "subgroups"), ("margin", 0.02)])
def test_stores_must_agree_on_what_is_compared(tmp_path: Path, out: FolderStorage, key: str, value: str) -> None:
    first, second = split_study(tmp_path)
    path = second / "studies" / "cells.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(ResultsError, match=f"has {key} .* in {first} and .* in {second}"):
        gather_one(out, first, second)
    assert not out.root.exists()


def test_other_datasets_are_other_folders(tmp_path: Path, out: FolderStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    write_study(tmp_path / "first", rows)
    monkeypatch.setattr("fake_store.run_id", lambda arm, seed, fold: f"{arm}-{seed}-on-beef")
    write_study(tmp_path / "second", lambda arm, seed: rows(arm, seed).iloc[:2])
    for folder in (tmp_path / "second" / "runs").iterdir():
        config = (folder / "config.json").read_text().replace("f00d", "beef")
        (folder / "config.json").write_text(config)
        seal(folder)
    gathered = gather(out, [FolderStorage(tmp_path / name) for name in ("first", "second")], "cells")
    assert [each.rows for each in gathered] == [16, 8]
    with pytest.raises(ResultsError, match="has several datasets; expected one of fake-beef, fake-f00d"):
        read_results(out, "cells")
    assert len(read_results(out, "cells", "fake-beef").images) == 8


def test_the_command_says_what_it_did_and_what_is_next(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(tmp_path / "more", rows, name="second", unfinished=[("sme", 1)])
    out = tmp_path / "out"
    assert main(["collect", str(store), str(tmp_path / "more"), str(out)]) == 0
    printed = capsys.readouterr().out
    assert "Study cells (fake): 4 runs collected, 0 unchanged, 0 not finished; 16 rows in " in printed
    assert f"not finished: sme seed 1 ({run_id('sme', 1)})" in printed
    assert printed.endswith(f"Next: analysis report {out}\n")
    assert main(["collect", str(store), str(out), "--study", "cells"]) == 0
    assert "0 runs collected, 4 unchanged" in capsys.readouterr().out


def test_a_study_that_cant_be_collected_doesnt_keep_others_from_it(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads((store / "studies" / "cells.json").read_text())
    (store / "studies" / "broken.json").write_text(json.dumps(record | {"baseline": 3, "arms": []}))
    assert main(["collect", str(store), str(tmp_path / "out")]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert "broken.json" in printed.err
    assert "Study cells (fake): 4 runs collected" in printed.out


@pytest.mark.parametrize("arguments", [["out"], ["a", "out", "--table", "x"], ["a", "out", "--column", "score=Dice"]])
def test_arguments_that_make_no_sense_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["collect", *arguments])
    assert ended.value.code == 2
