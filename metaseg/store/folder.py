"""Storage in a folder, on a disk of this machine or of the network: flushed, then renamed into place."""

import contextlib
import errno
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

from metaseg.config import ConfigError
from metaseg.store.storage import OutsideError, Result, Storage, Stored

TAKEN = {errno.EEXIST, errno.ENOTDIR, errno.ENOTEMPTY}
"""Error numbers of renaming a folder to a name that is taken."""

NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.EINVAL}
"""Error numbers of disks without hard links: exFAT, Colab's Drive, some network folders."""


class FolderStorage(Storage):
    """A folder, on a disk of this machine or of the network; `root` is absolute."""

    def __init__(self, root: Path) -> None:
        self.root = root
        # Known from the start, so that not even the first file can go to another disk.
        self._disk = root.stat().st_dev if root.exists() else None

    @property
    def where(self) -> str:
        """The root's path."""
        return str(self.root)

    def path(self, name: str) -> Path:
        """Path of a file; raises `ConfigError` if it would be outside, `OutsideError` if a symbolic link leads out."""
        return self._unlinked(self._place(name), name)

    def _place(self, name: str) -> Path:
        """Path of a file that is to be made, replaced or removed: it may be a link, which isn't followed."""
        path = self.root / self.inside(name)
        self._unlinked(path.parent, name)
        return path

    def _unlinked(self, path: Path, name: str) -> Path:
        # Links are rare, and resolving each path would cost many requests to a network folder.
        within = [path, *path.parents][: len(path.parts) - len(self.root.parts)]
        if not any(map(os.path.islink, within)):
            return path
        real = Path(os.path.realpath(path))
        circular = any(map(os.path.islink, [real, *real.parents]))
        if circular or not real.is_relative_to(os.path.realpath(self.root)):
            if os.path.islink(within[-1]):  # all runs, for example, which mustn't be taken for missing
                raise ConfigError(
                    f"{within[-1]} is a symbolic link that leads out of the store; mount it there, or move it"
                )
            raise OutsideError(f"{name!r} leads out of {self.root} by a symbolic link; expected a file within it")
        return path

    def require_writable(self) -> None:
        """Raise a `ConfigError` if nothing can be written here, before anything is."""
        there = next(part for part in (self.root, *self.root.parents) if part.exists())
        if not os.access(there, os.W_OK | os.X_OK):
            raise ConfigError(f"storage is {self.where!r}, but {there} can't be written to; expected a writable folder")

    def publish(self, folder: str, files: Mapping[str, bytes], last: str) -> None:
        """Let the folder appear whole, by one rename."""
        self._retry(lambda: self._publish(self.path(folder), files, last))

    def subfolders_with(self, folder: str, name: str) -> set[str]:
        """See `Storage`."""
        return {subfolder for subfolder in self.names(folder) if self.exists(f"{folder}/{subfolder}/{name}")}

    def _retry(self, operation: Callable[[], Result], patience: float | None = None) -> Result:
        def checked() -> Result:
            try:
                return operation()
            except FileNotFoundError:
                if self._disk is not None:
                    self._require_root()  # if all is gone, a file's absence means nothing
                raise

        return super()._retry(checked, patience)

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
                # Whatever others have left there, such as half of a copy, was never whole: it makes room.
                os.rename(folder, folder.with_name(f".{folder.name}.{uuid.uuid4().hex}"))
                os.rename(temporary, folder)
        except OSError:
            if not (folder / last).is_file():  # else another process was first
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _require_root(self) -> None:
        """Raise `OSError` if a network folder is gone or only its mount point is left: it mustn't be made anew here."""
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
        """Make a folder and its parents, but unlike `mkdir(parents=True)` not the root, which may have vanished."""
        for part in reversed([folder, *folder.parents]):
            if part != self.root and part.is_relative_to(self.root):
                try:
                    part.mkdir(exist_ok=True)
                except FileExistsError:  # `create` would take it for another process that was first
                    raise NotADirectoryError(errno.ENOTDIR, "is a file; expected a folder", str(part)) from None

    def _read(self, name: str) -> bytes:
        path = self.path(name)
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # reading a pipe would wait
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
            os.link(temporary, self._place(name))  # fails if the name is taken, on network folders too
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            self._create_slowly(self._place(name), content)
        finally:
            temporary.unlink(missing_ok=True)

    def _create_slowly(self, path: Path, content: bytes) -> None:
        """Create a file without hard links: still only one caller can, but a reader may see it before its content."""
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

    def _require_file(self, name: str) -> None:
        if stat.S_ISDIR(self.path(name).stat().st_mode):
            raise FileNotFoundError(errno.ENOENT, "is a folder; expected a file", name)

    def _names(self, folder: str) -> list[str]:
        return [name for name in os.listdir(self.path(folder)) if not name.startswith(".")]

    def _files(self, folder: str) -> dict[str, Stored]:
        found: dict[str, Stored] = {}
        pending = [(self.path(folder), "")]
        while pending:
            path, prefix = pending.pop()
            with contextlib.suppress(*([FileNotFoundError] if prefix else [])), os.scandir(path) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append((path / entry.name, f"{prefix}{entry.name}/"))
                    elif entry.is_file(follow_symlinks=False):
                        with contextlib.suppress(FileNotFoundError):  # renamed or removed meanwhile
                            about = entry.stat(follow_symlinks=False)
                            found[prefix + entry.name] = Stored(about.st_size, about.st_mtime)
        return found

    def _delete(self, name: str) -> None:
        self._place(name).unlink()

    def _delete_folder(self, name: str) -> None:
        self.path(name).stat()
        shutil.rmtree(self.path(name), ignore_errors=True)

    def _is_transient(self, error: Exception) -> bool:
        return isinstance(error, OSError) and error.errno in {
            errno.EAGAIN, errno.EBUSY, errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH,
            errno.EIO, errno.ENETDOWN, errno.ENETUNREACH, errno.ENOTCONN, errno.ESTALE, errno.ETIMEDOUT,
        }  # fmt: skip


def _write_flushed(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
