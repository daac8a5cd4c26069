"""Optuna's record of a sweep, kept in the store as a journal: proposals and results in the order of time."""

import os
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, takewhile
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import (
    BaseJournalBackend,
    JournalFileBackend,
    JournalFileOpenLock,
    JournalFileSymlinkLock,
)

from metaseg.config import ConfigError
from metaseg.store.folder import NO_LINKS, FolderStorage
from metaseg.store.runs import from_json, to_json
from metaseg.store.storage import Storage

READERS = 16
"""Number of requests at once when a bucket's journal is read for the first time."""


class BucketJournal(BaseJournalBackend):
    """A journal in a bucket, where nothing can be appended to a file: each batch of entries is an object that only one
    writer can create.

    Args:
        storage: the store's storage.
        folder: folder of the batches, which are named by their number.
    """

    def __init__(self, storage: Storage, folder: str) -> None:
        self._storage, self._folder = storage, folder
        self._entries: list[dict[str, Any]] = []
        self._batches = 0

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Entries from number `log_number_from` on, oldest first."""
        if not self._batches:
            self._catch_up()
        while (content := self._storage.read_or_none(self._name(self._batches))) is not None:
            self._entries += self._parse(content, self._batches)
            self._batches += 1
        yield from self._entries[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add entries after those of all writers."""
        batch = self._batches
        # The nonce tells this writer's batch from an equal one, so that a lost answer isn't taken for a refusal.
        content = to_json({"nonce": os.urandom(8).hex(), "entries": logs})
        while not self._storage.create(self._name(batch), content):
            batch += 1

    def _catch_up(self) -> None:
        """Read all batches by many requests at once: one after the other, those of many trials would take minutes."""
        names = set(self._storage.names(self._folder))  # may include files of others
        numbers = list(takewhile(lambda number: f"{number:08}.json" in names, count()))
        with ThreadPoolExecutor(READERS) as readers:
            for number, content in zip(numbers, readers.map(self._storage.read, map(self._name, numbers)), strict=True):
                self._entries += self._parse(content, number)
        self._batches = len(numbers)

    def _parse(self, content: bytes, number: int) -> list[dict[str, Any]]:
        entries = (from_json(content) or {}).get("entries")
        if not isinstance(entries, list):
            raise ConfigError(f"{self._storage.locate(self._name(number))}: not a batch of a sweep's journal")
        return entries

    def _name(self, batch: int) -> str:
        return f"{self._folder}/{batch:08}.json"


def open_journal(storage: Storage, name: str) -> JournalStorage:
    """Open the journal of the sweep `name`; it is made if there is none.

    The journal is the file `sweeps/NAME/journal.log`, which `optuna-dashboard` can open, or in a bucket the folder
    `sweeps/NAME/journal/`.

    Raises:
        ConfigError: the file isn't a journal.
    """
    file = f"sweeps/{name}/journal.log"
    if isinstance(storage, FolderStorage):
        path = storage.path(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        journal: BaseJournalBackend = JournalFileBackend(str(path), _lock(path))
    else:
        file = f"sweeps/{name}/journal"
        journal = BucketJournal(storage, file)
    try:
        return JournalStorage(journal)  # reads all of it
    except (ConfigError, OSError):
        raise
    except Exception as error:  # Optuna promises no type of error for foreign entries
        where, reason = storage.locate(file), f"{type(error).__name__}: {error}".partition("\n")[0]
        raise ConfigError(
            f"{where}: not a sweep's journal ({reason:.200}); restore it, or give the sweep another --name"
        ) from error


def _lock(path: Path) -> JournalFileSymlinkLock | JournalFileOpenLock:
    """Lock of a journal for all its writers: by symbolic links, of which network folders make only one, or by files on
    disks without links."""
    probe = path.with_name(f".{uuid.uuid4().hex}.link")
    try:
        os.symlink(path, probe)
        probe.unlink()
    except OSError as error:
        if error.errno in NO_LINKS:
            return JournalFileOpenLock(str(path))
    return JournalFileSymlinkLock(str(path))


def mend_journal(storage: Storage, name: str) -> None:
    """Cut off last lines that a power failure left unfinished, since entries after them could never be read.

    Only the holder of the sweep's claim may call this.
    """
    if not isinstance(storage, FolderStorage):
        return
    path = storage.path(f"sweeps/{name}/journal.log")
    if not path.exists():
        return
    lock = _lock(path)
    lock.acquire()  # the last trials of a killed driver may still be writing
    try:
        lines = path.read_bytes().splitlines(keepends=True)
        while lines and (not lines[-1].endswith(b"\n") or from_json(lines[-1]) is None):
            lines.pop()
        os.truncate(path, sum(map(len, lines)))
    finally:
        lock.release()
