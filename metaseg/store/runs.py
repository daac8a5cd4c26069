"""The store: where runs live. A run exists once its `DONE` does; losing anything before that does no harm."""

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

from metaseg.schema import CONFIG, DONE, run_folder, study_file
from metaseg.store.folder import FolderStorage
from metaseg.store.names import check_name
from metaseg.store.storage import Storage, open_storage

POSITION = re.compile(r"\d+(-\d+)?")
"""Name of a checkpoint's file; files with other names aren't ours."""

if TYPE_CHECKING:  # slow to import, and `metaseg status` doesn't need it
    import pandas as pd

KEPT_CHECKPOINTS = 2
"""Number of checkpoints kept of a run: the newest, and the one before in case the newest is damaged."""

TEXT, NUMBERS = ("string", "large_string"), ("integer", "floating", "null")
"""pyarrow's names of column types."""

DATASET_FILES = ("images.bin", "masks.bin", "table.parquet", "dataset.json")


class DamagedRunError(OSError):
    """A file of a finished run is gone, or isn't what was written."""


def to_json(value: Any) -> bytes:
    """Encode as readable JSON with a newline at its end."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def from_json(content: bytes | None) -> dict[str, Any] | None:
    """Parse a JSON object that others may have written; None if it is incomplete or something else."""
    try:
        value = json.loads(content or b"")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def run_label(run: Mapping[str, Any]) -> str:
    """Name a run for messages, by its entry in a study's record; raises `KeyError` where that isn't one."""
    label = f"{run['arm']} seed {run['seed']}"
    return f"{label} fold {run['fold']}" if "fold" in run else label


def require_fingerprint(value: object) -> str:
    """Check and return a dataset's fingerprint, which names its folder; raises `ValueError` for anything else."""
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{1,64}", value):
        raise ValueError(f"the dataset's fingerprint is {value!r:.60}; expected hexadecimal digits")
    return value


