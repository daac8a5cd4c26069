"""State of a store's studies and sweeps: runs that are done or have failed, and what running drivers are doing.

Files that can't be read, because they are foreign or half written, are named and passed over.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from metaseg.config import ConfigError
from metaseg.schema import looks_file
from metaseg.store.runs import Store, from_json, run_label
from metaseg.terminal import visible

LAST_TIME = 1e11
"""Seconds since 1970; a later time stamp is taken for damage."""

QUIET_SECONDS = 30.0
"""Age in seconds from which a driver's last sign of life is called old."""


@dataclass(frozen=True)
class StudyStatus:
    """Counts of a study's runs."""

    name: str
    runs: int
    done: int
    failed: dict[str, str]
    """Reason of failure by the run's label."""
    drivers: tuple[dict[str, Any], ...]
    """Status records of the drivers that train it (`metaseg.store.claims.Claimant`)."""
    looks: str = ""
    """Looks taken by a study until decided, and its open comparisons; empty for others."""
    open: bool = False
    """True for such a study that hasn't ended."""


def study_statuses(store: Store, unreadable: list[str]) -> Iterator[StudyStatus]:
    """Yield the state of each study of the store, from its files alone: Ray needn't be running.

    Args:
        store: the store.
        unreadable: receives the paths of studies' files that can't be read.
    """
    done, failed, drivers = store.done(), store.failed(), living_drivers(store)
    for file in store.storage.names("studies"):
        if not file.endswith(".json"):
            continue
        name, record = file.removesuffix(".json"), _object(store, f"studies/{file}")
        try:
            runs = {str(run["run_id"]): run_label(run) for run in record["runs"]}
        except (KeyError, TypeError):
            unreadable.append(store.storage.locate(f"studies/{file}"))
            continue
        yield StudyStatus(
            name=name,
            runs=len(runs),
            done=len(done.intersection(runs)),
            failed={runs[run]: _last_words(store, run) for run in runs if run in failed - done},
            drivers=tuple(driver for driver in drivers if driver["status"].get("study") == name),
            **_looks(store, name, record.get("sequential")),
        )


def _looks(store: Store, study: str, rule: object) -> dict[str, Any]:
    """Progress of a study with a stopping rule; empty without one, or where files can't be read."""
    planned, told = rule.get("looks") if isinstance(rule, dict) else None, _object(store, looks_file(study))
    taken, decisions = told.get("looks", []), told.get("decisions", {})
    if not isinstance(planned, list) or not isinstance(taken, list) or not isinstance(decisions, dict):
        return {}
    going = [str(name) for name, decision in decisions.items() if decision == "open"]
    said = f"look {len(taken)} of {len(planned)}; " if taken else f"no look of {len(planned)} yet"
    said += (f"open: {', '.join(going)}" if going else "nothing is open") if taken else ""
    return {"looks": said, "open": bool(going) or not taken}


def living_drivers(store: Store) -> list[dict[str, Any]]:
    """Status records of drivers (`metaseg.store.claims.Claimant`); one that was killed may be among them."""
    told = (_object(store, f"sessions/{name}") for name in store.storage.names("sessions"))
    return [driver for driver in told if _is_driver(driver)]


def _is_driver(about: dict[str, Any]) -> bool:
    status, known = about.get("status"), {"host": str, "pid": int, "time": int | float}
    if not isinstance(status, dict) or not all(isinstance(about.get(key), kind) for key, kind in known.items()):
        return False
    running = status.get("running", [])
    if not isinstance(running, list) or not abs(about["time"]) < LAST_TIME:
        return False
    return all(isinstance(run, dict) and {"label", "state"} <= run.keys() for run in running)


def _object(store: Store, name: str) -> dict[str, Any]:
    """A JSON object of the store; empty if the file is gone or holds something else."""
    return from_json(store.storage.read_foreign(name)) or {}


def _last_words(store: Store, run_id: str) -> str:
    return str(_object(store, f"failures/{run_id}.json").get("error", ""))


