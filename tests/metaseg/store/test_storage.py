"""The contract of every storage: a folder, memory and an S3 server."""

import errno
import multiprocessing
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.registry import _registry

from metaseg.config import ConfigError
from metaseg.store.bucket import BucketStorage
from metaseg.store.memory import MemoryStorage
from metaseg.store.storage import Storage, StorageError, open_storage


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """URL of a bucket of a real S3 server."""
    from moto_server import s3_server

    with s3_server() as server:
        yield server.bucket


@pytest.fixture(params=["folder", "s3"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Path or URL of a storage that other threads and processes can open, too."""
    return str(tmp_path) if request.param == "folder" else f"{request.getfixturevalue('bucket')}/{tmp_path.name}"


@pytest.fixture(params=["folder", "memory", "s3", "dictionary"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "dictionary":
        return MemoryStorage()
    where = {"folder": lambda: tmp_path, "memory": lambda: f"memory://bucket/{tmp_path.name}"}
    where["s3"] = lambda: f"{request.getfixturevalue('bucket')}/{tmp_path.name}"
    return open_storage(str(where[request.param]()))


def test_what_is_written_is_read_and_replaced(storage):
    for content in (b"one", b"", b"\x00" * 100_000):
        storage.write("some/folder/file", content)
        assert storage.read("some/folder/file") == content
        assert storage.read_or_none("some/folder/file") == content


def test_what_isnt_there_isnt_found(storage):
    storage.write("folder/file", b"")
    for name in ("file", "folder/other", "other/file"):
        with pytest.raises(FileNotFoundError):
            storage.read(name)
        assert storage.read_or_none(name) is None
        assert not storage.exists(name)
        storage.delete(name)
    assert storage.exists("folder/file")
    storage.delete_folder("other")
    assert storage.names("other") == []


def test_create_writes_once(storage):
    assert storage.create("claims/run", b"mine")
    assert not storage.create("claims/run", b"yours")
    assert storage.read("claims/run") == b"mine"
    storage.delete("claims/run")
    assert storage.create("claims/run", b"yours")


def test_names_are_sorted_and_of_one_level(storage):
    for name in ("b", "a/file", "a/deeper/still/file", "ab"):
        storage.write(name, b"")
    assert storage.names("") == ["a", "ab", "b"]
    assert storage.names("a") == ["deeper", "file"]


def test_what_is_deleted_is_gone_and_nothing_else(storage):
    for name in ("a/1", "a/2", "a/deeper/3", "ab/4"):
        storage.write(name, b"")
    storage.delete("a/1")
    assert storage.names("a") == ["2", "deeper"]
    storage.delete_folder("a")
    assert storage.names("a") == []
    assert storage.exists("ab/4")


def test_a_folder_is_published_once(storage):
    storage.publish("runs/a", {"DONE": b"1", "results": b"one"}, last="DONE")
    storage.publish("runs/a", {"DONE": b"2", "results": b"two", "more": b""}, last="DONE")
    assert storage.names("runs/a") == ["DONE", "results"]
    assert storage.read("runs/a/results") == b"one"


def test_subfolders_are_found_by_a_file_of_theirs(storage):
    assert storage.subfolders_with("runs", "DONE") == set()
    for name in ("runs/a/DONE", "runs/a/results", "runs/b/DONE", "runs/c/results", "runs/d/UNDONE", "DONE"):
        storage.write(name, b"")
    assert storage.subfolders_with("runs", "DONE") == {"a", "b"}


def test_a_listing_has_every_file_with_its_size_and_time(storage):
    start = time.time()
    assert storage.files("runs") == {}
    for name, content in {"runs/a/DONE": b"12", "runs/.b/deep/er": b"123", "runs2/x": b"", "top": b"1"}.items():
        storage.write(name, content)
    found = storage.files("runs")
    assert {name: file.size for name, file in found.items()} == {".b/deep/er": 3, "a/DONE": 2}
    assert list(storage.files("")) == ["runs/.b/deep/er", "runs/a/DONE", "runs2/x", "top"]
    if not isinstance(storage, MemoryStorage):
        assert all(start - 10 < file.modified < time.time() + 10 for file in found.values())


def test_messages_name_files_as_users_do(storage):
    assert storage.locate("runs/a") == f"{storage.where}/runs/a"
    if not isinstance(storage, MemoryStorage):
        assert open_storage(storage.where + "/").where == storage.where


def test_of_many_threads_one_creates_a_file(shared):
    storage = open_storage(shared)
    threads, names = 8, [f"claims/{number}" for number in range(10)]
    barrier = threading.Barrier(threads)
    won: list[tuple[str, bytes]] = []

    def try_all(mine: bytes) -> None:
        barrier.wait()
        won.extend((name, mine) for name in names if storage.create(name, mine))

    started = [threading.Thread(target=try_all, args=(str(number).encode(),)) for number in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    assert sorted(name for name, _ in won) == sorted(names)
    assert all(storage.read(name) == mine for name, mine in won)
    assert storage.names("claims") == sorted(name.removeprefix("claims/") for name in names)


def create_all(where: str, mine: bytes, barrier: Any, won: Any) -> None:
    storage = open_storage(where)
    barrier.wait()
    won.put([name for name in map(str, range(20)) if storage.create(name, mine)])


def test_of_several_processes_one_creates_a_file(shared):
    context = multiprocessing.get_context("spawn")
    barrier, won = context.Barrier(2), context.Queue()
    processes = [context.Process(target=create_all, args=(shared, mine, barrier, won)) for mine in (b"one", b"two")]
    for process in processes:
        process.start()
    names = [name for _ in processes for name in won.get(timeout=60)]
    for process in processes:
        process.join()
    assert sorted(names) == sorted(map(str, range(20)))


@pytest.mark.parametrize("where", ["here", "./here", "file://{}/here"])
def test_a_folder_can_be_named_in_several_ways(tmp_path, monkeypatch, where):
    monkeypatch.chdir(tmp_path)
    assert open_storage(where.format(tmp_path)).where == str(tmp_path / "here")


def test_an_error_that_may_pass_is_no_absence(tmp_path, monkeypatch):
    storage = open_storage(f"memory://bucket/{tmp_path.name}")
    storage.write("file", b"")
    info, failures = storage._fs.info, [OSError(errno.EIO, "busy"), RuntimeError("the client's own")]

    def shaky(path: str, **options: object) -> object:
        if failures:
            raise failures.pop()
        return info(path, **options)

    monkeypatch.setattr(storage._fs, "info", shaky)
    assert storage.exists("file")
    assert not failures


def test_what_a_server_cant_do_isnt_asked_for_again(tmp_path, monkeypatch):
    storage = open_storage(f"memory://bucket/{tmp_path.name}")

    def unable(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSYS, "a header implies functionality that is not implemented")

    monkeypatch.setattr(storage._fs, "pipe_file", unable)
    storage.patience = 0.3
    with pytest.raises(OSError, match="not implemented") as caught:
        storage.create("file", b"")
    assert not isinstance(caught.value, StorageError), "which says that it doesn't answer"


def test_an_unknown_kind_of_url_lists_what_is_expected():
    with pytest.raises(ConfigError, match=r"'nothing://here'; expected a folder, s3://BUCKET/\.\.\. or gs://BUCKET"):
        open_storage("nothing://here")


@pytest.mark.parametrize(("url", "package"), [("s3://bucket/store", "s3fs"), ("gs://bucket/store", "gcsfs")])
def test_a_missing_package_is_named_with_how_to_install_it(monkeypatch, url, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(_registry, url.partition(":")[0], raising=False)
    with pytest.raises(ConfigError, match=f"{url}', which needs another package .*: pip install '{package}>=.*'$"):
        open_storage(url)


class NoCredentialsError(Exception):
    """The error of a cloud's client without credentials."""


class WithoutCredentials:
    def info(self, key: str) -> None:
        raise NoCredentialsError("Unable to locate credentials")


def test_missing_credentials_are_said_at_once() -> None:
    storage = BucketStorage("s3://bucket/store", WithoutCredentials(), "bucket/store")
    with pytest.raises(NoCredentialsError):
        storage.exists("file")
