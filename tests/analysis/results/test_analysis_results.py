"""A results dataset: from stores, incrementally, whole at any moment, and back."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from analysis.results.dataset import RECORD, read_results, result_studies
from analysis.results.declaration import ResultsError
from analysis.results.merge import Gathered, gather
from analysis.results.row_files import SCHEMA
from analysis.results.store_rows import collect
from checkout import ROOT
from fake_store import copy_up, run_id, seal, write_study
from metaseg.schema import RESULTS_VERSION
from metaseg.store.folder import FolderStorage
from metaseg.store.storage import open_storage
from results_dataset import assert_same_rows, change, gather_one, rows, state


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_study(tmp_path / "store", rows)
    return tmp_path / "store"


@pytest.fixture
def out(tmp_path: Path) -> FolderStorage:
    return FolderStorage(tmp_path / "out")


def names(gathered: Gathered) -> tuple[list[str], list[str], list[str]]:
    kinds = (gathered.added, gathered.unchanged, gathered.missing)
    added, unchanged, missing = ([f"{run.arm} {run.seed}" for run in runs] for runs in kinds)
    return added, unchanged, missing


def test_a_dataset_gives_back_what_its_store_does(store: Path, out: FolderStorage) -> None:
    gathered = gather_one(out, store)
    direct, found = collect(FolderStorage(store), "cells"), read_results(out, "cells")
    assert_same_rows(found.images, direct.images)
    assert (found.study, found.missing, found.subgroup_column) == (direct.study, (), "cell_line")
    assert (found.metric, gathered.rows, result_studies(out)) == ("f1", 16, ["cells"])


def test_files_have_the_documented_schema_and_say_where_their_rows_are_from(store: Path, out: FolderStorage) -> None:
    folder = Path(gather_one(out, store).where)
    assert folder.parent.parent == out.root
    assert [folder.parent.name, folder.name] == ["study=cells", "dataset=fake-f00d"]
    (file,) = folder.glob("*.parquet")
    schema = pq.read_schema(file)
    assert list(zip(schema.names, schema.types, strict=True))[: len(SCHEMA)] == list(
        zip(SCHEMA.names, SCHEMA.types, strict=True)
    )
    assert schema.names[len(SCHEMA) :] == ["meta_cell_line"]
    assert schema.metadata[b"metaseg.schema"] == str(RESULTS_VERSION).encode()
    about = json.loads(schema.metadata[b"metaseg.about"])
    assert set(about) == {run_id(arm, seed) for arm in ("baseline", "sme") for seed in (0, 1)}
    assert about[run_id("sme", 1)]["store"] == str(store)
    documented = (ROOT / "docs" / "reference" / "results.md").read_text()
    assert f"Schema version {RESULTS_VERSION}" in documented
    assert [name for name in SCHEMA.names if f"`{name}`" not in documented] == []


def test_readers_of_parquet_datasets_see_the_folders_names_as_columns(store: Path, out: FolderStorage) -> None:
    gather_one(out, store)
    found = ds.dataset(out.root, partitioning="hive").to_table().to_pandas()
    assert len(found) == 16
    assert set(found["study"]) == {"cells"}
    assert set(found["dataset"]) == {"fake-f00d"}
    assert found["score"].isna().all()


def test_what_is_there_and_unchanged_is_neither_read_nor_written(store: Path, out: FolderStorage) -> None:
    first = gather_one(out, store)
    assert names(first) == (["baseline 0", "sme 0", "baseline 1", "sme 1"], [], [])
    before = state(out.root)
    for folder in (store / "runs").iterdir():
        (folder / "images.parquet").unlink()
    again = gather_one(out, store)
    assert names(again) == ([], ["baseline 0", "sme 0", "baseline 1", "sme 1"], [])
    assert state(out.root) == before


def test_only_new_runs_are_read(tmp_path: Path, out: FolderStorage) -> None:
    write_study(tmp_path / "store", rows, unfinished=[("sme", 1)])
    assert names(gather_one(out, tmp_path / "store")) == (["baseline 0", "sme 0", "baseline 1"], [], ["sme 1"])
    assert [str(run) for run in read_results(out, "cells").missing] == [f"sme seed 1 ({run_id('sme', 1)})"]
    seal(tmp_path / "store" / "runs" / run_id("sme", 1))
    for arm, seed in (("baseline", 0), ("sme", 0), ("baseline", 1)):
        (tmp_path / "store" / "runs" / run_id(arm, seed) / "images.parquet").unlink()
    assert names(gather_one(out, tmp_path / "store")) == (["sme 1"], ["baseline 0", "sme 0", "baseline 1"], [])
    assert read_results(out, "cells").images["run_id"].nunique() == 4


def test_a_run_that_was_trained_anew_replaces_the_old_one_alone(store: Path, out: FolderStorage) -> None:
    gather_one(out, store)
    change(store, "baseline", 0, rows("baseline", 0).assign(tp=123))
    for arm, seed in (("sme", 0), ("sme", 1), ("baseline", 1)):
        (store / "runs" / run_id(arm, seed) / "config.json").unlink()
    gathered = gather_one(out, store)
    assert names(gathered)[0] == ["baseline 0"]
    images = read_results(out, "cells").images
    assert images.groupby("run_id", observed=True).size().tolist() == [4] * 4
    assert set(images.loc[images["run_id"] == run_id("baseline", 0), "tp"]) == {123}
    assert len(ds.dataset(out.root, partitioning="hive").to_table()) == 16
    listed = {part.file for part in gathered.record.parts.values()}
    assert {path.name for path in Path(gathered.where).glob("*.parquet")} == listed


def test_a_run_that_the_study_no_longer_wants_is_gone(store: Path, out: FolderStorage) -> None:
    gather_one(out, store)
    path = store / "studies" / "cells.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"runs": record["runs"][:3]}))
    gather_one(out, store)
    assert len(read_results(out, "cells").images) == 12
    assert len(ds.dataset(out.root, partitioning="hive").to_table()) == 12


def test_rows_follow_the_studys_order_of_runs_whatever_that_of_the_files(store: Path, out: FolderStorage) -> None:
    gather_one(out, store)
    path = store / "studies" / "cells.json"
    record = json.loads(path.read_text())
    runs = [record["runs"][k] for k in (2, 0, 3, 1)]
    path.write_text(json.dumps(record | {"runs": runs}))
    gather_one(out, store)
    found = read_results(out, "cells").images
    assert found["run_id"].drop_duplicates().tolist() == [run["run_id"] for run in runs]
    assert_same_rows(found, collect(FolderStorage(store), "cells").images)


def test_a_file_that_was_deleted_is_collected_again(store: Path, out: FolderStorage) -> None:
    (file,) = Path(gather_one(out, store).where).glob("*.parquet")
    file.unlink()
    with pytest.raises(ResultsError, match=rf"{file.name}: gone, .*collect again"):
        read_results(out, "cells")
    gather_one(out, store)
    assert len(read_results(out, "cells").images) == 16


@pytest.mark.parametrize("deaths_at", range(3))
def test_a_death_while_writing_leaves_the_old_state_or_the_new(
    store: Path, out: FolderStorage, deaths_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writings of the second collection: the new run's file, the file of the others of its old one, the record."""
    gather_one(out, store)
    before = read_results(out, "cells").images
    change(store, "sme", 1, rows("sme", 1).assign(tp=123))
    write, calls = FolderStorage.write, iter(range(10))

    def dying(self: FolderStorage, name: str, content: bytes, patience: float | None = None) -> None:
        if next(calls) == deaths_at:
            raise KeyboardInterrupt
        write(self, name, content, patience)

    with monkeypatch.context() as patched:
        patched.setattr(FolderStorage, "write", dying)
        with pytest.raises(KeyboardInterrupt):
            gather_one(out, store)
    pd.testing.assert_frame_equal(read_results(out, "cells").images, before)
    gather_one(out, store)
    assert (read_results(out, "cells").images["tp"] == 123).sum() == 4
    assert len(ds.dataset(out.root, partitioning="hive").to_table()) == 16


