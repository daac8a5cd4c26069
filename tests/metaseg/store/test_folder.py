"""A store's folder whose disk is full or gone, or whose process is killed."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from metaseg.store.claims import Claimant
from metaseg.store.folder import NO_LINKS, FolderStorage
from metaseg.store.storage import StorageError
from storage_operations import ALL_OPERATIONS

WRITER = """
import sys
from metaseg.store.storage import open_storage
storage = open_storage(sys.argv[1])
for turn in range(1_000_000):
    storage.write("file", bytes([turn % 2]) * 1_000_000)
"""


def test_a_reader_sees_whole_files_while_they_are_replaced_and_after_the_writer_is_killed(tmp_path):
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)])
    storage = FolderStorage(tmp_path)
    try:
        deadline = time.monotonic() + 20
        while not storage.exists("file") and time.monotonic() < deadline:
            time.sleep(0.01)
        for _ in range(100):
            assert storage.read("file") in (b"\x00" * 1_000_000, b"\x01" * 1_000_000)
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert storage.read("file") in (b"\x00" * 1_000_000, b"\x01" * 1_000_000)
    assert storage.names("") == ["file"]


class Killed(BaseException):
    """An exception that nothing catches."""


@pytest.mark.parametrize("step", ["metaseg.store.folder.os.fsync", "metaseg.store.folder.os.replace"])
def test_a_death_while_writing_leaves_the_old_file(tmp_path, monkeypatch, step):
    storage = FolderStorage(tmp_path)
    storage.write("folder/file", b"old")

    def die(*arguments: object, **options: object) -> None:
        raise Killed

    monkeypatch.setattr(step, die)
    monkeypatch.setattr(Path, "unlink", die)  # the dead don't tidy up
    with pytest.raises(Killed):
        storage.write("folder/file", b"new")
    with pytest.raises(Killed):
        storage.write("folder/other", b"new")
    assert storage.read("folder/file") == b"old"
    assert storage.names("folder") == ["file"]


def test_a_full_disk_is_said_at_once_and_leaves_nothing(tmp_path, monkeypatch):
    storage = FolderStorage(tmp_path)
    storage.write("file", b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("metaseg.store.folder.os.fsync", full)
    for write in (storage.write, storage.create):
        with pytest.raises(StorageError, match=f"{tmp_path} is full: No space left on device") as caught:
            write("other", b"new")
        assert caught.value.errno == errno.ENOSPC
    with pytest.raises(StorageError, match="is full"):
        storage.publish("runs/a", {"DONE": b""}, last="DONE")
    assert storage.read("file") == b"old"
    assert [path.name for path in tmp_path.rglob("*")] == ["file", "runs"]


def mounted(folder: Path, script: str) -> str:
    """Run Python on a disk of 1 MB at `folder`; the mount is seen by that process only, and ends with it."""
    mount = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=1m tmpfs "$0" && exec "$@"', str(folder)]
    if shutil.which("unshare") is None or subprocess.run([*mount, "true"], capture_output=True).returncode:
        pytest.skip("no permission to mount a disk")
    command = [*mount, sys.executable, "-c", f"from metaseg.store.storage import *\n{script}", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


FILL = """
import sys
storage = open_storage(sys.argv[1])
storage.write("file", b"old" * 100_000)
try:
    storage.write("file", b"new" * 300_000)
except StorageError as error:
    print(error)
assert storage.read("file") == b"old" * 100_000
assert [path.name for path in storage.root.iterdir()] == ["file"]
storage.write("small", b"there is room for this")
"""


def test_a_disk_that_is_really_full_keeps_what_was_there(tmp_path):
    assert mounted(tmp_path, FILL) == f"[Errno 28] {tmp_path} is full: No space left on device\n"


UNMOUNT = """
import subprocess, sys
storage = open_storage(sys.argv[1])
storage.patience = 0.3
subprocess.run(["umount", "--lazy", sys.argv[1]], check=True)
for operation in (storage.read, storage.exists, storage.delete, lambda name: storage.write(name, b"new")):
    try:
        print(operation("file"))
    except StorageError as error:
        print("unmounted" in str(error))
