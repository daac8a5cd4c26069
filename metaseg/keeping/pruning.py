"""Removing what no study and no sweep of a store names, and what killed runs have left behind.

What is removed is gone, so doubt keeps: a record that can't be read, a claim of whoever, a time that isn't known, all
keep a run.
"""

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from metaseg.config import ConfigError
from metaseg.keeping.naming import claimed_runs, every_record
from metaseg.schema import CONFIG, DONE, score_file
from metaseg.store.runs import Store, from_json
from metaseg.store.storage import Storage, Stored

HOUR = 3600.0

RECHECK_SECONDS = 1.0
"""Time after which studies and claims are read again before anything more is removed; longer where that takes long."""

HALF_WRITTEN = re.compile(r"\.(?P<run>[^.]+)\.[0-9a-f]{32}")
"""Name of a folder that a killed process was writing, or had moved out of the way (`metaseg.store.folder`)."""

RUN = re.compile(r"[0-9a-f]{16}")
"""A run's id; folders with other names aren't ours."""


@dataclass(frozen=True)
class Removable:
    """Something in a store that nothing needs."""

    folder: str
    """Its name in the store."""
    run: str
    """The run that it is, or is of."""
    kind: str
    """`run`, `trial` or `leftover`."""
    size: int
    """In bytes."""
    newest: float
    """Time at which the last of its files was written, in seconds since 1970."""
    beside: tuple[str, ...] = ()
    """Files elsewhere that go with it."""


@dataclass(frozen=True)
class Plan:
    """Contents of a store that could be removed, and why others that nothing names are kept."""

    removable: tuple[Removable, ...]
    kept: dict[str, str]
    """Reasons by folder: `claimed`, `young`, `its time isn't known`."""


def plan_pruning(store: Store, hours: float = 1.0, now: float | None = None) -> Plan:
    """Find runs and trials that no study and no sweep names, and leftovers of killed runs; removes nothing.

    Args:
        store: the store.
        hours: what was written later than this long ago is kept.
        now: the time, in seconds since 1970; by default this machine's.

    Raises:
        ConfigError: a record can't be read, so that nobody knows which runs it names; or the store has no study and no
            sweep, so that all runs would be removed.
    """
    storage = store.storage
    if not any(storage.names(folder) for folder in ("studies", "sweeps")):
        raise ConfigError(
            f"{store.where} has no study and no sweep, so that nothing says which of its runs are needed; expected a "
            "store that a study has been started on"
        )
    now, claimed, records = time.time() if now is None else now, claimed_runs(storage), every_record(storage)
    removable, kept = [], {}
    for found in _unneeded(storage, records):
        why = "claimed" if found.run in claimed else _too_young(found, now, hours)
        if why:
            kept[found.folder] = why
        else:
            removable.append(found)
    return Plan(tuple(removable), kept)


def prune(store: Store, plan: Plan, hours: float = 1.0) -> Iterator[Removable]:
    """Remove what was planned, and yield each part once it is gone.

    Studies, sweeps and claims are read again meanwhile: what has been named or claimed since the plan stays. A run
    loses `DONE` first, so that one that is half removed isn't a run.

    Raises:
        ConfigError: as `plan_pruning`, when records are read again.
        OSError: something can't be removed.
    """
    storage = store.storage
    storage.require_writable()
    due, allowed = 0.0, set[str]()
    for found in plan.removable:
        if (start := time.monotonic()) >= due:
            allowed = {each.folder for each in plan_pruning(store, hours).removable}
            due = time.monotonic() + max(RECHECK_SECONDS, time.monotonic() - start)
        if found.folder not in allowed:
            continue
        storage.delete(f"{found.folder}/{DONE}")
        storage.delete_folder(found.folder)
        for name in found.beside:
            storage.delete(name)
        if left := storage.files(found.folder):
            raise OSError(f"{storage.locate(found.folder)}: {len(left)} of its files can't be removed")
        yield found


def _unneeded(storage: Storage, records: bytes) -> Iterator[Removable]:
    """Folders of runs and trials that no record names, and leftovers, whatever their age."""
    scored, failed = set(storage.names("scores")), set(storage.names("failures"))
    sweeps = set(storage.names("sweeps"))
    done: set[str] = set()
    for kind, parent in (("run", "runs"), ("trial", "trials")):
        for name, files in _folders(storage, parent).items():
            folder, half = f"{parent}/{name}", HALF_WRITTEN.fullmatch(name)
            run = half["run"] if half else name
            if not RUN.fullmatch(run):
                continue  # left by others
            here = Removable(folder, run, kind, sum(file.size for file in files.values()), _newest(files.values()))
            if half or DONE not in files:
                yield replace(here, kind="leftover")
                continue
            done.add(run)
            if run.encode() in records or (kind == "trial" and _of_sweep(storage, folder, sweeps)):
                continue
            beside = [score_file(run)] if f"{run}.parquet" in scored else []
            beside += [f"failures/{run}.json"] if f"{run}.json" in failed else []
            yield replace(here, beside=tuple(beside))
    for run, files in _folders(storage, "checkpoints").items():
        # A sweep that goes on resumes trials that it hasn't noted yet.
        unwanted = not sweeps and run.encode() not in records
        if RUN.fullmatch(run) and (run in done or unwanted):
            newest = _newest(files.values())
            yield Removable(f"checkpoints/{run}", run, "leftover", sum(file.size for file in files.values()), newest)


def _of_sweep(storage: Storage, folder: str, sweeps: set[str]) -> bool:
    """Tell whether a trial was made by a sweep of the store, which may not have noted it yet; True in doubt."""
    config = from_json(storage.read_foreign(f"{folder}/{CONFIG}"))
    origin = config.get("origin") if config else None
    return not isinstance(origin, list) or not origin or str(origin[0]) in sweeps


def _folders(storage: Storage, parent: str) -> dict[str, dict[str, Stored]]:
    """Files of each folder in `parent`."""
    found: dict[str, dict[str, Stored]] = {}
    for path, file in storage.files(parent).items():
        name, slash, rest = path.partition("/")
        if slash:
            found.setdefault(name, {})[rest] = file
    return found


def _newest(files: Iterable[Stored]) -> float:
    """When the last of some files was written; infinite where that isn't known."""
    return max((float("inf") if file.modified is None else file.modified for file in files), default=float("inf"))


def _too_young(found: Removable, now: float, hours: float) -> str:
    """Why something is kept for its age; empty where it isn't."""
    if found.newest == float("inf"):
        return "its time isn't known"
    return "young" if now - found.newest < hours * HOUR else ""
