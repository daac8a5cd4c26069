"""Sweeps of a store: the search as it was declared, its table of trials, and both as an Optuna study."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, json_to_distribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from analysis.results.declaration import ResultsError, read_json, readable, study_names
from analysis.results.parquet import read_parquet, refused, require
from metaseg.schema import PARAM, SWEEP, TRIALS, VAL_F1, Direction, study_file, sweep_file
from metaseg.store.storage import Storage

SCORE = VAL_F1
"""Objective that trials are ranked by."""

STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "running": TrialState.RUNNING,
}

NUMBERS = ("number", SCORE, "epochs", "epochs_planned", "image_epochs", "seconds", "parameters")
TEXTS = ("state", "run_id", "error")
FLAGS = ("reused", "feasible")
CURVES = ("curve_epoch", "curve_val_f1")


@dataclass(frozen=True)
class Objective:
    """A column of the trials, and whether more of it is better."""

    name: str
    direction: Direction

    @property
    def sign(self) -> int:
        """1 where more is better, else -1."""
        return 1 if self.direction == "maximize" else -1


@dataclass(frozen=True)
class Sweep:
    """Declaration of a sweep: its search space, objectives and settings."""

    name: str
    dataset: str
    about: str
    """One sentence on the data; empty if the sweep has none."""
    arm: str
    space: Mapping[str, BaseDistribution]
    conditions: Mapping[str, tuple[str, tuple[Any, ...]]]
    """For settings that don't exist always: another setting, and its values for which they do."""
    objectives: tuple[Objective, ...]
    constraints: tuple[str, ...]
    sampler: str
    pruner: str
    seed: int
    tuning_seed: int
    """Seed of the weights and crops of all trials."""
    trials_planned: int
    network: Mapping[str, Any]
    schedule: Mapping[str, Any]
    """Settings of all trials, but for those that are searched."""
    command: str


def sweep_names(storage: Storage) -> list[str]:
    """Names of the store's sweeps, sorted; raises `ResultsError` where there is none."""
    names = sorted(storage.subfolders_with("sweeps", SWEEP))
    if not names:
        raise ResultsError(f"{storage.locate('sweeps')}: no sweep there")
    return names


def readable_sweeps(storage: Storage, warn: Callable[[str], None]) -> list[str]:
    """Names of the store's sweeps, as `analysis.results.declaration.readable`."""
    return readable(storage, {name: sweep_file(name, SWEEP) for name in sweep_names(storage)}, ("space",), warn)


def read_sweep(storage: Storage, name: str) -> Sweep:
    """Read a sweep's declaration; raises `ResultsError` for an unknown or malformed one."""
    names = sweep_names(storage)
    if name not in names:
        raise ResultsError(f"unknown sweep {name!r} in {storage.where}; known: {', '.join(names)}")
    file = sweep_file(name, SWEEP)
    path = storage.locate(file)
    record = read_json(storage.read(file), path)
    try:
        sweep = Sweep(
            name=name,
            dataset=str(record["dataset"]),
            about=str(record.get("about") or ""),
            arm=str(record["arm"]),
            space={setting: json_to_distribution(text) for setting, text in record["space"].items()},
            conditions={
                setting: (str(other), tuple(values)) for setting, (other, values) in record["conditions"].items()
            },
            objectives=tuple(Objective(each["name"], each["direction"]) for each in record["objectives"]),
            constraints=tuple(map(str, record["constraints"])),
            sampler=str(record["sampler"]),
            pruner=str(record["pruner"]),
            seed=int(record["seed"]),
            tuning_seed=int(record["tuning_seed"]),
            trials_planned=int(record["trials_planned"]),
            network=dict(record["network"]),
            schedule=dict(record["schedule"]),
            command=str(record["command"]),
        )
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise ResultsError(f"{path}: not a sweep's description: {error!r}") from error
    if SCORE not in [objective.name for objective in sweep.objectives]:
        raise ResultsError(f"{path}: objectives are {record['objectives']!r}; expected {SCORE} among them")
    return sweep


def read_trials(storage: Storage, sweep: Sweep) -> pd.DataFrame:
    """The sweep's trials by number: columns as in `sweeps/<name>/trials.parquet`, curves as NumPy arrays.

    A setting that was widened to another kind of number, or that a trial lacks, is NaN or None there.

    Raises:
        ResultsError: no table, one that isn't such a table, or no trial with a validation score.
    """
    file = sweep_file(sweep.name, TRIALS)
    path = storage.locate(file)
    content = storage.read_or_none(file)
    if content is None:
        raise ResultsError(f"{path}: not there; the sweep has no finished trial yet")
    table = read_parquet(content, path)
    require(table, [*NUMBERS, *(objective.name for objective in sweep.objectives)], "numbers", path)
    require(table, TEXTS, "text", path)
    require(table, FLAGS, "booleans", path)
    require(table, CURVES, "lists of numbers", path)
    for column in (PARAM + setting for setting in sweep.space):
        if column not in table.column_names:
            raise ResultsError(f"{path}: no column {column!r}; it has {', '.join(table.column_names)}")
    for column in ("number", "state", *FLAGS):
        if table[column].null_count:
            raise ResultsError(f"{path}: column {column!r} has {table[column].null_count} missing values")
    with refused(path):
        trials: pd.DataFrame = table.to_pandas()
    if unknown := sorted(set(trials["state"]) - set(STATES)):
        raise ResultsError(f"{path}: state {unknown[0]!r}; expected one of {', '.join(STATES)}")
    if trials["number"].duplicated().any():
        number = trials.loc[trials["number"].duplicated(), "number"].iloc[0]
        raise ResultsError(f"{path}: trial {number} is there twice")
    if trials[SCORE].isna().all():
        raise ResultsError(f"{path}: none of its {len(trials)} trials has a validation score yet")
    for column in CURVES:
        curves = [np.asarray([] if curve is None else curve, float) for curve in trials[column]]
        trials[column] = pd.Series(curves, dtype=object)
    epochs, scores = (trials[column].map(len) for column in CURVES)
    if (epochs != scores).any():
        number = trials.loc[epochs != scores, "number"].iloc[0]
        raise ResultsError(f"{path}: trial {number} has {CURVES[0]} and {CURVES[1]} of two lengths; expected one")
    return trials.sort_values("number", ignore_index=True)


