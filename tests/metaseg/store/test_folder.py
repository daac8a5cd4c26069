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

from metaseg.config import ConfigError
from metaseg.store.claims import Claimant
from metaseg.store.folder import NO_LINKS, FolderStorage
from metaseg.store.storage import OutsideError, StorageError, open_storage
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
    """What nothing catches."""


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


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("s3:/bucket/x", r"did you mean s3://bucket/x\? Expected a folder"),
        ("s3//bucket/x", r"did you mean s3://bucket/x\?"),
        ("gs:bucket", r"did you mean gs://bucket\?"),
        ("~nobody-here/x", "expected a folder's path"),
        ("s3a:\\\\bucket", r"did you mean s3a://bucket\?"),
        ("S3:/bucket", r"did you mean s3://bucket\?"),
        ("file:/x", r"did you mean file:///x\?"),
        ("file://x/y", "expected file:///FOLDER, with three slashes"),
        ("foo:/x", r"did you mean foo://x\?"),
        ("C:\\data", "expected a folder, s3"),
        ("me@host:/data", "expected a folder, s3"),
        ("s3:///x", "names no bucket"),
        ("http://host/x", "expected a folder, s3"),
        ("github://x", "expected a folder, s3"),
        ("://x", "expected a folder, s3"),
        ("", "without control characters or spaces"),
        (" /x", "without control characters or spaces"),
        ("a\0b", "without control characters or spaces"),
        ("a\nb", "without control characters or spaces"),
        ("\udcff", "without control characters or spaces"),
        ("x" * 5000, "expected a folder's path"),
        ("foo://bucket/x", "expected a folder, s3://BUCKET"),
        (__file__, "is a file; expected a folder"),
        (f"{__file__}/below", "is a file; expected a folder"),
    ],
)
def test_an_address_that_cant_be_meant_is_refused_before_anything_is_made(tmp_path, monkeypatch, where, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        open_storage(where)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "where",
    [
        "s3://AKIAKEY:hunter2@bucket/x",
        "s3://bucket/x?X-Amz-Signature=hunter2",
        "s3://AKIAKEY:hun/ter2+hunter2@bucket/x",
        "s3://AKIAKEY:hun?hunter2@bucket/x",
        "ftp://AKIAKEY:hunter2@host:21/x?sig=hunter2",
        "foo://me:hunter2@host",
        "gs://hunter2@b",
    ],
)
def test_credentials_in_an_address_are_refused_and_not_repeated(where):
    with pytest.raises(ConfigError, match="credentials or a query in its address") as caught:
        open_storage(where)
    assert "hunter2" not in str(caught.value)
    assert "AKIAKEY" not in str(caught.value)


@pytest.mark.parametrize(
    "where", ["s3:/AKIAKEY:hunter2@bucket/x", "AKIAKEY:/hunter2@bucket", " s3://AKIAKEY:hunter2@b"]
)
def test_an_address_that_is_mistyped_too_doesnt_repeat_credentials(where):
    with pytest.raises(ConfigError, match="storage is") as caught:
        open_storage(where)
    assert "hunter2" not in str(caught.value)


def test_a_users_home_that_isnt_there_is_no_place_for_a_store(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "expanduser", lambda path: tmp_path / "gone")
    with pytest.raises(ConfigError, match="the home of ~nobody, isn't there"):
        open_storage("~nobody/x")
    assert os.listdir(tmp_path) == []


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


OUTSIDE = ["../x", "a/../../x", "/etc/passwd", "a//b", "a/./b", "a\0b", "link/x", "inner/link/x"]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("operation", ["read", "exists", "names", "write", "create", "delete", "delete_folder"])
def test_no_name_and_no_symbolic_link_leads_out_of_a_folder(tmp_path, name, operation):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x").write_text("secret")
    (tmp_path / "x").write_text("secret")
    (tmp_path / "store" / "inner").mkdir(parents=True)
    for link in ("link", "inner/link"):
        (tmp_path / "store" / link).symlink_to(tmp_path / "outside")
    call = getattr(FolderStorage(tmp_path / "store"), operation)
    if name.startswith("inner") and operation not in ("read", "write", "create"):
        assert not call(name), "what lies outside isn't there"
    else:
        with pytest.raises(ConfigError, match=r"within|leads out"):
            call(name, b"new") if operation in ("write", "create") else call(name)
    assert [(tmp_path / file).read_text() for file in ("x", "outside/x")] == ["secret", "secret"]