assert not list(storage.root.iterdir())
"""


def test_nothing_is_written_below_the_mount_point_of_a_disk_that_is_gone(tmp_path):
    """Nor is a file there taken for missing, though nothing had been written before."""
    assert mounted(tmp_path, UNMOUNT) == "True\n" * 4


@pytest.mark.parametrize("name", ALL_OPERATIONS)
def test_a_folder_that_vanishes_and_comes_back_is_waited_for(tmp_path, name):
    root, away = tmp_path / "store", tmp_path / "away"
    operation, expected = ALL_OPERATIONS[name]
    storage = FolderStorage(root)
    storage.patience = 30
    storage.write("runs/a/DONE", b"done")
    root.rename(away)
    seen: list[bool] = []

    def come_back() -> None:
        seen.append(root.exists())
        away.rename(root)

    timer = threading.Timer(0.3, come_back)
    timer.start()
    assert operation(storage) == expected
    timer.join()
    assert seen == [False], "nothing was made in its place"
    assert storage.exists("runs/a/DONE") == (not name.startswith("delete"))


@pytest.mark.parametrize("name", ALL_OPERATIONS)
def test_a_folder_that_stays_away_is_an_error_and_isnt_made_anew(tmp_path, name):
    root = tmp_path / "store"
    storage = FolderStorage(root)
    storage.patience = 0.2
    storage.write("runs/a/DONE", b"done")
    root.rename(tmp_path / "away")
    with pytest.raises(StorageError, match=f"{root} doesn't answer: .* is gone"):
        ALL_OPERATIONS[name][0](storage)
    assert not root.exists()


def test_a_folder_that_vanishes_in_the_middle_of_a_writing_is_waited_for(tmp_path, monkeypatch):
    root, away = tmp_path / "store", tmp_path / "away"
    storage = FolderStorage(root)
    storage.patience = 30
    storage.write("file", b"old")
    fsync = os.fsync

    def vanish(descriptor: int) -> None:
        monkeypatch.setattr("metaseg.store.folder.os.fsync", fsync)
        root.rename(away)
        threading.Timer(0.2, away.rename, (root,)).start()

    monkeypatch.setattr("metaseg.store.folder.os.fsync", vanish)
    storage.write("file", b"new")
    assert storage.read("file") == b"new"


def test_a_folder_that_vanishes_right_after_a_look_at_it_isnt_made_anew(tmp_path, monkeypatch):
    root, away = tmp_path / "store", tmp_path / "away"
    storage = FolderStorage(root)
    storage.patience = 30
    storage.write("file", b"old")
    make = storage._make_folder

    def vanish(folder: Path) -> None:
        monkeypatch.setattr(storage, "_make_folder", make)
        root.rename(away)
        threading.Timer(0.2, away.rename, (root,)).start()
        make(folder)

    monkeypatch.setattr(storage, "_make_folder", vanish)
    storage.write("new/file", b"new")
    assert [storage.read(name) for name in ("file", "new/file")] == [b"old", b"new"]


def test_a_folder_is_made_by_the_first_writing_and_by_no_reading(tmp_path):
    storage = FolderStorage(tmp_path / "new" / "store")
    assert storage.names("") == []
    assert not storage.exists("file")
    assert storage.read_or_none("file") is None
    assert not (tmp_path / "new").exists()
    storage.write("file", b"")
    assert storage.names("") == ["file"]


@pytest.mark.parametrize("code", sorted(NO_LINKS))
def test_without_hard_links_a_file_is_created_by_one_caller_only(tmp_path, monkeypatch, code):
    def refuse(*_: object) -> None:
        raise OSError(code, "no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    storage = FolderStorage(tmp_path)
    assert storage.create("claims/a.1", b"one")
    assert not storage.create("claims/a.1", b"two")
    assert storage.read("claims/a.1") == b"one"
    assert os.listdir(tmp_path / "claims") == ["a.1"], "nothing temporary is left"
    with Claimant(storage) as first, Claimant(storage) as second:
        assert first.claim("b")
        assert not second.claim("b")


def test_without_hard_links_a_file_that_cant_be_written_isnt_there(tmp_path, monkeypatch):
    storage = FolderStorage(tmp_path)
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no")))
    flush, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 2:  # the first is the temporary file's
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="is full"):
        storage.create("claims/a.1", b"one")
    assert not storage.exists("claims/a.1")


READ_ONLY = """
import subprocess, sys
from metaseg.cli.process import open_store
subprocess.run(["mount", "-o", "remount,ro", sys.argv[1]], check=True)
for where in (sys.argv[1], sys.argv[1] + "/new/store"):
    try:
        open_store(where)
    except ValueError as error:
        print(error)
print(open_storage(sys.argv[1]).names(""), "can be read")
"""


def test_a_store_that_cant_be_written_to_is_refused_before_anything_is_made(tmp_path):
    lines = mounted(tmp_path, READ_ONLY).splitlines()
    assert [f"but {tmp_path} can't be written to" in line for line in lines] == [True, True, False]
    assert lines[2] == "[] can be read"