def read_arm_sweeps(storage: Storage, study: str) -> dict[str, tuple[Sweep, pd.DataFrame]]:
    """The sweep of each arm and its trials, where a study's arms were tuned; empty where they weren't.

    Raises:
        ResultsError: of the study's record or of a sweep.
    """
    file = study_file(study)
    if study not in study_names(storage):
        return {}
    names = read_json(storage.read(file), storage.locate(file)).get("sweeps") or {}
    if not isinstance(names, dict):
        raise ResultsError(f"{storage.locate(file)}: sweeps is {names!r}; expected a sweep's name for each arm")
    sweeps = {str(arm): read_sweep(storage, str(name)) for arm, name in names.items()}
    return {arm: (sweep, read_trials(storage, sweep)) for arm, sweep in sweeps.items()}


def best_trial(trials: pd.DataFrame) -> pd.Series | None:
    """The complete trial that keeps the constraints and has the highest validation score, of equal ones the first.

    Pruned ones can't win: what they might have become isn't known. None where no trial qualifies.

    Args:
        trials: of `read_trials`.
    """
    known = trials[(trials["state"] == "complete") & trials["feasible"].astype(bool) & trials[SCORE].notna()]
    return known.sort_values([SCORE, "number"], ascending=[False, True]).iloc[0] if len(known) else None


def settings_of(trial: Mapping[str, Any] | pd.Series, sweep: Sweep) -> dict[str, Any]:
    """The searched settings that a trial has, by name, as values of the space's distributions.

    A value that no longer lies in the space (it was changed since) is left as it is in the table.
    """
    found = {}
    for name, kind in sweep.space.items():
        value = trial[PARAM + name]
        if value is None or (isinstance(value, float) and math.isnan(value)):
            continue
        if isinstance(kind, CategoricalDistribution):
            value = next((choice for choice in kind.choices if _same(choice, value)), value)
        elif isinstance(kind, optuna.distributions.IntDistribution):
            value = int(value)
        else:
            value = float(value)
        found[name] = value
    return found


def _same(choice: Any, value: Any) -> bool:
    """True if a cell of the table stands for the choice: names there are joined by "+", and numbers may be text."""
    return bool(choice == value) or choice_label(choice) == str(value)


def choice_label(choice: Any) -> str:
    """A setting's choice as text: names joined by "+", numbers as short as they can be."""
    if isinstance(choice, list | tuple):
        return "+".join(map(str, choice))
    return f"{choice:g}" if isinstance(choice, float) else str(choice)


def in_space(settings: Mapping[str, Any], sweep: Sweep) -> bool:
    """True if all values lie in the present search space."""
    for name, value in settings.items():
        kind = sweep.space[name]
        if isinstance(kind, CategoricalDistribution):
            if value not in kind.choices:
                return False
        elif not kind.low <= value <= kind.high:  # type: ignore[attr-defined]
            return False
    return True


def to_optuna(trials: pd.DataFrame, sweep: Sweep) -> optuna.Study:
    """The trials as a study of Optuna in memory, for its importances and plots; nothing can be continued from it.

    Trials keep their states, settings, values and validation scores by epoch. Left out are running ones, those with
    settings outside the present space, and finished ones that lack an objective. Numbers are counted anew.

    Args:
        trials: of `read_trials`.
        sweep: whose they are.
    """
    study = memory_study([objective.direction for objective in sweep.objectives])
    study.add_trials(trial for _, row in trials.iterrows() if (trial := _frozen(row, sweep)) is not None)
    return study


def memory_study(directions: list[Direction]) -> optuna.Study:
    """A new study of Optuna in memory, without a line in the log."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(directions=directions)
    finally:
        optuna.logging.set_verbosity(verbosity)


def _frozen(row: pd.Series, sweep: Sweep) -> FrozenTrial | None:
    state, settings = STATES[row["state"]], settings_of(row, sweep)
    values = [float(row[objective.name]) for objective in sweep.objectives]
    lacking = state == TrialState.COMPLETE and not np.isfinite(values).all()
    if state == TrialState.RUNNING or lacking or not in_space(settings, sweep):
        return None
    curve = zip(row["curve_epoch"], row["curve_val_f1"], strict=True)
    return create_trial(
        state=state,
        values=values if state == TrialState.COMPLETE else None,
        params=settings,
        distributions={name: sweep.space[name] for name in settings},
        intermediate_values={int(epoch): float(score) for epoch, score in curve},
        user_attrs={"number": int(row["number"]), "run_id": row["run_id"]},
    )
