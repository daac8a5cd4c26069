"""Sources of what trackers are told: a plan, a store's record, or the files of a run."""

import contextlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from metaseg.schema import HISTORY, PARAM, TRIALS, VAL_F1, sweep_file
from metaseg.store.runs import DamagedRunError, FinishedRun, Store
from metaseg.store.storage import Storage
from metaseg.study.plan import PlannedRun
from metaseg.tracking.tracker import Ending, TrackedRun, Value, Values
from metaseg.training.checkpoint import unpack
from metaseg.training.history import Epoch

COLUMNS = ("epoch", "train_loss", VAL_F1, "learning_rate", "images_per_second", "seconds")
"""Columns of a run's history."""

REPORT_FILES = (
    "report.html", "table.md", "table.csv", "tests.csv", "runs.csv", "config.toml", "forest.png", "f1.png",
    "learning.png", "trials.csv",
)  # fmt: skip
"""Files of a report that trackers get, as far as there are."""

NO_SETTINGS = ("run_id", "seed", "fold", "dataset", "own_blocks", "versions", "git_commit", "hardware", "best_epoch",
               "seconds", "training_version", "parameters", "origin")  # fmt: skip
"""Entries of a run's `config.json` that aren't settings."""


def planned(study: str, run: PlannedRun) -> TrackedRun:
    """A run of a plan."""
    config = run.config
    arm = {"block": config.block, "metadata_mode": config.metadata_mode}
    subset = {"subset": asdict(config.subset)} if config.subset else {}
    about = {"arm": arm, "network": asdict(config.network), "schedule": asdict(config.schedule), **subset}
    later = {name: value for name, value in config.later.items() if name not in NO_SETTINGS}
    settings = flat({**about, **later})
    return TrackedRun(study, run.run_id, run.label, run.arm.name, config.seed, config.fold or "", run.part, settings)


def recorded(study: str, run: Mapping[str, Any], finished: FinishedRun) -> TrackedRun:
    """A finished run, by its entry in the study's record; raises `KeyError` if that isn't one."""
    part, fold, seed = str(run.get("part") or ""), run.get("fold"), int(run["seed"])
    label = f"{run['arm']} {part} seed {seed}".replace("  ", " ") + ("" if fold is None else f" fold {fold}")
    about = {name: value for name, value in finished.description().items() if name not in NO_SETTINGS}
    return TrackedRun(study, str(run["run_id"]), label, str(run["arm"]), seed, str(fold or ""), part, flat(about))


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Value]:
    """Nested settings by dotted names; lists as text, what is None left out."""
    found: dict[str, Value] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        elif isinstance(value, str | int | float):
            found[f"{prefix}{name}"] = value
        elif value is not None:
            found[f"{prefix}{name}"] = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return found


def values_of(epoch: Epoch) -> Values:
    """An epoch's values, without those that it hasn't."""
    return {name: float(value) for name, value in asdict(epoch).items() if name != "epoch" and value is not None}


def history_of(finished: FinishedRun) -> dict[int, Values]:
    """Epochs of a finished run; raises `DamagedRunError` if its history can't be read."""
    rows = finished.table(HISTORY, (), COLUMNS).to_dict("records")
    return {
        int(row["epoch"]): {str(name): float(row[name]) for name in COLUMNS[1:] if row[name] == row[name]}
        for row in rows
    }


def summary_of(finished: FinishedRun) -> Values:
    """Numbers on a run as a whole. No score of test images is among them: those are for the study's report."""
    history, about = history_of(finished), finished.description()
    scores = [values[VAL_F1] for values in history.values() if VAL_F1 in values]
    best = {"best_val_f1": max(scores)} if scores else {}
    names = ("best_epoch", "parameters")
    kept = {name: float(about[name]) for name in names if isinstance(about.get(name), int | float)}
    return {**best, **kept, "seconds": sum(values.get("seconds", 0.0) for values in history.values())}


def checkpointed(store: Store, run_id: str) -> dict[int, Values]:
    """Epochs in the newest readable checkpoint of a run that isn't done; empty if there is none."""
    for _, content in store.checkpoints(run_id):
        with contextlib.suppress(ValueError):  # half written; an older one may be whole
            return {epoch.epoch: values_of(epoch) for epoch in unpack(content)[0].history}
    return {}


def report_files(storage: Storage, name: str, sweep: bool = False) -> dict[str, bytes]:
    """Files of the last report on a study, or of a sweep's page, by name; empty if there is none."""
    from analysis.report.study import folder_name, report_folder

    folder = f"reports/sweeps/{folder_name(name)}/" if sweep else report_folder(name, "f1")
    return dict(_existing(storage, folder))


def _existing(storage: Storage, folder: str) -> Iterator[tuple[str, bytes]]:
    for name in REPORT_FILES:
        content = storage.read_foreign(f"{folder}{name}")
        if content is not None:
            yield name, content


def recorded_trial(row: Mapping[str, Any], seed: int) -> tuple[TrackedRun, dict[int, Values], Ending]:
    """A sweep's trial: the run that it is, its validation curve, and how it ended.

    Args:
        row: of the sweep's table (`metaseg.sweeps.table`).
        seed: of all trials of the sweep.
    """
    number = int(row["number"])
    searched = {name.removeprefix(PARAM): value for name, value in row.items() if name.startswith(PARAM)}
    settings = {"trial": number, **flat({name: value for name, value in searched.items() if value == value})}
    run_id, arm = str(row["run_id"] or f"trial-{number}"), str(row["arm"])
    run = TrackedRun(str(row["sweep"]), run_id, f"{arm} trial {number}", arm, seed, "", "", settings)
    curve = zip(row["curve_epoch"], row["curve_val_f1"], strict=True)
    endings: dict[str, Ending] = {"complete": "finished", "failed": "failed"}
    return run, {int(epoch): {VAL_F1: float(f1)} for epoch, f1 in curve}, endings.get(str(row["state"]), "stopped")


def trials_of(store: Store, sweep: str) -> list[dict[str, Any]]:
    """Rows of a sweep's table whose trials have ended; raises `DamagedRunError` if it can't be read."""
    import pandas as pd

    content = store.storage.read_or_none(sweep_file(sweep, TRIALS))
    if content is None:
        return []
    try:
        rows = pd.read_parquet(io.BytesIO(content)).to_dict("records")
        return [{str(name): value for name, value in row.items()} for row in rows if row["state"] != "running"]
    except Exception as error:  # a damaged file can raise anything inside a decoder
        where = store.storage.locate(sweep_file(sweep, TRIALS))
        raise DamagedRunError(f"{where}: not a sweep's table: {type(error).__name__}: {error}") from error
