"""A store on an S3 server that fails, hangs, hangs up and loses answers; test_storage.py tests a server that works."""

import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from analysis.results.dataset import read_results
from fake_store import copy_up, image_rows, run_id, write_study
from metaseg.config import ConfigError
from metaseg.store.runs import Store
from metaseg.store.storage import Storage, StorageError, open_storage
from moto_server import S3Server, s3_server
from storage_operations import ALL_OPERATIONS

FILES = {"config.json": b"{}", "images.parquet": b"rows" * 1000}


@pytest.fixture(scope="module")
def running() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def server(running: S3Server) -> Iterator[S3Server]:
    yield running
    running.failures, running.delay = [], 0.0


@pytest.fixture
def storage(server: S3Server, tmp_path: Path) -> Storage:
    """Holds runs/a/DONE, as `ALL_OPERATIONS` need it; waits for up to 20 seconds."""
    storage = open_storage(f"{server.bucket}/{tmp_path.name}")
    storage.write("runs/a/DONE", b"done")
    storage.patience = 20
    return storage


@pytest.mark.parametrize("name", ALL_OPERATIONS)
def test_requests_that_fail_are_repeated(server, storage, name):
    operation, expected = ALL_OPERATIONS[name]
    server.failures = [500, "drop", "drop"]  # a client asks twice of itself when hung up on
    assert operation(storage) == expected
    assert not server.failures
    assert storage.exists("runs/a/DONE") == (not name.startswith("delete"))


def test_a_server_that_is_away_for_a_while_is_waited_for(server, storage):
    with server.refusing():
        writing = threading.Thread(target=storage.write, args=("file", b"content"))
        writing.start()
        time.sleep(1)
        assert writing.is_alive()
    writing.join()
    assert storage.read("file") == b"content"


def test_slow_answers_are_answers(server, storage):
    server.delay, before = 3.0, server.requests
    storage.write("file", b"content")
    assert server.requests == before + 1


def test_a_server_that_says_nothing_more_is_asked_again(server, tmp_path, monkeypatch):
    from s3fs import S3FileSystem

    monkeypatch.setattr(S3FileSystem, "read_timeout", 1)
    S3FileSystem.clear_instance_cache()
    storage = open_storage(f"{server.bucket}/{tmp_path.name}")
    server.failures = ["hang"]
    started = time.monotonic()
    storage.write("file", b"content")
    assert time.monotonic() - started > 1
    assert storage.read("file") == b"content"
    S3FileSystem.clear_instance_cache()


@pytest.mark.parametrize("failure", [500, 503, "drop"])
def test_longer_than_patience_is_an_error_that_names_the_store(server, storage, failure):
    server.failures = [failure] * 1000
    storage.patience = 0.5
    started = time.monotonic()
    with pytest.raises(StorageError, match=rf"^{storage.where} doesn't answer: "):
        storage.write("file", b"content")
    assert time.monotonic() - started < 3


def test_a_write_without_patience_is_tried_once(server, storage):
    server.failures, before = [503] * 10, server.requests
    with pytest.raises(StorageError):
        storage.write("file", b"content", patience=0)
    assert server.requests == before + 1


def test_create_is_won_by_whoever_wrote_though_its_answer_is_lost(server, storage):
    assert storage.create("claims/theirs", b"theirs")
    for name, won in (("mine", True), ("theirs", False)):
        server.failures = ["lost"]
        assert storage.create(f"claims/{name}", b"mine") == won
        assert not server.failures
    assert [storage.read(f"claims/{name}") for name in storage.names("claims")] == [b"mine", b"theirs"]


def test_a_refusal_that_doesnt_name_its_condition_is_understood(server, storage):
    assert storage.create("claims/a", b"theirs")
    server.failures, storage.patience = [412], 0
    assert not storage.create("claims/a", b"mine")


def test_listing_finished_runs_is_one_request_a_page(server, storage, monkeypatch):
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "10")
    for number in range(12):
        storage.publish(f"runs/{number}", FILES | {"DONE": b""}, last="DONE")
    before = server.requests
    assert Store(storage).done() == {"a", *map(str, range(12))}
    assert server.requests == before + 4
    assert len(storage.names("runs")) == 13


