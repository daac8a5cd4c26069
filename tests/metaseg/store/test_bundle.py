"""A bundle is a storage that can only be read, and nothing that it claims is believed."""

import contextlib
import hashlib
import io
import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from metaseg.config import ConfigError
from metaseg.schema import BUNDLE, BUNDLE_VERSION
from metaseg.store import bundle
from metaseg.store.bundle import BundleError, BundleStorage, pack
from metaseg.store.memory import MemoryStorage
from metaseg.store.storage import open_storage
from storage_operations import ALL_OPERATIONS

FILES = {"runs/a/DONE": b"done", "runs/a/images.parquet": b"\x00" * 5000, "runs/b/x": b"", "studies/ä b.json": b"{}"}


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def zipped(path: Path, entries: list[tuple[zipfile.ZipInfo | str, bytes]], **manifest: object) -> Path:
    """A ZIP file whose list of files says of its entries what is true, but for what `manifest` says instead."""
    names = [(entry if isinstance(entry, str) else entry.filename, content) for entry, content in entries]
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in names}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(BUNDLE, json.dumps({"schema": BUNDLE_VERSION, "files": sums} | manifest))
        for entry, content in entries:
            archive.writestr(entry, content)
    return write(path, buffer.getvalue())


def test_a_bundle_answers_as_a_store_with_the_same_files_does(tmp_path):
    found = open_storage(str(write(tmp_path / "one.zip", pack(FILES, {"study": "ä"}))))
    expected = MemoryStorage(FILES)
    assert isinstance(found, BundleStorage)
    assert found.about["study"] == "ä"
    folders = ["runs", "runs/a", "runs/b", "studies", "absent", "runs/a/DONE"]
    for folder in folders:
        assert found.names(folder) == expected.names(folder), folder
        assert found.files(folder) == expected.files(folder)
        assert found.subfolders_with(folder, "DONE") == expected.subfolders_with(folder, "DONE")
    for name in [*FILES, "runs", "runs/a/absent"]:
        assert found.exists(name) == expected.exists(name), name
        assert found.read_or_none(name) == expected.read_or_none(name)
    assert found.names("") == [BUNDLE, "runs", "studies"]
    for name in ("runs/../runs/a/DONE", "/etc/passwd", ""):
        with pytest.raises((ConfigError, FileNotFoundError)):
            found.read(name)


@pytest.mark.parametrize("operation", ["write", "create", "publish", "delete", "delete_folder"])
def test_nothing_writes_to_a_bundle(operation, tmp_path):
    path = write(tmp_path / "one.zip", pack(FILES, {}))
    before = path.read_bytes()
    with pytest.raises(BundleError, match="can only be read"):
        ALL_OPERATIONS[operation][0](BundleStorage(path))
    with pytest.raises(BundleError, match="can only be read"):
        BundleStorage(path).require_writable()
    assert path.read_bytes() == before


def test_the_same_files_are_the_same_bytes_in_any_order():
    assert pack(FILES, {"a": 1}) == pack(dict(reversed(FILES.items())), {"a": 1})


def link(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "leads out": (lambda path: zipped(path, [("../evil", b"")]), "expected names of files within it"),
    "leads out later": (lambda path: zipped(path, [("runs/../../evil", b"")]), "within it"),
    "absolute": (lambda path: zipped(path, [("/etc/evil", b"")]), "within it"),
    "of windows": (lambda path: zipped(path, [("C:\\evil", b"")]), "within it"),
    "folder": (lambda path: zipped(path, [("runs/", b"")]), "within it"),
    "link": (lambda path: zipped(path, [(link("runs/a"), b"/etc/passwd")]), "is a link"),
    "unlisted": (lambda path: zipped(path, [("runs/a", b"")], files={}), "does not list"),
    "absent": (lambda path: zipped(path, [], files={"runs/a": "0"}), "lacks 'runs/a'"),
    "newer": (lambda path: zipped(path, [], schema=99), "bundle of version 99"),
    "no list": (lambda path: zipped(path, [], files=[]), "isn't a JSON object with files"),
    "no zip": (lambda path: write(path, b"image,f1\n"), "not a ZIP file"),
    "cut": (lambda path: write(path, pack(FILES, {})[:-40]), "not a ZIP file"),
    "empty": (lambda path: write(path, b""), "not a ZIP file"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_isnt_a_bundle_is_refused_before_anything_is_read(kind, tmp_path):
    make, message = HOSTILE[kind]
    with pytest.raises(BundleError, match=message):
        open_storage(str(make(tmp_path / "bad.zip")))
    assert [path.name for path in tmp_path.iterdir()] == ["bad.zip"]


def test_a_zip_of_something_else_is_no_bundle(tmp_path):
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("table.csv", "image,f1")
    with pytest.raises(BundleError, match=f"no {BUNDLE}; `metaseg bundle` makes one"):
        open_storage(str(tmp_path / "other.zip"))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name_are_refused(tmp_path):
    with pytest.raises(BundleError, match="twice"):
        BundleStorage(zipped(tmp_path / "bad.zip", [("runs/a", b"1"), ("runs/a", b"2")]))


def test_a_bundle_that_would_unpack_to_too_much_is_refused_unread(tmp_path, monkeypatch):
    path = zipped(tmp_path / "bomb.zip", [(f"runs/{number}", b"\0" * 10**6) for number in range(5)])
    assert path.stat().st_size < 10**5
    monkeypatch.setattr(bundle, "MOST_BYTES", 4 * 10**6)
    with pytest.raises(BundleError, match=r"would unpack to 5,000,\d+ bytes"):
        BundleStorage(path)
    monkeypatch.setattr(bundle, "MOST_FILES", 3)
    with pytest.raises(BundleError, match="6 files"):
        BundleStorage(path)


def test_a_file_that_was_changed_is_refused_when_it_is_read(tmp_path):
    wrong = {"runs/a": hashlib.sha256(b"other").hexdigest()}
    storage = BundleStorage(zipped(tmp_path / "bad.zip", [("runs/a", b"counts")], files=wrong))
    with pytest.raises(BundleError, match="has been changed or damaged"):
        storage.read("runs/a")


def test_a_bit_that_turns_is_noticed_wherever_it_is(tmp_path):
    whole = pack({"runs/a": bytes(range(256)) * 4}, {})
    for place in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path = write(tmp_path / "bad.zip", bytes(damaged))
        with contextlib.suppress(BundleError, FileNotFoundError):
            assert BundleStorage(path).read("runs/a") == bytes(range(256)) * 4
