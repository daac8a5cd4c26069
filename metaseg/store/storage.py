"""One filesystem for folders and buckets: whole files in, whole files out, and a `create` that only one caller wins.

`fsspec` reaches buckets. A folder has its own class, since fsspec neither flushes nor renames there.
"""

import contextlib
import errno
import logging
import os
import shutil
import stat
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from metaseg.config import ConfigError
from metaseg.packages import Extra, install
from metaseg.store.address import EXPECTED, local_folder

Result = TypeVar("Result")

FULL = {errno.ENOSPC, errno.EDQUOT}
FINAL = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)
"""What asking again doesn't change."""


class OutsideError(ConfigError):
    """A symbolic link that others have left leads out of the storage: nothing of ours is there."""


ABSENT = (FileNotFoundError, NotADirectoryError, OutsideError)
"""Where a file is missing, or somebody's file or link is in the place of its folder."""

UNREADABLE = (IsADirectoryError, PermissionError)
"""What others may have put in a file's place: a folder, a file of another user's."""

PATIENCE_SECONDS = 600.0
"""For how long an operation is tried again while the storage doesn't answer."""

OPENING_SECONDS = 20.0
"""The same for the first one: whoever has mistyped an address isn't to wait for minutes."""

EXTRAS: dict[str, Extra] = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
"""Extras with the packages that fsspec needs for buckets."""

ONE_ATTEMPT = {"config_kwargs": {"retries": {"total_max_attempts": 1}}}
OPTIONS = {"s3": ONE_ATTEMPT, "s3a": ONE_ATTEMPT}
"""Else two clients, one on top of the other, ask again by themselves: 25 times, for minutes, whatever the patience."""


TAKEN = {errno.EEXIST, errno.ENOTDIR, errno.ENOTEMPTY}
"""What renaming a folder answers where something is in its place."""

NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.EINVAL}
"""What a disk without hard links answers: exFAT, Colab's Drive, some of the network."""


class StorageError(OSError):
    """The storage can't be written or reached, for whatever run: nothing can go on before that is mended."""