def assert_whole(storage: Storage, run: str) -> None:
    checksums = json.loads(storage.read(f"runs/{run}/DONE"))["sha256"]
    assert checksums == {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    assert {name: storage.read(f"runs/{run}/{name}") for name in FILES} == FILES
    assert storage.names(f"runs/{run}") == sorted([*FILES, "DONE"])


def test_a_run_is_committed_whole_through_all_kinds_of_faults(server, storage):
    store = Store(storage)
    storage.write("failures/run.json", b"{}")
    storage.write("checkpoints/run/1", b"state")
    server.failures = [500, None, "lost", 503, None, "drop", None, "lost", 503, 500, None, "lost", None, 503, None, 500]
    store.commit_run("run", FILES)
    assert not server.failures
    assert_whole(storage, "run")
    assert store.done() == {"a", "run"}
    assert store.failed() == set()
    assert storage.names("checkpoints") == []


@pytest.mark.parametrize("requests", range(8))
def test_a_driver_that_dies_at_any_request_leaves_no_run_or_a_whole_one(server, storage, requests):
    storage.patience = 0
    server.failures = [None] * requests + ["drop"] * 100
    with pytest.raises(StorageError):
        Store(storage).commit_run("run", FILES)
    server.failures = []
    if "run" in Store(storage).done():
        assert_whole(storage, "run")
    Store(storage).commit_run("run", FILES)
    assert_whole(storage, "run")


def test_a_bucket_that_isnt_there_is_said_on_opening(server):
    with pytest.raises(ConfigError, match=r"storage s3://no-such-bucket/store can't be listed: .*does not exist"):
        open_storage("s3://no-such-bucket/store")


def test_opening_waits_for_a_server_but_not_for_minutes(server, monkeypatch):
    server.failures = [500, 503]
    open_storage(f"{server.bucket}/store")
    assert not server.failures
    monkeypatch.setattr("metaseg.store.bucket.OPENING_SECONDS", 0.5)
    with server.refusing(), pytest.raises(StorageError, match=r"doesn't answer: .*Could not connect"):
        open_storage(f"{server.bucket}/store")


def test_a_folder_that_a_console_has_made_holds_nothing(server, storage):
    storage._fs.pipe_file(f"{storage._prefix}/studies/", b"")
    assert storage.names("studies") == []
    storage.write("studies/cells.json", b"{}")
    assert storage.names("studies") == ["cells.json"]


def test_the_analysis_reports_from_and_to_a_bucket(server, storage, tmp_path):
    write_study(tmp_path, lambda arm, seed: image_rows([0.8, 0.9, 0.7, 0.6 + 0.1 * seed], list("aabb")))
    copy_up(tmp_path, storage)
    server.failures = [None, 500, None, 503, None, None, "drop", "drop"]
    done = subprocess.run(
        [sys.executable, "-m", "analysis", "report", storage.where, "--study", "cells"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"  {storage.where}/reports/cells/report.html\n" in done.stdout
    subprocess.run([sys.executable, "-m", "analysis", "report", str(tmp_path)], check=True, capture_output=True)
    files = [f"reports/cells/{path.name}" for path in (tmp_path / "reports" / "cells").iterdir()]
    for file in files:
        assert storage.read(file) == (tmp_path / file).read_bytes()
    kept = [read_results(f"{where}/results", "cells").images for where in (storage.where, tmp_path)]
    pd.testing.assert_frame_equal(*kept)
    assert [f"reports/cells/{name}" for name in storage.names("reports/cells")] == sorted(files)


def test_the_analysis_names_what_is_wrong_in_a_bucket(server, storage, tmp_path):
    write_study(tmp_path, lambda arm, seed: image_rows([0.8]))
    copy_up(tmp_path, storage)
    file = f"runs/{run_id('sme', 0)}/config.json"
    storage.write(file, b"{}")
    for where, message in (
        (storage.where, f"{storage.locate(file)}: corrupt: its SHA-256"),
        ("s3://no-such-bucket/store", "storage s3://no-such-bucket/store can't be listed: "),
    ):
        done = subprocess.run([sys.executable, "-m", "analysis", "report", where], capture_output=True, text=True)
        assert done.returncode == 1
        assert done.stderr.startswith(f"error: {message}")
        assert len(done.stderr.splitlines()) == 1
