"""The store: a run exists once it is whole, and never before."""

import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metaseg.store.runs import DamagedRunError, Store

FILES = {"images.parquet": b"rows", "config.json": b"{}"}


def files_of(store: Store, run_id: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(store.run_folder(run_id)).iterdir()}


def test_a_run_exists_once_committed_and_done_holds_checksums(tmp_path):
    store = Store.at(tmp_path)
    assert not store.is_done("abc")
    assert store.done() == set()
    store.commit_run("abc", FILES)
    assert store.is_done("abc")
    assert store.done() == {"abc"}
    done = json.loads(files_of(store, "abc")["DONE"])
    assert done["sha256"] == {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}


@pytest.mark.parametrize("writes_before_death", range(3))
def test_a_death_at_any_file_leaves_no_run_and_no_litter_that_matters(tmp_path, monkeypatch, writes_before_death):
    store = Store.at(tmp_path)
    written = []

    def mortal(path, content):
        if len(written) == writes_before_death:
            path.write_bytes(content[: len(content) // 2])
            raise SystemExit
        written.append(path)
        path.write_bytes(content)

    monkeypatch.setattr("metaseg.store.folder._write_flushed", mortal)
    monkeypatch.setattr("shutil.rmtree", lambda *arguments, **options: None)  # the dead don't tidy up
    with pytest.raises(SystemExit):
        store.commit_run("abc", FILES)
    assert not store.is_done("abc")
    assert store.done() == set()
    monkeypatch.undo()
    store.commit_run("abc", FILES)
    assert set(files_of(store, "abc")) == {*FILES, "DONE"}
    store.remove_leftovers()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["abc"]


def test_whoever_is_second_changes_nothing(tmp_path):
    store = Store.at(tmp_path)
    store.commit_run("abc", FILES)
    store.commit_run("abc", {"images.parquet": b"others", "config.json": b"{}"})
    assert files_of(store, "abc")["images.parquet"] == FILES["images.parquet"]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["abc"]


def test_a_failure_is_recorded_until_the_run_succeeds(tmp_path):
    store = Store.at(tmp_path)
    store.record_failure("abc", "ValueError: boom", "Traceback\n  boom")
    record = json.loads(Path(store.failure("abc")).read_text())
    assert record == {"error": "ValueError: boom", "traceback": ["Traceback", "  boom"]}
    assert store.failed() == {"abc"}
    assert not store.is_done("abc")
    store.commit_run("abc", FILES)
    assert store.failed() == set()


def test_a_runs_two_newest_checkpoints_are_kept_until_it_is_done(tmp_path):
    store = Store.at(tmp_path)
    for position in ("000001", "000002", "000010"):
        store.save_checkpoint("abc", position, position.encode())
    store.save_checkpoint("other", "000001", b"other")
    assert [content for _, content in store.checkpoints("abc")] == [b"000010", b"000002"]
    store.commit_run("abc", FILES)
    assert not list(store.checkpoints("abc"))
    assert list(store.checkpoints("other"))


def test_checkpoints_that_a_death_left_behind_a_done_run_are_swept(tmp_path):
    store = Store.at(tmp_path)
    store.commit_run("abc", FILES)
    for run in ("abc", "unfinished"):
        store.save_checkpoint(run, "000001", b"state")
    store.remove_leftovers()
    assert store.storage.names("checkpoints") == ["unfinished"]


def test_a_relative_path_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Store.at("here").where == str(tmp_path / "here")


def test_a_dataset_reaches_other_machines_through_a_bucket(tiny_dataset, tmp_path, monkeypatch):
    store = Store.at("memory://a-bucket/store")
    monkeypatch.setenv("METASEG_CACHE", str(tmp_path / "another machine"))
    store.share_dataset(tiny_dataset.path)
    folder = Store.at("memory://a-bucket/store").fetch_dataset(tiny_dataset.fingerprint)
    assert folder.is_relative_to(tmp_path / "another machine")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in tiny_dataset.path.iterdir()
    }
    store.storage.delete_folder("cache")
    assert store.fetch_dataset(tiny_dataset.fingerprint) == folder, "not brought twice"


def parquet(table: pd.DataFrame, **options: object) -> bytes:
    written = io.BytesIO()
    table.to_parquet(written, index=False, **options)
    return written.getvalue()


ROWS = pd.DataFrame({"image": ["a", "b"], "tp": [1, 2]})


def test_a_runs_table_is_what_was_written(tmp_path):
    store = Store.at(tmp_path)
    store.commit_run("abc", {"images.parquet": parquet(ROWS.assign(more=1.0))})
    pd.testing.assert_frame_equal(store.open_run("abc").table("images.parquet", ["image"], ["tp"]), ROWS)


def holed(content: bytes) -> bytes:
    """With zeros in the midst of its pages."""
    return content[:200] + bytes(len(content) // 2) + content[200 + len(content) // 2 :]


MANY = pd.DataFrame({"image": [f"image {k}" for k in range(5000)], "tp": np.arange(5000)})

DAMAGED = {
    "nothing": b"",
    "text": b"image,tp\na,1\n",
    "magic alone": b"PAR1PAR1",
    "truncated": parquet(ROWS)[:-30],
    "holed": holed(parquet(MANY)),
    "holed, many pages": holed(parquet(MANY, data_page_size=100, use_dictionary=False, compression="gzip")),
    "no column": parquet(ROWS.drop(columns="tp")),
    "text for counts": parquet(ROWS.assign(tp=["x", "y"])),
    "counts for text": parquet(ROWS.assign(image=[1, 2])),
    "lists": parquet(ROWS.assign(tp=[[1], [2]])),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_table_with_a_right_checksum_that_is_none_is_named(tmp_path, damage):
    store = Store.at(tmp_path)
    store.commit_run("abc", {"images.parquet": DAMAGED[damage]})
    with pytest.raises(DamagedRunError, match=r"runs/abc/images.parquet: not a run's table: ."):
        store.open_run("abc").table("images.parquet", ["image"], ["tp"])


READ = """
import sys
from metaseg.store.runs import Store
for run in sorted(Store.at(sys.argv[1]).done()):
    try:
        Store.at(sys.argv[1]).open_run(run).table("images.parquet", ["image"], ["tp"])
    except OSError:
        continue
sys.exit("error: damaged")
"""


def test_a_process_that_has_met_damaged_tables_ends_as_it_should(tmp_path):
    """Threads that still read as it ends would abort it."""
    for number, content in enumerate(DAMAGED.values()):
        Store.at(tmp_path).commit_run(f"run{number}", {"images.parquet": content})
    done = subprocess.run([sys.executable, "-c", READ, str(tmp_path)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "error: damaged\n")
