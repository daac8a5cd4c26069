"""Storage in a bucket, or anything else that fsspec reaches."""

import errno
import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from metaseg.config import ConfigError
from metaseg.packages import Extra, install
from metaseg.store.address import EXPECTED
from metaseg.store.storage import Storage, StorageError, Stored, first_line

OPENING_SECONDS = 20.0
"""Patience with the first request: a mistyped address isn't worth minutes."""

EXTRAS: dict[str, Extra] = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
"""Packages that fsspec needs for buckets, by protocol."""

ONE_ATTEMPT = {"config_kwargs": {"retries": {"total_max_attempts": 1}}}
OPTIONS = {"s3": ONE_ATTEMPT, "s3a": ONE_ATTEMPT}
"""Options of fsspec by protocol. By default two clients, one on top of the other, retry by themselves: 25 times, for
minutes, whatever our patience."""


class BucketStorage(Storage):
    """A prefix in a bucket, or anything else that fsspec reaches. Objects are always written whole.

    Args:
        url: the address that the user gave.
        fs: fsspec's filesystem.
        prefix: the URL as the filesystem names it.
    """

    def __init__(self, url: str, fs: Any, prefix: str) -> None:
        self._url, self._fs, self._prefix = url, fs, prefix

    @property
    def where(self) -> str:
        """The URL."""
        return self._url

    def publish(self, folder: str, files: Mapping[str, bytes], last: str) -> None:
        """Write one object after the other, as long as `last` isn't there."""
        for name in [*(name for name in files if name != last), last]:
            if self.exists(f"{folder}/{last}"):
                return
            self.write(f"{folder}/{name}", files[name])

    def subfolders_with(self, folder: str, name: str) -> set[str]:
        """See `Storage`."""
        found: list[str] = self._retry(lambda: self._fs.find(self._key(folder)))
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
            # s3fs recognises the refusal only if the server names the condition, which not all of them do.
            response = getattr(error.__cause__, "response", {})
            if response.get("Error", {}).get("Code") in {"PreconditionFailed", "412"}:
                raise FileExistsError(errno.EEXIST, "is there already", name) from error
            raise

    def _require_file(self, name: str) -> None:
        self._fs.info(self._key(name))  # fsspec's `exists` may say no when a server didn't answer

    def _names(self, folder: str) -> list[str]:
        keys = [key.rstrip("/") for key in self._fs.ls(self._key(folder), detail=False)]
        marker = self._key(folder).rstrip("/")  # an empty object that web consoles make for a folder
        return [key.split("/")[-1] for key in keys if key != marker]

    def _files(self, folder: str) -> dict[str, Stored]:
        key = self._key(folder).rstrip("/") + "/"
        found: dict[str, dict[str, Any]] = self._fs.find(key, detail=True)
        return {
            name.partition(key)[2]: Stored(int(about.get("size") or 0), _modified(about))
            for name, about in found.items()
            if key in name and not name.endswith("/")
        }

    def _delete(self, name: str) -> None:
        self._fs.rm_file(self._key(name))

    def _delete_folder(self, name: str) -> None:
        self._fs.rm(self._key(name), recursive=True)

    def _is_transient(self, error: Exception) -> bool:
        """True unless the error is known to be final: each client has its own errors for a server that is away."""
        unable = isinstance(error, OSError) and error.errno == errno.ENOSYS
        # All clouds name missing credentials so; Amazon's client names invalid bucket names "Validation".
        final = any(word in type(error).__name__ for word in ("Credentials", "Validation"))
        return not unable and not final and not isinstance(error, TypeError | ValueError | NotImplementedError)


def _modified(about: Mapping[str, Any]) -> float | None:
    """When an object was written, as its listing says; each of fsspec's filesystems has another word for it."""
    for word in ("LastModified", "mtime", "updated", "created"):
        value = about.get(word)
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                continue
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
    return None


def open_bucket(url: str) -> BucketStorage:
    """The storage at a URL, such as `s3://bucket/prefix`; raises as `metaseg.store.storage.open_storage`."""
    import fsspec

    protocol = url.partition("://")[0]
    try:
        fs, prefix = fsspec.url_to_fs(url, use_listings_cache=False, **OPTIONS.get(protocol, {}))
    except ImportError as error:
        extra = EXTRAS.get(protocol)
        hint = install(extra) if extra else "see fsspec's documentation"
        raise ConfigError(f"storage is {url!r}, which needs another package ({first_line(error)}): {hint}") from error
    except Exception as error:  # each kind of storage raises its own
        raise ConfigError(f"storage is {url!r}; expected {EXPECTED} ({first_line(error)})") from None
    storage = BucketStorage(url.rstrip("/"), fs, prefix.rstrip("/"))
    if protocol in OPTIONS:
        fs.retries = 1
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it would print a traceback for each attempt
    try:
        # A missing folder is listed as empty; a missing bucket is an error.
        storage._retry(lambda: fs.find(storage._key("-")), OPENING_SECONDS)
    except StorageError:
        raise
    except Exception as error:
        raise ConfigError(f"storage {url} can't be listed: {type(error).__name__}: {first_line(error)}") from error
    return storage
