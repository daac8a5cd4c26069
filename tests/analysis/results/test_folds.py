"""Studies with folds: their runs are read, kept and checked with the fold that each is tested on."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from analysis.results import merge
from analysis.results.dataset import read_results
from analysis.results.declaration import ResultsError, read_study
from analysis.results.external_study import adopt
from analysis.results.external_tables import Table
from analysis.results.merge import collect
from analysis.results.row_files import decode
from analysis.scores.image_scores import image_scores
from fake_store import image_rows, noisy_rows, run_id, seal, write_study
from metaseg.store.folder import FolderStorage
from results_dataset import assert_same_rows, change, gather_one

LINES = ["HeLa", "MCF7"] * 6
WELLS = [f"well {k // 2}" for k in range(12)]


def rows(arm: str, seed: int) -> pd.DataFrame:
    return image_rows([0.6 + 0.02 * k + 0.01 * seed + 0.05 * (arm == "sme") for k in range(12)], LINES, WELLS)


def edit_runs(store: Path, edit: Callable[[list[dict[str, object]]], object]) -> None:
    path = store / "studies" / "cells.json"
    record = json.loads(path.read_text())
    edit(record["runs"])
    path.write_text(json.dumps(record))


def test_each_row_says_the_fold_that_it_was_tested_in(tmp_path: Path) -> None:
    write_study(tmp_path, rows, folds=3)
    found = collect(FolderStorage(tmp_path), "cells")
    assert found.study.folds == ("0", "1", "2")
    assert list(found.images).index("fold") == list(found.images).index("part") + 1
    assert len(found.images) == 2 * 2 * 12
    expected = {run_id(arm, seed, fold): fold for arm in found.study.arms for seed in range(2) for fold in "012"}
    assert (found.images["fold"].astype(str) == found.images["run_id"].map(expected)).all()
    scores = image_scores(found.images, found.study.arms)
    assert (scores["fold"].astype(str) == found.images["fold"].astype(str)).all()


def test_results_without_folds_are_as_they_were(tmp_path: Path) -> None:
    write_study(tmp_path, rows)
    found = collect(FolderStorage(tmp_path), "cells")
    (file,) = Path(found.path).glob("*.parquet")
    assert "fold" not in found.images
    assert "fold" not in decode(file.read_bytes(), str(file)).column_names
    assert found.study.folds == ()


def test_folds_are_named_in_order() -> None:
    names = ["10", "2", "clinic", "a"]
    runs = [{"run_id": f"r{name}", "arm": "sme", "seed": 0, "fold": name} for name in names]
    record = {"name": "s", "dataset": "d", "baseline": "sme", "arms": ["sme"], "runs": runs, "command": ""}
    assert study_of(record).folds == ("2", "10", "a", "clinic")


def study_of(record: dict[str, object]) -> merge.Study:
    class Storage(FolderStorage):
        def read(self, path: str) -> bytes:
            return json.dumps(record).encode()

        def names(self, folder: str) -> list[str]:
            return ["s.json"]

    return read_study(Storage(Path("/nowhere")), "s")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda runs: runs[0].pop("fold"), r"run baseline seed 0 \(.*\) has no fold; expected one, as other runs have"),
        (lambda runs: runs[0].update(fold=0), "a name is 0; expected text"),
        (lambda runs: runs[0].update(fold="1"), r"run baseline seed 0 fold 1 \(.*\) is listed twice"),
    ],
)
def test_a_record_with_wrong_folds_is_refused(
    tmp_path: Path, edit: Callable[[list[dict[str, object]]], object], message: str
) -> None:
    write_study(tmp_path, rows, folds=3)
    edit_runs(tmp_path, edit)
    with pytest.raises(ResultsError, match=message):
        collect(FolderStorage(tmp_path), "cells")


def test_a_run_of_another_fold_than_the_study_says_is_refused(tmp_path: Path) -> None:
    write_study(tmp_path, rows, folds=3)
    edit_runs(tmp_path, lambda runs: [run.update(fold={"0": "1", "1": "0"}.get(str(run["fold"]), "2")) for run in runs])
    with pytest.raises(ResultsError, match="fold is '0', the study says '1'"):
        collect(FolderStorage(tmp_path), "cells")


@pytest.mark.parametrize("fold", [None, "7"])
def test_a_study_without_folds_has_no_run_of_one(tmp_path: Path, fold: str | None) -> None:
    """Runs from before there were folds say nothing of them."""
    write_study(tmp_path, rows)
    for folder in (tmp_path / "runs").iterdir():
        config = json.loads((folder / "config.json").read_text())
        del config["fold"]
        (folder / "config.json").write_text(json.dumps(config | ({"fold": fold} if fold else {})))
        seal(folder)
    if fold is None:
        assert len(collect(FolderStorage(tmp_path), "cells").images) == 48
    else:
        with pytest.raises(ResultsError, match="fold is '7', the study says None"):
            collect(FolderStorage(tmp_path), "cells")


def test_runs_of_a_fold_have_its_images(tmp_path: Path) -> None:
    write_study(tmp_path, rows, folds=3)
    own = rows("sme", 1)
    change(tmp_path, "sme", 1, own[own["group"].isin(["well 1"])], fold="1")
    with pytest.raises(ResultsError, match=r"baseline seed 0 fold 1 .* and sme seed 1 fold 1 .* differ in 2 of"):
        collect(FolderStorage(tmp_path), "cells")


@pytest.mark.parametrize("column", ["image", "group"])
def test_an_image_or_a_group_in_two_folds_is_refused(tmp_path: Path, column: str) -> None:
    """A network that trained on the image, or on others of its well, would be tested on it."""
    write_study(tmp_path, rows, folds=3)
    for arm in ("baseline", "sme"):
        for seed in range(2):
            own = rows(arm, seed)
            there = own[own["group"].isin(["well 2", "well 5"])].copy()
            there.iloc[0, there.columns.get_loc(column)] = own[column].iloc[0]
            change(tmp_path, arm, seed, there, fold="2")
    with pytest.raises(ResultsError, match=f"were both tested on {column} '.*'; expected each {column} in one fold"):
        collect(FolderStorage(tmp_path), "cells")


def test_runs_that_come_later_are_added_to_their_folds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, out = tmp_path / "store", FolderStorage(tmp_path / "out")
    write_study(store, rows, folds=3, unfinished=[("sme", 1, "2"), ("sme", 1, "1")])
    first = gather_one(out, store)
    assert [str(run).partition(" (")[0] for run in first.missing] == ["sme seed 1 fold 1", "sme seed 1 fold 2"]
    assert "fold 1" in str(first.missing[0])
    seal(store / "runs" / run_id("sme", 1, "1"))
    evaluated: list[int] = []
    check = merge.check_comparable
    monkeypatch.setattr(merge, "check_comparable", lambda each: (evaluated.append(len(each)), check(each)))
    second = gather_one(out, store)
    assert (len(second.added), len(second.unchanged), len(second.missing)) == (1, 10, 1)
    assert evaluated == [3]  # a run of each fold stands for those with the same images
    seal(store / "runs" / run_id("sme", 1, "2"))
    gather_one(out, store)
    assert_same_rows(read_results(out, "cells").images, collect(FolderStorage(store), "cells").images)


def test_a_store_with_one_split_isnt_collected_with_one_of_folds(tmp_path: Path) -> None:
    write_study(tmp_path / "a", rows, folds=3)
    write_study(tmp_path / "b", rows)
    with pytest.raises(ResultsError, match="has no fold; expected one, as other runs have"):
        gather_one(FolderStorage(tmp_path / "out"), tmp_path / "a", tmp_path / "b")


def table(tmp_path: Path) -> Table:
    scores = pd.DataFrame(
        [
            {"arm": arm, "seed": seed, "fold": f"0{k % 3}", "image": f"{k}.png", "dice": 0.5 + 0.01 * k}
            for arm in ("baseline", "sme")
            for seed in range(2)
            for k in range(12)
            if (arm, seed, k % 3) != ("sme", 1, 2)
        ]
    )
    scores.to_csv(tmp_path / "scores.csv", index=False)
    return Table(tmp_path / "scores.csv")


def test_a_table_from_elsewhere_can_have_folds(tmp_path: Path) -> None:
    """A seed may be there in some folds only; names of folds stay text."""
    out = FolderStorage(tmp_path / "out")
    gathered = adopt(out, [table(tmp_path)], "theirs")
    found = read_results(out, "theirs")
    assert (len(gathered.added), found.study.folds) == (11, ("00", "01", "02"))
    assert len({run.run_id for run in found.study.runs}) == 11
    assert (
        found.images["fold"].astype(str) == "0" + (found.images["image"].str[:-4].astype(int) % 3).astype(str)
    ).all()


@pytest.mark.parametrize("fold", [None, ""])
def test_a_table_without_folds_is_one_split(tmp_path: Path, fold: str | None) -> None:
    plain = table(tmp_path)
    scores = pd.read_csv(plain.path).query("seed == 0").drop(columns="fold")
    (scores if fold is None else scores.assign(fold=fold)).to_csv(plain.path, index=False)
    out = FolderStorage(tmp_path / "out")
    adopt(out, [plain], "theirs")
    assert "fold" not in read_results(out, "theirs").images


def test_tables_with_wrong_folds_are_refused(tmp_path: Path) -> None:
    out = FolderStorage(tmp_path / "out")
    halves = [table(tmp_path), Table(tmp_path / "other.csv")]
    own = pd.read_csv(halves[0].path).query("arm == 'sme' and seed == 0")
    own.drop(columns="fold").assign(arm="me").to_csv(halves[1].path)
    with pytest.raises(ResultsError, match="me seed 0 has no fold; expected one, as other rows have"):
        adopt(out, halves, "theirs")
    everywhere = pd.read_csv(halves[0].path, dtype=str)
    everywhere["fold"] = everywhere["seed"]
    everywhere[everywhere["image"] != "2.png"].to_csv(halves[0].path, index=False)
    with pytest.raises(ResultsError, match=r"image '0.png' is in fold '0' and in fold '1'.*folds are seeds: --column"):
        adopt(out, halves[:1], "theirs")
    few = pd.read_csv(table(tmp_path).path, dtype=str)
    few[(few["arm"] != "sme") | ~few["image"].isin(["0.png", "3.png", "6.png"])].to_csv(halves[0].path, index=False)
    with pytest.raises(ResultsError, match=r"lacks image '0.png' .* 3 such rows of 4 in fold 00; expected"):
        adopt(out, halves[:1], "theirs")


def test_noisy_folds_add_up_to_the_split(tmp_path: Path) -> None:
    """The same rows in folds and in one split are the same scores."""
    write_study(tmp_path / "folds", noisy_rows, folds=4)
    write_study(tmp_path / "split", noisy_rows)
    folds, split = (collect(FolderStorage(tmp_path / name), "cells").images for name in ("folds", "split"))
    keys = ["arm", "seed", "image"]
    first, second = (each.astype(dict.fromkeys(["arm", "image"], "str")).sort_values(keys) for each in (folds, split))
    assert first["tp"].tolist() == second["tp"].tolist()