def print_status(store: Store, console: Console) -> None:
    """Print the state of the store's studies and sweeps.

    Raises:
        ConfigError: there are none.
    """
    studies, sweeps = store.storage.names("studies"), store.storage.names("sweeps")
    if not studies and not sweeps:
        raise ConfigError(f"{store.where} has no study; expected a store that a study or sweep has been started on")
    console.print(Text(f"Store {store.where}", "bold"), soft_wrap=True)
    unreadable: list[str] = []
    if studies:
        print_studies(store, console, unreadable)
    if sweeps:
        print_sweeps(store, console, unreadable)
    for path in unreadable:
        console.print(Text.assemble(("unreadable: ", "bold yellow"), path), soft_wrap=True)


def print_sweeps(store: Store, console: Console, unreadable: list[str]) -> None:
    """Print a table of the store's sweeps, then each driver's trials and each sweep's best settings so far.

    Args:
        store: the store.
        console: to print on.
        unreadable: receives the paths of sweeps' files that can't be read.
    """
    # Only where there are sweeps: Optuna takes its time to be imported.
    from metaseg.sweeps.status import sweep_statuses

    statuses, drivers = list(sweep_statuses(store, unreadable)), living_drivers(store)
    table = Table("sweep", box=None)
    for column in ("trials", "complete", "pruned", "failed", "running"):
        table.add_column(column, justify="right")
    for status in statuses:
        counts = (status.counts.get(state, 0) for state in ("complete", "pruned", "failed", "running"))
        table.add_row(visible(status.name), str(status.planned), *map(str, counts))
    console.print(table)
    for status in statuses:
        own = [driver for driver in drivers if driver["status"].get("sweep") == status.name]
        for driver in own:
            _print_driver(status.name, driver, console)
        if status.best:
            console.print(Text(visible(f"{status.name}: {status.best}")), soft_wrap=True)
        ended = sum(count for state, count in status.counts.items() if state != "running")
        if not own and ended < status.planned:
            console.print(
                Text(visible(f"{status.name}: no driver is running it; the same command continues it.")), soft_wrap=True
            )


def _print_driver(name: str, driver: dict[str, Any], console: Console) -> None:
    # By the clocks of two machines: a hint for the reader, nothing is decided by it.
    seconds = time.time() - driver["time"]
    age = f"{max(0.0, seconds):.0f} s ago" + (": has it died?" if seconds > QUIET_SECONDS else "")
    if seconds < -QUIET_SECONDS:
        age = f"{-seconds:.0f} s in the future: the clocks of the two machines differ"
    where = f"{driver['host']}, process {driver['pid']}"
    console.print(Text("\n" + visible(f"{name}: driver on {where}, last seen {age}"), "bold"), soft_wrap=True)
    for run in driver["status"].get("running", ()):
        console.print(Text(visible(f"  {run['label']!s:<24} {run.get('run_id', '')}  {run['state']}")), soft_wrap=True)


def print_studies(store: Store, console: Console, unreadable: list[str]) -> None:
    """Print a table of the store's studies, then each driver's runs and each failure.

    Args:
        store: the store.
        console: to print on.
        unreadable: receives the paths of studies' files that can't be read.
    """
    statuses = list(study_statuses(store, unreadable))
    table = Table("study", box=None)
    for column in ("runs", "done", "running", "waiting", "failed", "time left"):
        table.add_column(column, justify="right")
    for status in statuses:
        running = sum(len(driver["status"].get("running", ())) for driver in status.drivers)
        waiting = max(0, status.runs - status.done - running - len(status.failed))
        left = ", ".join(str(driver["status"].get("time_left", "?")) for driver in status.drivers) or "-"
        counts = (status.runs, status.done, running, waiting, len(status.failed))
        table.add_row(*map(visible, (status.name, *map(str, counts), left)))
    console.print(table)
    for status in statuses:
        for driver in status.drivers:
            _print_driver(status.name, driver, console)
        for label, reason in status.failed.items():
            console.print(Text.assemble(("failed: ", "bold red"), visible(f"{label}: {reason}")), soft_wrap=True)
        if status.looks:
            console.print(Text(visible(f"{status.name}: {status.looks}")), soft_wrap=True)
        if not status.drivers and (status.open or status.done < status.runs):
            does = "continues it" if status.open else "trains what is missing"
            console.print(
                Text(visible(f"{status.name}: no driver is training it; the same command {does}.")), soft_wrap=True
            )
