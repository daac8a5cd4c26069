"""A row for each run of a store: who names it, what it is, what it scored, where and when."""

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from metaseg.config import ConfigError
from metaseg.keeping.condition import Condition, Kind, Row, Value
from metaseg.keeping.naming import READERS, NamedRun, named_runs, running_runs
from metaseg.schema import AS_TRAINED, DONE, HISTORY, IMAGES
from metaseg.store.runs import DamagedRunError, FinishedRun, Store
from metaseg.store.storage import Stored

COLUMNS: dict[str, Kind] = {
    "run": "text", "state": "text", "studies": "texts", "arm": "text", "part": "text", "block": "text",
    "metadata": "text", "seed": "number", "fold": "text", "dataset": "text", "fingerprint": "text", "network": "text",
    "width": "number", "depth": "number", "epochs": "number", "val_f1": "number", "test_f1": "number",
    "minutes": "number", "finished": "text", "machine": "text", "device": "text", "training_version": "number",
}  # fmt: skip
"""Columns and their kinds; docs/how-to/keep-a-store.md explains them."""

Config = Mapping[str, Any]


def catalogue(
    store: Store,
    study: str | None = None,
    condition: Condition | None = None,
    columns: Collection[str] = tuple(COLUMNS),
    warn: Callable[[str], None] = lambda line: None,
) -> list[dict[str, Value]]:
    """Rows of a store's runs: those that studies name, in their order, then those that no study names.

    Args:
        store: the store, or a bundle.
        study: only the runs that this study names.
        condition: only rows that it holds for.
        columns: those that are looked at, by the caller or the condition; others may be None. Scores take the longest.
        warn: told of runs that can't be read, which are there with the state `damaged`.

    Raises:
        ConfigError: the store has no runs and no studies, or not this study.
    """
    named, done = named_runs(store, study, warn), store.done()
    if not named and not done:
        raise ConfigError(f"{store.where} has no run and no study; expected a store that a study has been started on")
    running, failed = running_runs(store.storage), store.failed()
    stored = store.storage.files("runs") if "finished" in columns else {}
    ids = [*named, *(sorted(done - named.keys()) if study is None else [])]

    def row(run_id: str) -> dict[str, Value]:
        is_done = run_id in done
        state = "done" if is_done else "running" if run_id in running else "failed" if run_id in failed else "waiting"
        found = _named_row(run_id, state, named.get(run_id, []))
        if is_done:
            try:
                found |= _done_row(FinishedRun.open(store.storage, f"runs/{run_id}"), columns, found)
            except (DamagedRunError, ConfigError) as error:
                warn(str(error))
                found["state"] = "damaged"
            found["finished"] = _finished(stored.get(f"{run_id}/{DONE}"))
        return found

    with ThreadPoolExecutor(READERS) as pool:
        rows = list(pool.map(row, ids))
    return [each for each in rows if condition is None or condition(each)]


def _named_row(run_id: str, state: str, named: list[NamedRun]) -> dict[str, Value]:
    """Columns that come from studies' records; an arm that studies call differently has all its names."""
    seed, fold = (named[0].seed, named[0].fold) if named else (None, None)
    arms, parts = (", ".join(filter(None, dict.fromkeys(getattr(n, key) for n in named))) for key in ("arm", "part"))
    row: dict[str, Value] = dict.fromkeys(COLUMNS)
    studies = tuple(each.study for each in named)
    return row | {
        "run": run_id, "state": state, "studies": studies, "arm": arms or None, "part": parts or None, "seed": seed,
        "fold": fold,
    }  # fmt: skip


def _done_row(run: FinishedRun, columns: Collection[str], row: Row) -> dict[str, Value]:
    """Columns that come from a finished run's files."""
    config = run.description()
    dataset, network, hardware = (_object(config, key) for key in ("dataset", "network", "hardware"))
    other = _object(config, "architecture").get("network")
    seconds, schedule, arm = config.get("seconds"), _object(config, "schedule"), _object(config, "arm")
    found: dict[str, Value] = {
        "block": _text(arm.get("block")),
        "metadata": _text(arm.get("metadata_mode")),
        "seed": _number(config.get("seed")),
        "fold": _text(config.get("fold")),
        "dataset": _text(dataset.get("name")),
        "fingerprint": (_text(dataset.get("fingerprint")) or "")[:8] or None,
        "network": _text(other) or "unet",
        "width": None if other else _number(network.get("width")),
        "depth": None if other else _number(network.get("depth")),
        "epochs": _number(schedule.get("epochs")),
        "minutes": None if (number := _number(seconds)) is None else number / 60,
        "machine": _text(hardware.get("host")),
        "device": _text(hardware.get("device")),
        "training_version": _number(config.get("training_version")),
    }
    if "val_f1" in columns:
        best = run.table(HISTORY, (), ("val_f1",))["val_f1"].max()
        found["val_f1"] = float(best) if best == best else None
    if "test_f1" in columns:
        found["test_f1"] = _test_f1(run)
    return found


def _test_f1(run: FinishedRun) -> float | None:
    """Mean over test images and classes of F1 as trained; 1 where an image and its prediction both lack the class."""
    rows = run.table(IMAGES, ("evaluation",), ("tp", "fp", "fn"))
    rows = rows[rows["evaluation"] == AS_TRAINED]
    twice = 2 * rows["tp"].astype(float)
    f1 = (twice / (twice + rows["fp"] + rows["fn"])).fillna(1.0)
    return float(f1.mean()) if len(f1) else None


def _finished(done: Stored | None) -> str | None:
    """When a run's `DONE` was written, in UTC; a copy of a store may have the time of copying."""
    if done is None or done.modified is None:
        return None
    return datetime.fromtimestamp(done.modified, UTC).strftime("%Y-%m-%d %H:%M")


def _object(config: Config, key: str) -> dict[str, Any]:
    value = config.get(key)
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def sorted_rows(rows: list[dict[str, Value]], column: str, descending: bool = False) -> list[dict[str, Value]]:
    """Rows by a column, equal ones in the order they had; those without a value come last either way."""
    known = [row for row in rows if row[column] is not None]
    known.sort(key=lambda row: row[column], reverse=descending)  # type: ignore[arg-type, return-value]
    return known + [row for row in rows if row[column] is None]
