"""Names that a store's records give its runs: by studies, their looks, and sweeps; and by drivers that hold them."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from metaseg.config import ConfigError
from metaseg.store.claims import CLAIM, Heartbeat
from metaseg.store.runs import Store, from_json
from metaseg.store.storage import Storage

READERS = 8
"""Files that are read at once: buckets answer slowly."""

ATTEMPTS = 3
"""Attempts at reading records that change meanwhile."""

NAMING = ("studies", "looks", "sweeps")
"""Folders of records that name runs."""


@dataclass(frozen=True)
class NamedRun:
    """A run in its place in a study, as the study's record says."""

    study: str
    arm: str
    seed: int | None
    part: str
    fold: str | None


def named_runs(
    store: Store, study: str | None = None, warn: Callable[[str], None] = lambda line: None
) -> dict[str, list[NamedRun]]:
    """Runs that studies name, by run id, in the order of the records; of one study if `study` is given.

    Records that can't be read name nothing here, and `warn` is told of them; `every_record` refuses them.

    Raises:
        ConfigError: the store has no such study, or its record can't be read.
    """
    names = [name.removesuffix(".json") for name in store.storage.names("studies") if name.endswith(".json")]
    if study is not None and study not in names:
        raise ConfigError(f"unknown study {study!r} in {store.where}; known: {', '.join(names) or 'none'}")
    found: dict[str, list[NamedRun]] = {}
    for name in names if study is None else [study]:
        record = from_json(store.storage.read_foreign(f"studies/{name}.json"))
        if record is None and study is not None:
            raise ConfigError(f"{store.storage.locate(f'studies/{name}.json')}: not a study's record")
        if record is None:
            warn(f"{store.storage.locate(f'studies/{name}.json')}: not a study's record; its runs have no name here")
        for run in listed_runs(record or {}):
            found.setdefault(str(run["run_id"]), []).append(_named(name, run))
    return found


def listed_runs(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Entries of a study's record that name a run; none where it isn't a record."""
    runs = record.get("runs")
    return [run for run in runs if isinstance(run, dict) and "run_id" in run] if isinstance(runs, list) else []


def _named(study: str, run: Mapping[str, Any]) -> NamedRun:
    seed, fold = run.get("seed"), run.get("fold")
    seed = seed if type(seed) is int else None
    return NamedRun(
        study, str(run.get("arm", "")), seed, str(run.get("part") or ""), None if fold is None else str(fold)
    )


def every_record(storage: Storage) -> bytes:
    """The content of all files that may name a run, one after the other: a run is named if its id is in it.

    Files of any name count, such as copies that a sync client has made: better a run too many than one too few.

    Raises:
        ConfigError: one of them can't be read, so that nobody knows which runs it names.
    """
    for _ in range(ATTEMPTS):
        # A file may be renamed while it is read, as drivers rename what they write.
        with contextlib.suppress(FileNotFoundError), ThreadPoolExecutor(READERS) as pool:
            return b"\n".join(pool.map(lambda file: _content(storage, file), _records(storage)))
    raise ConfigError(f"{storage.where}: its studies or sweeps change while they are read; nothing was removed")


def _records(storage: Storage) -> list[str]:
    """Names of the files that may name runs, also of those that symbolic links lead to."""
    files = [f"{folder}/{name}" for folder in NAMING for name in storage.files(folder)]
    above = {
        "/".join(parts[:depth]) for parts in (file.split("/") for file in files) for depth in range(len(parts) + 1)
    }
    listed = (f"{folder}/{name}" for folder in NAMING for name in storage.names(folder))
    return files + [file for name in listed if name not in above for file in _linked(storage, name)]


def _linked(storage: Storage, name: str) -> list[str]:
    """Files at a name that may be a link; the name itself where nothing is found, so that reading it tells why."""
    inner = [] if storage.exists(name) else storage.names(name)
    return [file for each in inner for file in _linked(storage, f"{name}/{each}")] or [name]


def _content(storage: Storage, file: str) -> bytes:
    try:
        content = storage.read(file)
        if file.startswith("studies/") and file.endswith(".json") and from_json(content) is None:
            raise ValueError("not a study's record")  # cut off, it may have named more runs
        return b"\n".join(_run_ids(content)) if file.endswith(".parquet") else content
    except FileNotFoundError:
        raise
    except IsADirectoryError:
        return b""  # an empty folder
    except Exception as error:  # a damaged table can raise anything inside its decoder
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ConfigError(
            f"{storage.locate(file)} can't be read, so that nobody knows which runs it names; nothing was removed. "
            f"Mend it or move it away ({reason})"
        ) from error


def _run_ids(content: bytes) -> Iterator[bytes]:
    """Run ids in a sweep's table of trials."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.ParquetFile(pa.BufferReader(content), pre_buffer=False).read(["run_id"], use_threads=False)
    yield from (str(run).encode() for run in table["run_id"].to_pylist() if run is not None)


def claimed_runs(storage: Storage) -> set[str]:
    """Runs that a driver has claimed, whether it lives or not."""
    return {claim["run"] for claim in map(CLAIM.fullmatch, storage.names("claims")) if claim}


def running_runs(storage: Storage) -> set[str]:
    """Runs that a driver has claimed which isn't known to have ended."""
    sessions = {name.removesuffix(".json") for name in storage.names("sessions")}
    found = set()
    for claim in filter(None, map(CLAIM.fullmatch, storage.names("claims"))):
        session = (from_json(storage.read_foreign(f"claims/{claim[0]}")) or {}).get("session")
        if isinstance(session, str) and session in sessions:
            heartbeat = Heartbeat.parse(storage.read_foreign(f"sessions/{session}.json"))
            if heartbeat is None or not (heartbeat.is_of_this_machine and heartbeat.is_gone):
                found.add(claim["run"])
    return found
