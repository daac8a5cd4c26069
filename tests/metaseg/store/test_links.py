"""A store's folder with symbolic links and files of others in it: nothing leads out of it, and nothing is lost."""

import pytest

from metaseg.config import ConfigError
from metaseg.store.folder import FolderStorage
from metaseg.store.storage import OutsideError

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
