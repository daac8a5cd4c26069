"""Storage in this process's memory, for what is made only to be read again or to be packed."""

import errno
from collections.abc import Iterable, Mapping

from metaseg.store.storage import Storage, Stored


class MemoryStorage(Storage):
    """Files as a dictionary.

    Args:
        files: content by name.
        where: what messages and records call it.
    """

    def __init__(self, files: Mapping[str, bytes] = {}, where: str = "memory") -> None:
        self.contents = dict(files)
        """Content by name."""
        self._where = where

    @property
    def where(self) -> str:
        """See `Storage`."""
        return self._where

    def publish(self, folder: str, files: Mapping[str, bytes], last: str) -> None:
        """See `Storage`."""
        if f"{folder}/{last}" not in self.contents:
            self.contents |= {f"{folder}/{name}": content for name, content in files.items()}

    def subfolders_with(self, folder: str, name: str) -> set[str]:
        """See `Storage`."""
        return subfolders_with(self.contents, self.inside(folder), name)

    def _read(self, name: str) -> bytes:
        self._require_file(name)
        return self.contents[name]

    def _write(self, name: str, content: bytes) -> None:
        self.contents[self.inside(name)] = content

    def _create(self, name: str, content: bytes) -> None:
        if self.inside(name) in self.contents:
            raise FileExistsError(errno.EEXIST, "is there already", name)
        self.contents[name] = content

    def _require_file(self, name: str) -> None:
        if self.inside(name) not in self.contents:
            raise FileNotFoundError(errno.ENOENT, "no such file", self.locate(name))

    def _names(self, folder: str) -> list[str]:
        return children(self.contents, self.inside(folder))

    def _files(self, folder: str) -> dict[str, Stored]:
        prefix = f"{self.inside(folder)}/" if folder else ""
        return {
            name.removeprefix(prefix): Stored(len(content), None)
            for name, content in self.contents.items()
            if name.startswith(prefix)
        }

    def _delete(self, name: str) -> None:
        self._require_file(name)
        del self.contents[name]

    def _delete_folder(self, name: str) -> None:
        for file in [file for file in self.contents if file.startswith(f"{self.inside(name)}/")]:
            del self.contents[file]

    def _is_transient(self, error: Exception) -> bool:
        return False


def children(files: Iterable[str], folder: str) -> list[str]:
    """Names of files and folders directly in a folder, from the paths of all files."""
    prefix = f"{folder}/" if folder else ""
    return sorted({file.removeprefix(prefix).partition("/")[0] for file in files if file.startswith(prefix)})


def subfolders_with(files: Iterable[str], folder: str, name: str) -> set[str]:
    """Names of the folders directly in a folder that hold a file called `name`, from the paths of all files."""
    parts = (file.removeprefix(f"{folder}/").split("/") for file in files if file.startswith(f"{folder}/"))
    return {each[0] for each in parts if len(each) == 2 and each[1] == name}
