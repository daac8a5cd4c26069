"""One filesystem for folders and buckets: whole files in, whole files out, and a `create` that only one caller wins.

`fsspec` reaches buckets (`metaseg.store.bucket`). A folder has its own class (`metaseg.store.folder`), since fsspec
neither flushes nor renames there.
"""

import contextlib
import errno
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from metaseg.config import ConfigError
from metaseg.store.address import archive_file, local_folder

Result = TypeVar("Result")

FULL = {errno.ENOSPC, errno.EDQUOT}
FINAL = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)
"""Errors that a retry doesn't change."""


class OutsideError(ConfigError):
    """A symbolic link that others have left leads out of the storage: no file of ours is there."""


ABSENT = (FileNotFoundError, NotADirectoryError, OutsideError)
"""Errors that mean that a file is missing, or that a file or link of others is in the place of its folder."""

UNREADABLE = (IsADirectoryError, PermissionError)
"""Errors that mean that others have put something in a file's place: a folder, another user's file."""

PATIENCE_SECONDS = 600.0
"""Time for which an operation is retried while the storage doesn't answer."""


@dataclass(frozen=True)
class Stored:
    """A file as a listing tells of it."""

    size: int
    """In bytes."""
    modified: float | None
    """Seconds since 1970 at which it was written, by the storage's clock; None where the storage doesn't say."""


class StorageError(OSError):
    """The storage is full or can't be reached: no run can go on until that is fixed."""


class Storage(ABC):
    """Files by name, with `/` between folders. A file is there whole or not at all.

    Operations are retried for `patience` seconds while the storage doesn't answer; after that, or if it is full, they
    raise `StorageError`.
    """

    patience = PATIENCE_SECONDS

    @property
    @abstractmethod
    def where(self) -> str:
        """The storage's absolute path or URL."""

    def locate(self, name: str) -> str:
        """The path or URL of a file, for messages."""
        return f"{self.where}/{name}"

    def inside(self, name: str) -> str:
        """Check and return the name of a file or folder within the storage; empty for the storage itself.

        Raises:
            ConfigError: the name is absolute, or leads out of the storage.
        """
        if name and ("\0" in name or {"", ".", ".."} & set(name.split("/"))):
            raise ConfigError(f"{name!r} isn't a file's name within {self.where}; expected one without '..' and '//'")
        return name

    def require_writable(self) -> None:  # noqa: B027 (most storages only know once they have written)
        """Raise a `ConfigError` if it is known that nothing can be written here, before anything is."""

    def read(self, name: str) -> bytes:
        """Read a file; raises `FileNotFoundError` if there is none."""
        return self._retry(lambda: self._read(name))

    def write(self, name: str, content: bytes, patience: float | None = None) -> None:
        """Write or replace a file; `patience`, in seconds, overrides the storage's."""
        self._retry(lambda: self._write(name, content), patience)

    def create(self, name: str, content: bytes) -> bool:
        """Write a file that isn't there yet. If several processes try at once, on any machines, exactly one gets True.

        On a disk without hard links, a reader may see the file before its content, and keeps seeing it empty if the
        writer is killed.
        """
        try:
            self._retry(lambda: self._create(name, content))
        except FileExistsError:
            # When a server's answer is lost, the retry finds the file that the first request made: contents are unique.
            return self.read_foreign(name) == content
        return True

    def exists(self, name: str) -> bool:
        """Return True if a file is there."""
        try:
            self._retry(lambda: self._require_file(name))
        except ABSENT:
            return False
        return True

    def names(self, folder: str) -> list[str]:
        """Names of the files and folders directly in `folder`, sorted; empty if it isn't there."""
        try:
            return self._retry(lambda: sorted(self._names(folder)))
        except ABSENT:
            return []

    def files(self, folder: str) -> dict[str, Stored]:
        """All files in `folder`, at any depth, by their path in it; empty if it isn't there.

        Half-written files, which `names` passes over, are among them. Symbolic links aren't.
        """
        try:
            return self._retry(lambda: dict(sorted(self._files(folder).items())))
        except ABSENT:
            return {}

    def delete(self, name: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(*ABSENT):
            self._retry(lambda: self._delete(name))

    def delete_folder(self, name: str) -> None:
        """Remove a folder and everything in it, if it is there."""
        with contextlib.suppress(*ABSENT):
            self._retry(lambda: self._delete_folder(name))

    def read_or_none(self, name: str) -> bytes | None:
        """Read a file, or return None if there is none."""
        try:
            return self.read(name)
        except ABSENT:
            return None

    def read_foreign(self, name: str) -> bytes | None:
        """Read a file in a folder where others leave files too; None if it is missing or can't be read."""
        try:
            return self.read_or_none(name)
        except UNREADABLE:
            return None

    @abstractmethod
    def publish(self, folder: str, files: Mapping[str, bytes], last: str) -> None:
        """Write the files of a folder, `last` at the end. A folder that has `last` already stays as it is."""

    @abstractmethod
    def subfolders_with(self, folder: str, name: str) -> set[str]:
        """Names of the folders directly in `folder` that hold a file called `name`, found by a listing."""

    @abstractmethod
    def _read(self, name: str) -> bytes: ...

    @abstractmethod
    def _write(self, name: str, content: bytes) -> None: ...

    @abstractmethod
    def _create(self, name: str, content: bytes) -> None: ...

    @abstractmethod
    def _require_file(self, name: str) -> None:
        """Raise `FileNotFoundError` if there is no such file."""

    @abstractmethod
    def _names(self, folder: str) -> list[str]: ...

    @abstractmethod
    def _files(self, folder: str) -> dict[str, Stored]: ...

    @abstractmethod
    def _delete(self, name: str) -> None: ...

    @abstractmethod
    def _delete_folder(self, name: str) -> None: ...

    @abstractmethod
    def _is_transient(self, error: Exception) -> bool:
        """Return True if the operation may succeed when it is retried."""

    def _retry(self, operation: Callable[[], Result], patience: float | None = None) -> Result:
        deadline = time.monotonic() + (self.patience if patience is None else patience)
        pause = 0.1
        while True:
            try:
                return operation()
            except FINAL:
                raise
            except Exception as error:
                if isinstance(error, OSError) and error.errno in FULL:
                    raise StorageError(error.errno, f"{self.where} is full: {error.strerror}") from error
                if not self._is_transient(error):
                    raise
                if time.monotonic() + pause > deadline:
                    reason = f"{type(error).__name__}: {first_line(error)}"
                    raise StorageError(f"{self.where} doesn't answer: {reason}") from error
            time.sleep(pause)
            pause = min(2 * pause, 10.0)


def open_storage(where: str) -> Storage:
    """Open the storage at a path (`~` and relative paths are resolved) or a URL, such as `s3://bucket/prefix`.

    A file called .zip that `metaseg bundle` made is a storage, too, which can only be read.

    Raises:
        ConfigError: the kind of URL is unknown, it holds credentials, it needs a package that isn't installed, or its
            bucket doesn't exist or can't be listed; the path is of something else than a folder or of an unknown user;
            a .zip file isn't a bundle, or is damaged.
        StorageError: the server doesn't answer.
    """
    # Only now: all kinds of storage are made of what is above.
    if (file := archive_file(where)) is not None:
        from metaseg.store.bundle import BundleStorage

        return BundleStorage(file)
    folder = local_folder(where)
    if folder is None:
        from metaseg.store.bucket import open_bucket

        return open_bucket(where)
    from metaseg.store.folder import FolderStorage

    return FolderStorage(folder)


def first_line(error: Exception) -> str:
    """The first line of an error's message."""
    return (str(error).strip().splitlines() or [""])[0]
