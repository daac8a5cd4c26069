"""The store: a run exists once it is whole, and never before."""

import hashlib
import json

import pytest

from metaseg.config import ConfigError
from metaseg.store import Store, write_atomically

FILES = {"images.parquet": b"rows", "config.json": b"{}"}


def test_a_run_exists_once_committed_and_done_holds_checksums(tmp_path):
    store = Store(tmp_path)
    assert not store.is_done("abc")
    store.commit_run("abc", FILES)
    assert store.is_done("abc")
    done = json.loads((store.run_folder("abc") / "DONE").read_text())
    assert done["sha256"] == {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}


@pytest.mark.parametrize("writes_before_death", range(3))
def test_a_death_at_any_file_leaves_no_run_and_no_litter_that_matters(tmp_path, monkeypatch, writes_before_death):
    store = Store(tmp_path)
    written = []

    def mortal(path, content):
        if len(written) == writes_before_death:
            raise KeyboardInterrupt
        written.append(path)
        write_atomically(path, content)

    monkeypatch.setattr("metaseg.store.write_atomically", mortal)
    with pytest.raises(KeyboardInterrupt):
        store.commit_run("abc", FILES)
    assert not store.is_done("abc")
    monkeypatch.undo()
    store.commit_run("abc", FILES)
    assert store.is_done("abc")
    assert {path.name for path in store.run_folder("abc").iterdir()} == {*FILES, "DONE"}
    assert list(store.run_folder("abc").parent.iterdir()) == [store.run_folder("abc")]


def test_whoever_is_second_changes_nothing(tmp_path):
    store = Store(tmp_path)
    store.commit_run("abc", FILES)
    store.commit_run("abc", {"images.parquet": b"others", "config.json": b"{}"})
    assert (store.run_folder("abc") / "images.parquet").read_bytes() == FILES["images.parquet"]
    assert list(store.run_folder("abc").parent.iterdir()) == [store.run_folder("abc")]


def test_a_write_that_fails_keeps_the_old_file_and_leaves_no_temporary_one(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_is_recorded_until_the_run_succeeds(tmp_path):
    store = Store(tmp_path)
    store.record_failure("abc", "ValueError: boom", "Traceback\n  boom")
    record = json.loads(store.failure("abc").read_text())
    assert record == {"error": "ValueError: boom", "traceback": ["Traceback", "  boom"]}
    assert not store.is_done("abc")
    store.commit_run("abc", FILES)
    assert not store.failure("abc").exists()


def test_a_bucket_url_is_refused_and_a_relative_path_made_absolute(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="'s3://bucket/store'; expected a folder"):
        Store.at("s3://bucket/store")
    monkeypatch.chdir(tmp_path)
    assert Store.at("here").root == tmp_path / "here"
