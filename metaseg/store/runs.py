"""The store: where runs live. A run exists once its `DONE` does; whatever was before that can be lost without harm."""

import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaseg.store.folder import FolderStorage
from metaseg.store.names import check_name
from metaseg.store.storage import Storage, open_storage

POSITION = re.compile(r"\d+(-\d+)?")
"""A checkpoint's name: others in its folder are none of ours."""

if TYPE_CHECKING:  # `metaseg status` doesn't wait for it
    import pandas as pd

KEPT_CHECKPOINTS = 2
"""The newest, and the one before in case the newest turns out to be damaged."""

TEXT, NUMBERS = ("string", "large_string"), ("integer", "floating", "null")
"""What pyarrow calls the types of columns."""

DATASET_FILES = ("images.bin", "masks.bin", "table.parquet", "dataset.json")


class DamagedRunError(OSError):
    """A finished run's file is gone, or isn't what was written."""


def to_json(value: Any) -> bytes:
    """Readable JSON with a newline at its end."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def from_json(content: bytes | None) -> dict[str, Any] | None:
    """A JSON object that others may have written: None where it is half of one, or something else."""
    try:
        value = json.loads(content or b"")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def require_fingerprint(value: object) -> str:
    """A dataset's fingerprint, which names its folder; raises `ValueError` for anything else."""
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{1,64}", value):
        raise ValueError(f"the dataset's fingerprint is {value!r:.60}; expected hexadecimal digits")
    return value