@dataclass(frozen=True)
class FinishedRun:
    """A run, or a sweep's trial, that is done. Reading one of its files gives what was written, or an error."""

    storage: Storage
    folder: str
    """Name of its folder in the storage."""
    checksums: Mapping[str, str]
    """SHA-256 of its files, by name."""

    @classmethod
    def open(cls, storage: Storage, folder: str) -> "FinishedRun":
        """Open a folder of the storage.

        Raises:
            FileNotFoundError: it holds no `DONE`.
            DamagedRunError: `DONE` has no checksums.
        """
        done = from_json(storage.read(f"{folder}/{DONE}")) or {}
        checksums = done.get("sha256")
        if not isinstance(checksums, dict):
            raise DamagedRunError(f"{storage.locate(folder)}/DONE: no JSON object with the files' sha256")
        return cls(storage, folder, checksums)

    def locate(self, name: str) -> str:
        """Path or URL of one of its files, for messages."""
        return self.storage.locate(f"{self.folder}/{name}")

    def read(self, name: str) -> bytes:
        """Read a file; raises `DamagedRunError` if its checksum isn't the one in `DONE`."""
        content = self.storage.read_or_none(f"{self.folder}/{name}")
        if content is None:
            raise DamagedRunError(f"{self.locate(name)}: missing, though its run is done")
        if (found := hashlib.sha256(content).hexdigest()) != self.checksums.get(name):
            raise DamagedRunError(
                f"{self.locate(name)}: corrupt: its SHA-256 is {found}, DONE says {self.checksums.get(name)}"
            )
        return content

    def description(self) -> dict[str, Any]:
        """The content of its `config.json`; raises `DamagedRunError` if that isn't a JSON object."""
        value = from_json(self.read(CONFIG))
        if value is None:
            raise DamagedRunError(f"{self.locate(CONFIG)}: not a run's configuration: expected a JSON object")
        return value

    def table(self, name: str, text: Sequence[str], numbers: Sequence[str]) -> "pd.DataFrame":
        """Columns of one of its Parquet files; raises `DamagedRunError` if one is missing or of another type."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        content = self.read(name)
        try:
            # Neither buffered ahead nor read by pyarrow's threads: if a page is damaged, threads that still read when
            # the process ends would abort it.
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
            raise DamagedRunError(f"{self.locate(name)}: not a run's table: {reason}") from error
        return rows


@dataclass(frozen=True)
class Store:
    """A folder or a bucket that keeps runs, studies and everything derived from them. `Store.at` opens one.

    Example:
        >>> from metaseg import Store
        >>> store = Store.at("new-store")
        >>> store.done()
        set()
    """

    storage: Storage

    def __repr__(self) -> str:
        return f"Store({self.where!r})"

    @classmethod
    def at(cls, where: str | Path) -> "Store":
        """Open the store at a path or a bucket's URL; raises `ConfigError` if that can't be reached."""
        return cls(open_storage(str(where)))

    @property
    def where(self) -> str:
        """The store's absolute path or URL; `Store.at(store.where)` is the same store in any process."""
        return self.storage.where

    @cached_property
    def scratch(self) -> Path:
        """Folder for files that can be made again: in the store, or on this machine if the store is a bucket."""
        if isinstance(self.storage, FolderStorage):
            return self.storage.root
        caches = Path(os.environ.get("METASEG_CACHE", "~/.cache/metaseg")).expanduser()
        return caches / hashlib.sha256(self.where.encode()).hexdigest()[:16]

    def run_folder(self, run_id: str) -> str:
        """Path or URL of the folder of a run, which may not exist yet."""
        return self.storage.locate(run_folder(run_id))

    def is_done(self, run_id: str) -> bool:
        """Return True if the run has been trained, evaluated and written completely."""
        return self.storage.exists(f"{run_folder(run_id)}/{DONE}")

    def done(self) -> set[str]:
        """Ids of all runs that are done."""
        return self.storage.subfolders_with("runs", DONE)

    def commit_run(self, run_id: str, files: Mapping[str, bytes]) -> None:
        """Write a run's files, and at last `DONE` with their checksums, which makes them a run.

        In a folder the run appears at once. Nothing is written if the run is done already, whoever trained it.
        """
        checksums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        self.storage.publish(run_folder(run_id), {**files, DONE: to_json({"sha256": checksums})}, last=DONE)
        self.storage.delete(f"failures/{run_id}.json")
        self.delete_checkpoints(run_id)

    def commit_trial(self, run_id: str, files: Mapping[str, bytes]) -> None:
        """Write a sweep's trial: like a run, but never evaluated on test images."""
        checksums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        self.storage.publish(f"trials/{run_id}", {**files, DONE: to_json({"sha256": checksums})}, last=DONE)
        self.delete_checkpoints(run_id)

    def find_trained(self, run_id: str) -> FinishedRun | None:
        """Open a run that is done, of a study or as a sweep's trial; None if it hasn't been trained."""
        for folder in (run_folder(run_id), f"trials/{run_id}"):
            if self.storage.exists(f"{folder}/{DONE}"):
                return FinishedRun.open(self.storage, folder)
        return None

    def open_run(self, run_id: str) -> FinishedRun:
        """Open a run that is done; raises as `FinishedRun.open`."""
        return FinishedRun.open(self.storage, run_folder(run_id))

    def record_failure(self, run_id: str, error: str, traceback: str) -> None:
        """Record why a run failed. The record stays until the run succeeds; the next command tries it again."""
        self.storage.write(f"failures/{run_id}.json", to_json({"error": error, "traceback": traceback.splitlines()}))

    def failure(self, run_id: str) -> str:
        """Path or URL of the record of a run's failure."""
        return self.storage.locate(f"failures/{run_id}.json")

    def failed(self) -> set[str]:
        """Ids of the runs that have failed and not succeeded since."""
        return {name.removesuffix(".json") for name in self.storage.names("failures")}

    def write_study(self, name: str, record: Mapping[str, Any]) -> None:
        """Write a study's declaration: its arms, runs and comparisons. The newest declaration under a name counts."""
        check_name("study", name)
        self.storage.write(study_file(name), to_json(record))

    def save_checkpoint(self, run_id: str, position: str, content: bytes) -> None:
        """Save a checkpoint of a run, and remove all older ones but the last.

        Args:
            run_id: id of the run.
            position: the checkpoint's name, which sorts after those of earlier checkpoints.
            content: the checkpoint's bytes.

        Raises:
            OSError: the storage doesn't answer. It isn't retried, since training can go on.
        """
        self.storage.write(f"checkpoints/{run_id}/{position}", content, patience=0)
        for name in self._positions(run_id)[:-KEPT_CHECKPOINTS]:
            self.storage.delete(f"checkpoints/{run_id}/{name}")

    def checkpoints(self, run_id: str) -> Iterator[tuple[str, bytes]]:
        """Path or URL and content of each checkpoint of a run, the newest first."""
        for name in reversed(self._positions(run_id)):
            content = self.storage.read_foreign(f"checkpoints/{run_id}/{name}")
            if content is not None:
                yield self.storage.locate(f"checkpoints/{run_id}/{name}"), content

    def _positions(self, run_id: str) -> list[str]:
        """Names of a run's checkpoints, the oldest first."""
        return [name for name in self.storage.names(f"checkpoints/{run_id}") if POSITION.fullmatch(name)]

    def delete_checkpoints(self, run_id: str) -> None:
        """Remove the checkpoints of a run that is done."""
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
        """Folder of the decoded datasets, on this machine or in the store; it may be deleted at any time."""
        return self.scratch / "cache"

    def share_dataset(self, folder: Path) -> None:
        """Make a decoded dataset in `cache` available to other machines: copy it to the bucket, if the store is one."""
        if isinstance(self.storage, FolderStorage) or self.storage.exists(f"cache/{folder.name}/dataset.json"):
            return
        files = {name: (folder / name).read_bytes() for name in DATASET_FILES}
        self.storage.publish(f"cache/{folder.name}", files, last="dataset.json")

    def fetch_dataset(self, fingerprint: str) -> Path:
        """Folder of a decoded dataset on this machine, downloaded from the bucket if need be; it may not exist."""
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
