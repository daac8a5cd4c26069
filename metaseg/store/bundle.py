"""A bundle: a study without pixels and paths in one file, which is read where it is, as a store that can't be changed.

It comes from others: nothing in it is unpacked to a disk, and names, sizes and checksums are checked before anything
is used.
"""

import errno
import hashlib
import io
import json
import stat
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from metaseg.config import ConfigError
from metaseg.schema import BUNDLE, BUNDLE_VERSION
from metaseg.store.memory import children, subfolders_with
from metaseg.store.storage import Storage, Stored

MOST_FILES = 200_000
MOST_BYTES = 2**31
"""Limits of a bundle, unpacked: a small file can claim to hold far more than memory does."""

MOST_MANIFEST = 2**26
"""Limit of its list of files, in bytes."""

FIRST_DAY = (1980, 1, 1, 0, 0, 0)
"""Time stamp of all its files: the same study gives the same bytes."""

UNREADABLE = (OSError, ValueError, RuntimeError, NotImplementedError, EOFError, zipfile.BadZipFile, zlib.error)
"""Errors that damaged or foreign ZIP files raise."""


class BundleError(ConfigError):
    """A file that isn't a bundle, is damaged, or has been tampered with; or something tried to write to one."""


class BundleStorage(Storage):
    """The files of a bundle, by the names that a store has for them.

    Args:
        path: of the .zip file.

    Raises:
        BundleError: it isn't a bundle, of another version, too large, or holds what its list of files doesn't name.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._archive = zipfile.ZipFile(path)
            self._entries = self._checked(self._archive.infolist())
        except BundleError:
            raise
        except UNREADABLE as error:
            raise BundleError(f"{path}: not a ZIP file, or damaged: {error}") from None
        self.about = self._about()
        """The content of `bundle.json`."""
        self._sums = self._checksums()

    @property
    def where(self) -> str:
        """The file's path."""
        return str(self._path)

    def require_writable(self) -> None:
        """Raises `BundleError`."""
        self._refuse()

    def publish(self, folder: str, files: Mapping[str, bytes], last: str) -> None:
        """Raises `BundleError`, as do all that write."""
        self._refuse()

    def subfolders_with(self, folder: str, name: str) -> set[str]:
        """See `Storage`."""
        return subfolders_with(self._entries, self.inside(folder), name)

    def _checked(self, entries: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
        """Its files by name; raises `BundleError` for names that lead elsewhere, and for what is too much."""
        if len(entries) > MOST_FILES or (total := sum(entry.file_size for entry in entries)) > MOST_BYTES:
            much = f"{len(entries):,} files" if len(entries) > MOST_FILES else f"{total:,} bytes"
            raise BundleError(f"{self._path}: would unpack to {much}; expected at most {MOST_FILES:,} files and 2 GiB")
        found: dict[str, zipfile.ZipInfo] = {}
        for entry in entries:
            name = entry.orig_filename
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if {"", ".", ".."} & set(name.split("/")) or any(sign in name for sign in "\\\0:"):
                raise BundleError(f"{self._path}: holds {name!r:.80}; expected names of files within it")
            if name in found:
                raise BundleError(f"{self._path}: holds {name!r:.80} twice")
            if kind not in (0, stat.S_IFREG) or entry.flag_bits & 1:
                raise BundleError(f"{self._path}: {name!r:.80} is a link or encrypted; expected a plain file")
            found[name] = entry
        return found

    def _about(self) -> dict[str, Any]:
        if BUNDLE not in self._entries or self._entries[BUNDLE].file_size > MOST_MANIFEST:
            raise BundleError(f"{self._path}: not a bundle: no {BUNDLE}; `metaseg bundle` makes one")
        try:
            about = json.loads(self._unpacked(BUNDLE))
        except (ValueError, RecursionError):
            about = None
        version = about.get("schema") if isinstance(about, dict) else None
        if not isinstance(about, dict) or not isinstance(about.get("files"), dict):
            raise BundleError(f"{self._path}: {BUNDLE} isn't a JSON object with files; expected what metaseg wrote")
        if version != BUNDLE_VERSION:
            raise BundleError(
                f"{self._path}: bundle of version {version!r:.20}; this program reads {BUNDLE_VERSION}: update it"
            )
        return about

    def _checksums(self) -> dict[str, str]:
        listed: dict[str, str] = self.about["files"]
        if differing := sorted(listed.keys() ^ (self._entries.keys() - {BUNDLE})):
            is_there = differing[0] in self._entries
            wrong = f"holds {differing[0]!r:.80}, which" if is_there else f"lacks {differing[0]!r:.80}, which"
            raise BundleError(f"{self._path}: {wrong} {BUNDLE} {'does not list' if is_there else 'lists'}")
        return listed

    def _unpacked(self, name: str) -> bytes:
        try:
            with self._archive.open(self._entries[name]) as file:
                return file.read(self._entries[name].file_size)
        except UNREADABLE as error:
            raise BundleError(f"{self.locate(name)}: damaged: {error}") from None

    def _read(self, name: str) -> bytes:
        self._require_file(name)
        content = self._unpacked(name)
        if name != BUNDLE and (found := hashlib.sha256(content).hexdigest()) != self._sums[name]:
            raise BundleError(
                f"{self.locate(name)}: its SHA-256 is {found}, {BUNDLE} says {self._sums[name]!s:.64}: the bundle has "
                "been changed or damaged; get it again"
            )
        return content

    def _require_file(self, name: str) -> None:
        if self.inside(name) not in self._entries:
            raise FileNotFoundError(errno.ENOENT, "no such file in the bundle", self.locate(name))

    def _names(self, folder: str) -> list[str]:
        return children(self._entries, self.inside(folder))

    def _files(self, folder: str) -> dict[str, Stored]:
        prefix = f"{self.inside(folder)}/" if folder else ""
        files = {name: entry for name, entry in self._entries.items() if name.startswith(prefix)}
        return {name.removeprefix(prefix): Stored(entry.file_size, None) for name, entry in files.items()}

    def _write(self, name: str, content: bytes) -> None:
        self._refuse()

    def _create(self, name: str, content: bytes) -> None:
        self._refuse()

    def _delete(self, name: str) -> None:
        self._refuse()

    def _delete_folder(self, name: str) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise BundleError(
            f"{self._path} is a bundle, which can only be read; expected a folder or a bucket to write to"
        )

    def _is_transient(self, error: Exception) -> bool:
        return False


def pack(files: Mapping[str, bytes], about: Mapping[str, Any]) -> bytes:
    """The bytes of a bundle.

    Args:
        files: content by name, as in a store.
        about: what its `bundle.json` says besides the layout's version and the files' checksums.
    """
    sums = {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)}
    manifest = {"schema": BUNDLE_VERSION, **about, "files": sums}
    contents = {BUNDLE: (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode(), **files}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in [BUNDLE, *sums]:
            entry = zipfile.ZipInfo(name, FIRST_DAY)
            entry.compress_type, entry.create_system = zipfile.ZIP_DEFLATED, 3
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, contents[name])
    return buffer.getvalue()