@dataclass(frozen=True)
class FinishedRun:
    """A run, or a sweep's trial, that is done. Whoever reads its files gets what was written, or an error."""

    storage: Storage
    folder: str
    """In the storage."""
    checksums: Mapping[str, str]
    """SHA-256 of its files, by name."""

    @classmethod
    def open(cls, storage: Storage, folder: str) -> "FinishedRun":
        """Open a folder of the storage.

        Raises:
            FileNotFoundError: it holds no `DONE`.
            DamagedRunError: `DONE` has no checksums.
        """
        done = from_json(storage.read(f"{folder}/DONE")) or {}
        checksums = done.get("sha256")
        if not isinstance(checksums, dict):
            raise DamagedRunError(f"{storage.locate(folder)}/DONE: no JSON object with the files' sha256")
        return cls(storage, folder, checksums)

    def locate(self, name: str) -> str:
        """What a user calls one of its files."""
        return self.storage.locate(f"{self.folder}/{name}")

    def read(self, name: str) -> bytes:
        """A file; raises `DamagedRunError` where it isn't what `DONE` says."""
        content = self.storage.read_or_none(f"{self.folder}/{name}")
        if content is None:
            raise DamagedRunError(f"{self.locate(name)}: gone, though its run is done")
        if (found := hashlib.sha256(content).hexdigest()) != self.checksums.get(name):
            raise DamagedRunError(
                f"{self.locate(name)}: corrupt: its SHA-256 is {found}, DONE says {self.checksums.get(name)}"
            )
        return content

    def description(self) -> dict[str, Any]:
        """Its `config.json`; raises `DamagedRunError` where that is no JSON object."""
        value = from_json(self.read("config.json"))
        if value is None:
            raise DamagedRunError(f"{self.locate('config.json')}: not a run's configuration: expected a JSON object")
        return value

    def table(self, name: str, text: Sequence[str], numbers: Sequence[str]) -> "pd.DataFrame":
        """Columns of a Parquet file of its; raises `DamagedRunError` where they aren't there or hold other things."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        content = self.read(name)
        try:
            # Neither buffered ahead nor read by pyarrow's threads: where a page is damaged, those that still read as
            # the process ends abort it.
            file = pq.ParquetFile(pa.BufferReader(content), pre_buffer=False)
            kinds = {column: file.schema_arrow.field(column).type for column in (*text, *numbers)}
            for column, kind in kinds.items():
                tests = TEXT if column in text else NUMBERS
                if not any(getattr(pa.types, f"is_{test}")(kind) for test in tests):
                    raise TypeError(f"column {column!r} holds {kind}")
            table = file.read(list(kinds), use_threads=False)
            table.validate(full=True)
            rows: pd.DataFrame = table.replace_schema_metadata(None).to_pandas()
        except Exception as error:  # a damaged file can raise anything inside a decoder
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise DamagedRunError(f"{self.locate(name)}: not what a run leaves: {reason}") from error
        return rows


@dataclass(frozen=True)
class Store:
    """A folder or a bucket that keeps runs, studies and what is derived from them. `Store.at` opens one.

    Example:
        >>> from metaseg import Store
        >>> store = Store.at("new-store")
        >>> store.done()
        set()
    """

    storage: Storage

    @classmethod
    def at(cls, where: str | Path) -> "Store":
        """The store at a path or a bucket's URL; raises `ConfigError` where that can't be reached."""
        return cls(open_storage(str(where)))

    @property
    def where(self) -> str:
        """Its absolute path or URL; `Store.at(store.where)` is the same store, in any process."""
        return self.storage.where

    @cached_property
    def scratch(self) -> Path:
        """A folder for what can be made again: in the store, or on this machine's disk where that is a bucket."""
        if isinstance(self.storage, FolderStorage):
            return self.storage.root
        caches = Path(os.environ.get("METASEG_CACHE", "~/.cache/metaseg")).expanduser()
        return caches / hashlib.sha256(self.where.encode()).hexdigest()[:16]

    def run_folder(self, run_id: str) -> str:
        """Where a run's files are, or will be, as a user calls it."""
        return self.storage.locate(f"runs/{run_id}")

    def is_done(self, run_id: str) -> bool:
        """Whether the run has been trained, evaluated and written completely."""
        return self.storage.exists(f"runs/{run_id}/DONE")

    def done(self) -> set[str]:
        """Ids of all runs that are done."""
        return self.storage.subfolders_with("runs", "DONE")

    def commit_run(self, run_id: str, files: Mapping[str, bytes]) -> None:
        """Write a run's files, and last the `DONE` with their checksums that makes them a run.

        In a folder the run appears at once. Where the run is done already, by whomever, nothing is written.
        """
        checksums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        self.storage.publish(f"runs/{run_id}", {**files, "DONE": to_json({"sha256": checksums})}, last="DONE")
        self.storage.delete(f"failures/{run_id}.json")
        self.delete_checkpoints(run_id)

    def commit_trial(self, run_id: str, files: Mapping[str, bytes]) -> None:
        """Write a sweep's trial: as a run, but never evaluated on test images."""
        checksums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        self.storage.publish(f"trials/{run_id}", {**files, "DONE": to_json({"sha256": checksums})}, last="DONE")
        self.delete_checkpoints(run_id)

    def find_trained(self, run_id: str) -> FinishedRun | None:
        """A run that is done, be it a study's or a sweep's trial; None where it hasn't been trained."""
        for folder in (f"runs/{run_id}", f"trials/{run_id}"):
            if self.storage.exists(f"{folder}/DONE"):
                return FinishedRun.open(self.storage, folder)
        return None

    def open_run(self, run_id: str) -> FinishedRun:
        """A run that is done; raises as `FinishedRun.open`."""
        return FinishedRun.open(self.storage, f"runs/{run_id}")

    def record_failure(self, run_id: str, error: str, traceback: str) -> None:
        """Keep a failed run's last words, until it succeeds: the next command tries it again."""
        self.storage.write(f"failures/{run_id}.json", to_json({"error": error, "traceback": traceback.splitlines()}))

    def failure(self, run_id: str) -> str:
        """Where a failed run's last words are, as a user calls it."""
        return self.storage.locate(f"failures/{run_id}.json")

    def failed(self) -> set[str]:
        """Ids of the runs whose last words are kept."""
        return {name.removesuffix(".json") for name in self.storage.names("failures")}

    def write_study(self, name: str, record: Mapping[str, Any]) -> None:
        """Write what a study declares: its arms, runs and comparisons. The newest declaration under a name counts."""
        check_name("study", name)
        self.storage.write(f"studies/{name}.json", to_json(record))

    def save_checkpoint(self, run_id: str, position: str, content: bytes) -> None:
        """Keep a run's state; of older ones, only the last stays.

        Args:
            run_id: the run's.
            position: a name that sorts after those of earlier states.
            content: the state.

        Raises:
            OSError: the storage doesn't answer now; it isn't waited for, since training can go on.
        """
        self.storage.write(f"checkpoints/{run_id}/{position}", content, patience=0)
        for name in self._positions(run_id)[:-KEPT_CHECKPOINTS]:
            self.storage.delete(f"checkpoints/{run_id}/{name}")

    def checkpoints(self, run_id: str) -> Iterator[tuple[str, bytes]]:
        """Where a run's kept states are, and their content, the newest first."""
        for name in reversed(self._positions(run_id)):
            content = self.storage.read_foreign(f"checkpoints/{run_id}/{name}")
            if content is not None:
                yield self.storage.locate(f"checkpoints/{run_id}/{name}"), content

    def _positions(self, run_id: str) -> list[str]:
        """Names of a run's kept states, the oldest first."""
        return [name for name in self.storage.names(f"checkpoints/{run_id}") if POSITION.fullmatch(name)]

    def delete_checkpoints(self, run_id: str) -> None:
        """Remove a run's states: it is done."""
        self.storage.delete_folder(f"checkpoints/{run_id}")

    def remove_leftovers(self) -> None:
        """Remove what killed processes have left of runs that are done by now: checkpoints and half-written copies."""
        done = self.done()
        for run_id in done.intersection(self.storage.names("checkpoints")):
            self.delete_checkpoints(run_id)
        if isinstance(self.storage, FolderStorage):
            for folder in self.storage.path("runs").glob(".*.*"):
                if folder.name.split(".")[1] in done:
                    shutil.rmtree(folder, ignore_errors=True)

    @property
    def cache(self) -> Path:
        """Decoded datasets on this machine, or in the store's folder; may be deleted at any time."""
        return self.scratch / "cache"

    def share_dataset(self, folder: Path) -> None:
        """Make a decoded dataset in `cache` available to other machines: a bucket gets a copy."""
        if isinstance(self.storage, FolderStorage) or self.storage.exists(f"cache/{folder.name}/dataset.json"):
            return
        files = {name: (folder / name).read_bytes() for name in DATASET_FILES}
        self.storage.publish(f"cache/{folder.name}", files, last="dataset.json")

    def fetch_dataset(self, fingerprint: str) -> Path:
        """The folder of a decoded dataset on this machine, brought from the bucket if need be; it may not exist."""
        folder = self.cache / fingerprint
        if isinstance(self.storage, FolderStorage) or folder.exists():
            return folder
        temporary = folder.with_name(f".{fingerprint}.{uuid.uuid4().hex}")
        temporary.mkdir(parents=True)
        try:
            for name in DATASET_FILES:
                (temporary / name).write_bytes(self.storage.read(f"cache/{fingerprint}/{name}"))
            os.rename(temporary, folder)
        except OSError:
            if not folder.exists():  # else another process was first
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return folder
