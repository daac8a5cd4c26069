"""Optuna's record of a sweep, kept in the store as a journal: what was asked and what came out, in that order."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend, JournalFileSymlinkLock

from metaseg.storage import FolderStorage, Storage
from metaseg.store import to_json

READERS = 16
"""Requests at once, where a bucket's journal is read for the first time."""


class BucketJournal(BaseJournalBackend):
    """A journal where files can't be appended to: each batch of entries is an object that only one writer can create.

    Args:
        storage: the store's.
        folder: holds the batches, named by their number.
    """

    def __init__(self, storage: Storage, folder: str) -> None:
        self._storage, self._folder = storage, folder
        self._entries: list[dict[str, Any]] = []
        self._batches = 0

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Entries from a number on, oldest first."""
        if not self._batches:
            self._catch_up()
        while (content := self._storage.read_or_none(self._name(self._batches))) is not None:
            self._entries += json.loads(content)["entries"]
            self._batches += 1
        yield from self._entries[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add entries after those of all writers."""
        batch = self._batches
        # The nonce tells this writer's batch from an equal one: an answer that got lost isn't taken for a refusal.
        content = to_json({"nonce": os.urandom(8).hex(), "entries": logs})
        while not self._storage.create(self._name(batch), content):
            batch += 1

    def _catch_up(self) -> None:
        """Read what there is by many requests at once: one after the other, many trials' would take minutes."""
        there = len(self._storage.names(self._folder))
        with ThreadPoolExecutor(READERS) as readers:
            for content in readers.map(self._storage.read, map(self._name, range(there))):
                self._entries += json.loads(content)["entries"]
        self._batches = there

    def _name(self, batch: int) -> str:
        return f"{self._folder}/{batch:08}.json"


def open_journal(storage: Storage, name: str) -> JournalStorage:
    """The journal of the sweep called `name`; it is made where there is none.

    In a folder it is `sweeps/NAME/journal.log`, which `optuna-dashboard` opens; in a bucket, `sweeps/NAME/journal/`.
    """
    if not isinstance(storage, FolderStorage):
        return JournalStorage(BucketJournal(storage, f"sweeps/{name}/journal"))
    path = storage.path(f"sweeps/{name}/journal.log")
    path.parent.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(str(path)))


def mend_journal(storage: Storage, name: str) -> None:
    """Cut off a last line that a power failure left unfinished; what is written after it could never be read.

    Only whoever holds the sweep's claim may call this.
    """
    if not isinstance(storage, FolderStorage):
        return
    path = storage.path(f"sweeps/{name}/journal.log")
    if not path.exists():
        return
    lock = JournalFileSymlinkLock(str(path))
    lock.acquire()  # a killed driver's last trials may be writing still
    try:
        content = path.read_bytes()
        os.truncate(path, content.rfind(b"\n") + 1)
    finally:
        lock.release()
