"""From a store's runs to the checked results dataset that it keeps."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from analysis.results.dataset import read_results, result_studies
from analysis.results.declaration import ResultsError
from analysis.results.merge import collect as collect_from
from analysis.results.store_rows import Collected
from fake_store import copy_up, image_rows, run_id, seal, write_study
from metaseg.store.folder import FolderStorage
from metaseg.store.storage import open_storage


def rows(arm: str, seed: int) -> pd.DataFrame:
    return image_rows([0.8, 0.9, 0.7, 0.6], ["HeLa", "HeLa", "MCF7", "MCF7"])


def collect(store: Path, name: str) -> Collected:
    return collect_from(FolderStorage(store), name)


def folder(store: Path) -> Path:
    """Where a store keeps the results of the study."""
    return store / "results" / "study=cells" / "dataset=fake-f00d"


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def change(store: Path, arm: str, seed: int, table: pd.DataFrame) -> Path:
    """Give a finished run other results, with their right checksum."""
    path = store / "runs" / run_id(arm, seed) / "images.parquet"
    table.to_parquet(path, index=False)
    seal(path.parent)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_study(tmp_path, rows)
    return tmp_path


def test_each_run_and_image_is_one_row_with_its_origin(store: Path) -> None:
    collected = collect(store, "cells")
    table = collected.images
    assert collected.path == str(folder(store))
    assert list(table.columns[:9]) == [
        "study", "dataset", "run_id", "arm", "part", "block", "metadata_mode", "seed", "parameters",
    ]  # fmt: skip
    assert set(table.columns[9:]) == set(rows("sme", 0).columns)
    assert len(table) == 4 * 4
    assert not table.duplicated(["run_id", "image", "class", "evaluation"]).any()
    sme = table[(table["arm"] == "sme") & (table["seed"] == 1)]
    assert set(sme["run_id"]) == {run_id("sme", 1)}
    assert set(sme["block"]) == {"sme"}
    assert set(sme["parameters"]) == {1234}
    found = sme[rows("sme", 1).columns].reset_index(drop=True).astype(rows("sme", 1).dtypes)
    pd.testing.assert_frame_equal(found, rows("sme", 1))
    pd.testing.assert_frame_equal(table, read_results(store / "results", "cells").images)
    as_it_comes = pd.read_parquet(store / "results" / "study=cells")[rows("sme", 1).columns]
    pd.testing.assert_frame_equal(as_it_comes, table[rows("sme", 1).columns], check_dtype=False)


def test_the_folder_of_results_reads_as_one_dataset_of_studies(store: Path) -> None:
    shutil.copy(store / "studies" / "cells.json", store / "studies" / "second.json")
    collect(store, "cells")
    collect(store, "second")
    assert result_studies(FolderStorage(store / "results")) == ["cells", "second"]
    assert pd.read_parquet(store / "results").groupby("study", observed=True).size().to_dict() == {
        "cells": 16,
        "second": 16,
    }


def test_the_same_runs_give_the_same_bytes_and_no_other_file(store: Path) -> None:
    first = files(Path(collect(store, "cells").path))
    assert files(Path(collect(store, "cells").path)) == first
    assert len(first) == 2, "rows and their record"


def test_only_what_a_study_is_now_is_kept(store: Path) -> None:
    """Whoever reads the folder as it comes would count rows of another dataset, or of the older layout, too."""
    collect(store, "cells")
    old = store / "results" / "study=cells"
    (old / "images.parquet").write_bytes(b"old")
    beef = folder(store).rename(old / "dataset=fake-beef")
    record = json.loads((beef / "_study.json").read_text())
    (beef / "_study.json").write_text(json.dumps(record | {"fingerprint": "beef"}))
    collect(store, "cells")
    assert [path.name for path in old.iterdir()] == [folder(store).name]
    assert len(pd.read_parquet(old)) == 16


def test_a_store_that_was_moved_has_one_source(store: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    collect(store, "cells")
    moved = tmp_path_factory.mktemp("elsewhere") / "store"
    store.rename(moved)
    path = moved / "studies" / "cells.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"margin": 0.03}))
    assert collect(moved, "cells").study.margin == 0.03


def test_a_crash_while_writing_leaves_the_old_file(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(collect(store, "cells").path)
    before = files(path)

    def half(where: Path, content: bytes) -> None:
        where.write_bytes(content[: len(content) // 2])
        raise OSError("no more")

    monkeypatch.setattr("metaseg.store.folder._write_flushed", half)
    with pytest.raises(OSError, match="no more"):
        collect(store, "cells")
    assert files(path) == before


def test_files_appear_by_renaming_whole_ones_and_their_record_last(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renamed: list[int] = []

    def replace(source: Path, target: Path) -> None:
        whole = json.loads(source.read_text()) if target.suffix == ".json" else pq.read_table(source)
        renamed.append(len(whole["parts"]) if isinstance(whole, dict) else whole.num_rows)
        source.rename(target)

    monkeypatch.setattr("metaseg.store.folder.os.replace", replace)
    collect(store, "cells")
    assert renamed == [16, 4]


def test_unfinished_runs_are_missing_by_name(tmp_path: Path) -> None:
    write_study(tmp_path, rows, unfinished=[("sme", 1)])
    collected = collect(tmp_path, "cells")
    assert [str(run) for run in collected.missing] == [f"sme seed 1 ({run_id('sme', 1)})"]
    assert len(collected.images) == 3 * 4


def test_a_study_without_a_finished_run_is_an_error(tmp_path: Path) -> None:
    write_study(tmp_path, rows, seeds=1, unfinished=[("baseline", 0), ("sme", 0)])
    with pytest.raises(ResultsError, match="none of its 2 runs is finished"):
        collect(tmp_path, "cells")


@pytest.mark.parametrize("name", ["images.parquet", "config.json"])
def test_a_file_that_differs_from_its_checksum_is_named(store: Path, name: str) -> None:
    path = store / "runs" / run_id("sme", 1) / name
    path.write_bytes(path.read_bytes().replace(b"sme", b"xme") + b" ")
    with pytest.raises(ResultsError, match=rf"{run_id('sme', 1)}/{name}: corrupt"):
        collect(store, "cells")


@pytest.mark.parametrize(
    ("done", "message"),
    [("{}", "no checksum of config.json"), ("[]", "expected a JSON object"), ('{"sha', "not JSON")],
)
def test_a_malformed_done_is_named(store: Path, done: str, message: str) -> None:
    (store / "runs" / run_id("sme", 0) / "DONE").write_text(done)
    with pytest.raises(ResultsError, match=f"DONE: {message}"):
        collect(store, "cells")


def test_a_finished_run_whose_file_is_gone_is_an_error(store: Path) -> None:
    (store / "runs" / run_id("sme", 0) / "images.parquet").unlink()
    with pytest.raises(ResultsError, match=r"images\.parquet: can't be read"):
        collect(store, "cells")


def test_a_row_that_is_there_twice_is_named(store: Path) -> None:
    table = rows("sme", 0)
    path = change(store, "sme", 0, pd.concat([table, table.iloc[[2]].assign(tp=7)], ignore_index=True))
    with pytest.raises(
        ResultsError, match=rf"{path}: 1 rows are there twice; the first is row 5: image 'images/002.png'"
    ):
        collect(store, "cells")


def test_the_same_image_in_another_evaluation_is_no_duplicate(store: Path) -> None:
    table = rows("sme", 0)
    change(store, "sme", 0, pd.concat([table, table.assign(evaluation="swapped")], ignore_index=True))
    assert len(collect(store, "cells").images) == 16 + 4


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (rows("sme", 0).drop(columns="fn"), "no column 'fn'; it has image, class"),
        (rows("sme", 0).assign(tp=0.5), "column 'tp' holds double; expected integers"),
        (rows("sme", 0).assign(image=[0, 1, 2, 3]), "column 'image' holds int64; expected text"),
        (rows("sme", 0).assign(group=["a", None, "b", "c"]), "column 'group' has 1 missing values"),
        (rows("sme", 0).assign(fp=[1, 2, -3, 4]), "row 3: a negative count"),
        (rows("sme", 0).assign(evaluation="swapped"), "no row of evaluation 'as-trained'"),
    ],
)
def test_malformed_results_are_named(store: Path, broken: pd.DataFrame, message: str) -> None:
    path = change(store, "sme", 0, broken)
    with pytest.raises(ResultsError, match=f"{path}: {message}"):
        collect(store, "cells")


@pytest.mark.parametrize("different", [rows("sme", 0).iloc[:3], rows("sme", 0).assign(group="one well")])
def test_runs_of_different_images_or_groups_are_not_compared(store: Path, different: pd.DataFrame) -> None:
    change(store, "sme", 1, different)
    with pytest.raises(
        ResultsError, match=r"runs baseline seed 0 .* and sme seed 1 .* differ in \d of their evaluated"
    ):
        collect(store, "cells")


def test_rows_in_another_order_are_the_same_images(store: Path) -> None:
    change(store, "sme", 1, rows("sme", 1).iloc[::-1])
    assert len(collect(store, "cells").images) == 16


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("dataset", {"fingerprint": "beef"}, "is of dataset beef, run baseline seed 0 .* of f00d"),
        ("seed", 7, "seed is 7, the study says 1"),
        ("run_id", "other", "run_id is 'other'"),
        ("arm", {"block": "sme"}, "no arm.metadata_mode"),
    ],
)
def test_a_run_that_isnt_what_the_study_says_is_an_error(store: Path, key: str, value: object, message: str) -> None:
    folder = store / "runs" / run_id("sme", 1)
    config = json.loads((folder / "config.json").read_text()) | {key: value}
    (folder / "config.json").write_text(json.dumps(config))
    seal(folder)
    with pytest.raises(ResultsError, match=message):
        collect(store, "cells")


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([("a", "baseline", 0), ("a", "sme", 0)], r"run sme seed 0 \(a\) is listed twice"),
        ([("a", "baseline", 0), ("b", "baseline", 0)], r"run baseline seed 0 \(b\) is listed twice"),
        ([("a", "film", 0)], "runs of arm 'film', which isn't among its arms baseline, sme"),
        ([("../../a", "sme", 0)], "isn't the name of a folder"),
        ([("a", "sme", "first")], "a seed is 'first'; expected a whole number"),
    ],
)
def test_a_malformed_study_is_named(store: Path, runs: list[tuple[str, str, object]], message: str) -> None:
    path = store / "studies" / "cells.json"
    listed = [{"run_id": run, "arm": arm, "seed": seed} for run, arm, seed in runs]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"runs": listed}))
    with pytest.raises(ResultsError, match=rf"cells\.json: .*{message}"):
        collect(store, "cells")


def test_an_unknown_study_lists_the_known(store: Path) -> None:
    with pytest.raises(ResultsError, match=r"unknown study 'cell'.*known: cells"):
        collect(store, "cell")


def test_results_are_collected_from_a_bucket_as_from_a_folder(store: Path) -> None:
    bucket = open_storage("memory://a-bucket/collected")
    copy_up(store, bucket)
    collected = collect_from(bucket, "cells")
    kept = folder(store).relative_to(store)
    assert collected.path == f"memory://a-bucket/collected/{kept}"
    pd.testing.assert_frame_equal(collected.images, collect(store, "cells").images)
    assert bucket.names(str(kept)) == sorted(files(folder(store)))
    bucket.delete(f"runs/{run_id('sme', 1)}/config.json")
    with pytest.raises(ResultsError, match=rf"memory://a-bucket/.*{run_id('sme', 1)}/config\.json: can't be read"):
        collect_from(bucket, "cells")


SHARED = (
    "command_line",
    "config",
    "notebook",
    "schema",
    "store",
    "store.address",
    "store.names",
    "store.storage",
    "terminal",
)
"""Modules of metaseg that analysis needs."""


def test_analysis_needs_of_metaseg_only_its_storage() -> None:
    commands = "analysis.commands.collect, analysis.commands.report, analysis.commands.sweep"
    started = "('torch', 'ray', 'metaseg', 'fsspec')"
    code = f"import sys, {commands}; print(*sorted(name for name in sys.modules if name.startswith({started})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["metaseg", *(f"metaseg.{name}" for name in SHARED)]


def test_what_others_have_in_the_results_stays(tmp_path: Path) -> None:
    write_study(tmp_path, rows)
    first = Path(collect(tmp_path, "cells").path)
    ours = [path.name for path in first.glob("*.parquet")]
    (first / "my_export.parquet").write_bytes(b"mine")
    (first.parent / "dataset=mine").mkdir()
    (first.parent / "dataset=mine" / "notes.txt").write_text("mine")
    (first / ("0" * 16 + ".parquet")).write_bytes(b"left by a report that was killed")
    collect(tmp_path, "cells")
    assert sorted(path.name for path in first.glob("*.parquet")) == sorted([*ours, "my_export.parquet"])
    assert (first.parent / "dataset=mine" / "notes.txt").read_text() == "mine"


def test_two_reports_at_once_leave_a_dataset_that_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_study(tmp_path, rows, unfinished=[("sme", 1)])
    late, interrupted = FolderStorage(tmp_path), []
    write = late.write

    def overtaken(name: str, content: bytes) -> None:
        """Another report of more runs begins and ends between the rows and the record of this one."""
        if name.endswith("_study.json") and not interrupted:
            interrupted.append(name)
            seal(tmp_path / "runs" / run_id("sme", 1))
            collect(tmp_path, "cells")
        write(name, content)

    monkeypatch.setattr(late, "write", overtaken)
    collect_from(late, "cells")
    assert interrupted
    assert len(read_results(tmp_path / "results", "cells").images) == 3 * len(rows("sme", 0))
    assert not collect(tmp_path, "cells").missing