def test_a_link_that_leads_out_is_replaced_or_removed_and_never_followed(tmp_path):
    (tmp_path / "outside").write_text("secret")
    storage = FolderStorage(tmp_path / "store")
    storage.write("in/file", b"")
    for name in ("a", "b", "c"):
        (tmp_path / "store" / "in" / name).symlink_to(tmp_path / "outside")
    with pytest.raises(OutsideError, match="leads out"):
        storage.read("in/a")
    storage.write("in/a", b"new")
    assert not storage.create("in/b", b"new")
    storage.delete("in/c")
    assert (tmp_path / "outside").read_text() == "secret"
    assert storage.read("in/a") == b"new"
    assert storage.names("in") == ["a", "b", "file"]


def test_links_and_files_of_others_beside_runs_are_no_runs(tmp_path):
    storage = FolderStorage(tmp_path / "store")
    storage.publish("runs/a", {"DONE": b""}, last="DONE")
    (tmp_path / "DONE").write_bytes(b"")
    for name, target in (("out", tmp_path), ("broken", "nowhere"), ("circle", "circle")):
        (tmp_path / "store" / "runs" / name).symlink_to(target)
    (tmp_path / "store" / "runs" / "file").write_bytes(b"")
    assert storage.subfolders_with("runs", "DONE") == {"a"}


def test_a_link_in_the_place_of_all_runs_isnt_taken_for_no_runs(tmp_path):
    storage = FolderStorage(tmp_path / "store")
    storage.publish("runs/a", {"DONE": b""}, last="DONE")
    (tmp_path / "store" / "runs").rename(tmp_path / "runs")
    (tmp_path / "store" / "runs").symlink_to(tmp_path / "runs")
    with pytest.raises(
        ConfigError, match="runs is a symbolic link that leads out of the store; mount it there, or move"
    ):
        storage.subfolders_with("runs", "DONE")


def test_a_symbolic_link_within_a_folder_is_followed(tmp_path):
    storage = FolderStorage(tmp_path)
    storage.write("there/file", b"content")
    (tmp_path / "link").symlink_to("there")
    assert storage.read("link/file") == b"content"


def test_what_others_have_put_in_a_files_place_is_no_file_and_ends_nothing(tmp_path):
    storage = FolderStorage(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    assert not storage.exists("folder")
    assert not storage.create("folder", b"mine")
    assert (storage.read_or_none("file/x"), storage.exists("file/x"), storage.names("file")) == (None, False, [])
    storage.delete("file/x")
    storage.delete_folder("file/x")
    for write in (storage.write, storage.create):
        with pytest.raises(NotADirectoryError, match="expected a folder"):
            write("file/x", b"mine")


@pytest.mark.parametrize("obstacle", ["half of a copy", "an empty DONE's folder", "a file"])
def test_what_others_have_left_in_a_runs_place_makes_room_for_the_run(tmp_path, obstacle):
    storage, folder = FolderStorage(tmp_path), tmp_path / "runs" / "a"
    folder.parent.mkdir()
    if obstacle == "a file":
        folder.write_bytes(b"")
    else:
        (folder / ("DONE" if "DONE" in obstacle else "part")).mkdir(parents=True)
    storage.publish("runs/a", {"DONE": b"done", "rows": b"rows"}, last="DONE")
    assert storage.names("runs/a") == ["DONE", "rows"]
    storage.publish("runs/a", {"DONE": b"others", "rows": b"others"}, last="DONE")
    assert storage.read("runs/a/rows") == b"rows"