def test_runs_on_other_images_are_refused_though_the_first_were_collected_before(
    tmp_path: Path, out: FolderStorage
) -> None:
    write_study(tmp_path / "store", rows, unfinished=[("sme", 1)])
    gather_one(out, tmp_path / "store")
    before = state(out.root)
    change(tmp_path / "store", "sme", 1, rows("sme", 1).iloc[:3])
    with pytest.raises(ResultsError, match=r"runs baseline seed 0 .* and sme seed 1 .* differ in 1 of their evaluated"):
        gather_one(out, tmp_path / "store")
    assert state(out.root) == before


def test_rows_in_another_order_are_the_same_images(store: Path, out: FolderStorage) -> None:
    change(store, "sme", 1, rows("sme", 1).iloc[::-1])
    gather_one(out, store)
    direct, found = collect(FolderStorage(store), "cells"), read_results(out, "cells")
    assert_same_rows(found.images, direct.images)


def test_another_schema_version_is_refused(store: Path, out: FolderStorage) -> None:
    path = Path(gather_one(out, store).where) / RECORD
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 7'))
    with pytest.raises(ResultsError, match=rf"{path}: schema version 7; this program reads 1"):
        read_results(out, "cells")
    with pytest.raises(ResultsError, match="schema version 7"):
        gather_one(out, store)


def test_unknown_studies_name_the_known(store: Path, out: FolderStorage) -> None:
    gather_one(out, store)
    with pytest.raises(ResultsError, match=r"unknown study 'cell' .*known: cells"):
        read_results(out, "cell")
    with pytest.raises(ResultsError, match="unknown study 'cell'; none of"):
        gather_one(out, store, study="cell")


def test_buckets_are_collected_from_and_to(store: Path, out: FolderStorage) -> None:
    bucket, target = open_storage("memory://gathered/store"), open_storage("memory://gathered/out")
    copy_up(store, bucket)
    gather(target, [bucket], "cells")
    gather_one(out, store)
    assert read_results(target, "cells").study == read_results(out, "cells").study
    pd.testing.assert_frame_equal(read_results(target, "cells").images, read_results(out, "cells").images)
    (again,) = gather(target, [bucket], "cells")
    assert (len(again.added), len(again.unchanged)) == (0, 4)


def test_a_results_dataset_survives_being_moved(store: Path, out: FolderStorage, tmp_path: Path) -> None:
    gather_one(out, store)
    shutil.move(out.root, tmp_path / "moved")
    shutil.rmtree(store)
    assert len(read_results(tmp_path / "moved", "cells").images) == 16


def test_an_s3_store_is_collected_from_and_to_though_its_server_fails_now_and_then(store: Path) -> None:
    from moto_server import s3_server

    with s3_server() as server:
        source, target = (open_storage(f"{server.bucket}/{name}") for name in ("store", "out"))
        copy_up(store, source)
        source.patience = target.patience = 20
        server.failures = [None, 500, None, 503, None, None, "drop", "drop"]
        (gathered,) = gather(target, [source], "cells")
        assert not server.failures
        assert gathered.where == f"{server.bucket}/out/study=cells/dataset=fake-f00d"
        assert_same_rows(read_results(target, "cells").images, collect(FolderStorage(store), "cells").images)