class Storage(ABC):
    """Files by name, `/` between folders. A file is there whole or not at all.

    Operations are tried again for `patience` seconds where the storage doesn't answer; then, or where it is full, they
    raise `StorageError`.
    """

    patience = PATIENCE_SECONDS

    @property
    @abstractmethod
    def where(self) -> str:
        """What a user calls it: an absolute path or a URL."""

    def locate(self, name: str) -> str:
        """What a user calls one of its files."""
        return f"{self.where}/{name}"

    def inside(self, name: str) -> str:
        """The name, where it is one of a file or folder within the storage; empty for the storage itself.

        Raises:
            ConfigError: it is absolute, or leads out.
        """
        if name and ("\0" in name or {"", ".", ".."} & set(name.split("/"))):
            raise ConfigError(f"{name!r} is no name of a file within {self.where}; expected one without '..' and '//'")
        return name

    def read(self, name: str) -> bytes:
        """A file's content; raises `FileNotFoundError` where there is none."""
        return self._patiently(lambda: self._read(name))

    def write(self, name: str, content: bytes, patience: float | None = None) -> None:
        """Write or replace a file."""
        self._patiently(lambda: self._write(name, content), patience)

    def create(self, name: str, content: bytes) -> bool:
        """Write a file that isn't there yet. Of all who try at once, on any machine, one gets True.

        On a disk without hard links, a reader may meet the file before its content, and after a death for ever.
        """
        try:
            self._patiently(lambda: self._create(name, content))
        except FileExistsError:
            # An answer that got lost is asked for again, and meets the file that it has made: contents are unique.
            return self.read_foreign(name) == content
        return True

    def exists(self, name: str) -> bool:
        """Whether a file is there."""
        try:
            self._patiently(lambda: self._look(name))
        except ABSENT:
            return False
        return True

    def names(self, folder: str) -> list[str]:
        """Names of the files and folders right in `folder`, sorted; none where it isn't there."""
        try:
            return self._patiently(lambda: sorted(self._names(folder)))
        except ABSENT:
            return []

    def delete(self, name: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(*ABSENT):
            self._patiently(lambda: self._delete(name))

    def delete_folder(self, name: str) -> None:
        """Remove a folder with all that is in it, if it is there."""
        with contextlib.suppress(*ABSENT):
            self._patiently(lambda: self._delete_folder(name))

    def read_or_none(self, name: str) -> bytes | None:
        """A file's content, or None where there is none."""
        try:
            return self.read(name)
        except ABSENT:
            return None

    def read_foreign(self, name: str) -> bytes | None:
        """A file's content, in a folder where others leave files too; None where there is none, or none for us."""
        try:
            return self.read_or_none(name)
        except UNREADABLE:
            return None

    @abstractmethod
    def publish(self, folder: str, files: Mapping[str, bytes], last: str) -> None:
        """Write a folder's files, `last` at the end. Does nothing to a folder that has `last` already."""

    @abstractmethod
    def subfolders_with(self, folder: str, name: str) -> set[str]:
        """Names of the folders right in `folder` that hold a file called `name`; at the price of a listing."""

    @abstractmethod
    def _read(self, name: str) -> bytes: ...

    @abstractmethod
    def _write(self, name: str, content: bytes) -> None: ...

    @abstractmethod
    def _create(self, name: str, content: bytes) -> None: ...

    @abstractmethod
    def _look(self, name: str) -> None:
        """Raise `FileNotFoundError` where it isn't there."""

    @abstractmethod
    def _names(self, folder: str) -> list[str]: ...

    @abstractmethod
    def _delete(self, name: str) -> None: ...

    @abstractmethod
    def _delete_folder(self, name: str) -> None: ...

    @abstractmethod
    def _passes(self, error: Exception) -> bool:
        """Whether the error may be gone if one asks again."""

    def _patiently(self, operation: Callable[[], Result], patience: float | None = None) -> Result:
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
                if not self._passes(error):
                    raise
                if time.monotonic() + pause > deadline:
                    reason = f"{type(error).__name__}: {_line(error)}"
                    raise StorageError(f"{self.where} doesn't answer: {reason}") from error
            time.sleep(pause)
            pause = min(2 * pause, 10.0)


class FolderStorage(Storage):
    """A folder, on a disk of this machine or of the network; `root` is absolute."""

    def __init__(self, root: Path) -> None:
        self.root = root
        # Known from the first, so that a first writing can't go astray.
        self._disk = root.stat().st_dev if root.exists() else None

    @property
    def where(self) -> str:
        """The root's path."""
        return str(self.root)

    def path(self, name: str) -> Path:
        """Where a file is; raises `ConfigError` where that would be outside, by a symbolic link `OutsideError`."""
        return self._unlinked(self._place(name), name)

    def _place(self, name: str) -> Path:
        """The same for what is made, replaced or removed there: it may be a link, which isn't followed then."""
        path = self.root / self.inside(name)
        self._unlinked(path.parent, name)
        return path

    def _unlinked(self, path: Path, name: str) -> Path:
        # Links are rare, and resolving each path would ask a network folder many times.
        within = [path, *path.parents][: len(path.parts) - len(self.root.parts)]
        if not any(map(os.path.islink, within)):
            return path
        real = Path(os.path.realpath(path))
        if not real.is_relative_to(os.path.realpath(self.root)) or any(
            map(os.path.islink, [real, *real.parents])
        ):  # or in a circle
            if os.path.islink(within[-1]):  # all runs, say, which mustn't be taken for missing
                raise ConfigError(
                    f"{within[-1]} is a symbolic link that leads out of the store; mount it there, or move it"
                )
            raise OutsideError(f"{name!r} leads out of {self.root} by a symbolic link; expected a file within it")
        return path

    def require_writable(self) -> None:
        """Raise a `ConfigError` where nothing can be written, before anything is."""
        there = next(part for part in (self.root, *self.root.parents) if part.exists())
        if not os.access(there, os.W_OK | os.X_OK):
            raise ConfigError(f"storage is {self.where!r}, but {there} can't be written to; expected a folder of yours")

    def publish(self, folder: str, files: Mapping[str, bytes], last: str) -> None:
        """The folder appears whole, by one renaming."""
        self._patiently(lambda: self._publish(self.path(folder), files, last))

    def subfolders_with(self, folder: str, name: str) -> set[str]:
        """See `Storage`."""
        return {subfolder for subfolder in self.names(folder) if self.exists(f"{folder}/{subfolder}/{name}")}

    def _patiently(self, operation: Callable[[], Result], patience: float | None = None) -> Result:
        def checked() -> Result:
            try:
                return operation()
            except FileNotFoundError:
                if self._disk is not None:
                    self._require_root()  # where all is gone, a file's absence means nothing
                raise

        return super()._patiently(checked, patience)

    def _publish(self, folder: Path, files: Mapping[str, bytes], last: str) -> None:
        self._require_root()
        temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
        try:
            self._make_folder(temporary)
            for name in [*(name for name in files if name != last), last]:
                _write_flushed(temporary / name, files[name])
            try:
                os.rename(temporary, folder)
            except OSError as error:
                if error.errno not in TAKEN or (folder / last).is_file():
                    raise
                # What others have left there, such as half of a copy, was never whole: it makes room.
                os.rename(folder, folder.with_name(f".{folder.name}.{uuid.uuid4().hex}"))
                os.rename(temporary, folder)
        except OSError:
            if not (folder / last).is_file():  # else another process was first
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _require_root(self) -> None:
        """A network folder that is gone, or whose bare mount point is left, mustn't be made anew on this disk."""
        if self._disk is None:
            self.root.mkdir(parents=True, exist_ok=True)
        try:
            disk = self.root.stat().st_dev
        except FileNotFoundError:
            raise OSError(errno.ESTALE, f"{self.root} is gone") from None
        if disk != (self._disk or disk):
            raise OSError(errno.ESTALE, f"{self.root} is on another disk than it was: has it been unmounted?")
        self._disk = disk

    def _make_folder(self, folder: Path) -> None:
        """Unlike `mkdir(parents=True)` it doesn't make the root, which may vanish at any time."""
        for part in reversed([folder, *folder.parents]):
            if part != self.root and part.is_relative_to(self.root):
                try:
                    part.mkdir(exist_ok=True)
                except FileExistsError:  # which would tell `create` that another was first
                    raise NotADirectoryError(errno.ENOTDIR, "is a file; expected a folder", str(part)) from None

    def _read(self, name: str) -> bytes:
        path = self.path(name)
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # a pipe would be waited for
            raise FileNotFoundError(errno.ENOENT, "no regular file", str(path))
        return path.read_bytes()

    def _write(self, name: str, content: bytes) -> None:
        temporary = self._temporary(name, content)
        try:
            os.replace(temporary, self._place(name))
        finally:
            temporary.unlink(missing_ok=True)

    def _create(self, name: str, content: bytes) -> None:
        temporary = self._temporary(name, content)
        try:
            os.link(temporary, self._place(name))  # fails where the name is taken, on network folders too
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            self._create_slowly(self._place(name), content)
        finally:
            temporary.unlink(missing_ok=True)

    def _create_slowly(self, path: Path, content: bytes) -> None:
        """Without hard links: one caller wins as surely, but a reader may meet the file before its content."""
        with path.open("xb") as file:
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            except BaseException:
                path.unlink(missing_ok=True)
                raise

    def _temporary(self, name: str, content: bytes) -> Path:
        self._require_root()
        path = self._place(name)
        self._make_folder(path.parent)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            _write_flushed(temporary, content)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return temporary

    def _look(self, name: str) -> None:
        if stat.S_ISDIR(self.path(name).stat().st_mode):
            raise FileNotFoundError(errno.ENOENT, "is a folder; expected a file", name)

    def _names(self, folder: str) -> list[str]:
        return [name for name in os.listdir(self.path(folder)) if not name.startswith(".")]

    def _delete(self, name: str) -> None:
        self._place(name).unlink()

    def _delete_folder(self, name: str) -> None:
        self.path(name).stat()
        shutil.rmtree(self.path(name), ignore_errors=True)

    def _passes(self, error: Exception) -> bool:
        return isinstance(error, OSError) and error.errno in {
            errno.EAGAIN, errno.EBUSY, errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH,
            errno.EIO, errno.ENETDOWN, errno.ENETUNREACH, errno.ENOTCONN, errno.ESTALE, errno.ETIMEDOUT,
        }  # fmt: skip


def _write_flushed(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


class BucketStorage(Storage):
    """A prefix in a bucket, or whatever else fsspec reaches. Objects are whole by nature.

    Args:
        url: what users call it.
        fs: fsspec's filesystem.
        prefix: the filesystem's name for the URL.
    """

    def __init__(self, url: str, fs: Any, prefix: str) -> None:
        self._url, self._fs, self._prefix = url, fs, prefix

    @property
    def where(self) -> str:
        """The URL."""
        return self._url

    def publish(self, folder: str, files: Mapping[str, bytes], last: str) -> None:
        """One object after the other; whoever is last to find no `last` writes."""
        for name in [*(name for name in files if name != last), last]:
            if self.exists(f"{folder}/{last}"):
                return
            self.write(f"{folder}/{name}", files[name])

    def subfolders_with(self, folder: str, name: str) -> set[str]:
        """See `Storage`."""
        found: list[str] = self._patiently(lambda: self._fs.find(self._key(folder)))
        return {key.split("/")[-2] for key in found if key.endswith(f"/{name}")}

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{self.inside(name)}"

    def _read(self, name: str) -> bytes:
        content: bytes = self._fs.cat_file(self._key(name))
        return content

    def _write(self, name: str, content: bytes) -> None:
        self._fs.pipe_file(self._key(name), content)

    def _create(self, name: str, content: bytes) -> None:
        try:
            self._fs.pipe_file(self._key(name), content, mode="create")
        except OSError as error:
            # s3fs knows the refusal only where the server names the condition, which not all of them do.
            response = getattr(error.__cause__, "response", {})
            if response.get("Error", {}).get("Code") in {"PreconditionFailed", "412"}:
                raise FileExistsError(errno.EEXIST, "is there already", name) from error
            raise

    def _look(self, name: str) -> None:
        self._fs.info(self._key(name))  # fsspec's `exists` can say no where a server didn't answer

    def _names(self, folder: str) -> list[str]:
        keys = [key.rstrip("/") for key in self._fs.ls(self._key(folder), detail=False)]
        marker = self._key(folder).rstrip("/")  # an empty object that consoles make for a folder
        return [key.split("/")[-1] for key in keys if key != marker]

    def _delete(self, name: str) -> None:
        self._fs.rm_file(self._key(name))

    def _delete_folder(self, name: str) -> None:
        self._fs.rm(self._key(name), recursive=True)

    def _passes(self, error: Exception) -> bool:
        """Clients of buckets have exceptions of their own for a server that is away or overloaded."""
        unable = isinstance(error, OSError) and error.errno == errno.ENOSYS
        # Missing credentials are called so at each of the clouds; wrong names of buckets by Amazon.
        final = any(word in type(error).__name__ for word in ("Credentials", "Validation"))
        return not unable and not final and not isinstance(error, TypeError | ValueError | NotImplementedError)


def open_storage(where: str) -> Storage:
    """The storage at a path (`~` and relative ones are resolved) or at a URL, such as `s3://bucket/prefix`.

    Raises:
        ConfigError: an unknown kind of URL, one that holds credentials, a package that it needs and isn't there, or a
            bucket that isn't there or can't be listed; a path to something else than a folder, or of an unknown user.
        StorageError: the server doesn't answer.
    """
    folder = local_folder(where)
    if folder is not None:
        return FolderStorage(folder)
    import fsspec

    protocol = where.partition("://")[0]
    try:
        fs, prefix = fsspec.url_to_fs(where, use_listings_cache=False, **OPTIONS.get(protocol, {}))
    except ImportError as error:
        extra = EXTRAS.get(protocol)
        hint = install(extra) if extra else "see fsspec's documentation"
        raise ConfigError(f"storage is {where!r}, which needs another package ({_line(error)}): {hint}") from error
    except Exception as error:  # each kind of storage has its own
        raise ConfigError(f"storage is {where!r}; expected {EXPECTED} ({_line(error)})") from None
    storage = BucketStorage(where.rstrip("/"), fs, prefix.rstrip("/"))
    if protocol in OPTIONS:
        fs.retries = 1
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it would print a traceback for each attempt
    try:
        # A folder that isn't there is found empty; a bucket that isn't there is an error.
        storage._patiently(lambda: fs.find(storage._key("-")), OPENING_SECONDS)
    except StorageError:
        raise
    except Exception as error:
        raise ConfigError(f"storage {where} can't be listed: {type(error).__name__}: {_line(error)}") from error
    return storage


def _line(error: Exception) -> str:
    """The first line of what an error says."""
    return (str(error).strip().splitlines() or [""])[0]
