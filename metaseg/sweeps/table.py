"""A sweep as a table with a row per trial, for `analysis` to read."""

from typing import Any

import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from metaseg.schema import PARAM, TRIALS, VAL_F1, sweep_file
from metaseg.store.runs import Store
from metaseg.study.execution import to_parquet
from metaseg.sweeps.outcome import keeps_to
from metaseg.sweeps.sweep import FACTS, Sweep

RUNNING = (TrialState.RUNNING, TrialState.WAITING)


def write_table(sweep: Sweep, study: optuna.Study, store: Store) -> pd.DataFrame:
    """Write `sweeps/NAME/trials.parquet` and return the table; docs/reference/sweeps.md explains its columns."""
    table = pd.DataFrame([row_of(trial, sweep) for trial in study.get_trials(deepcopy=False)])
    integers = {name: "int64" for name in ("number", "epochs", "epochs_planned", "image_epochs") if name in table}
    table = table.astype(integers)
    store.storage.write(sweep_file(sweep.name, TRIALS), to_parquet(table))
    return table


def row_of(trial: FrozenTrial, sweep: Sweep) -> dict[str, Any]:
    """A trial's row of the table."""
    facts: dict[str, Any] = trial.user_attrs.get(FACTS, {})
    values: dict[str, float] = facts.get("values", {})
    curve = facts.get("curve", [])
    return {
        "sweep": sweep.name,
        "dataset": sweep.dataset.name,
        "arm": sweep.arm.name,
        "number": trial.number,
        "state": "running" if trial.state in RUNNING else facts.get("state", "failed"),
        "run_id": facts.get("run_id", ""),
        "reused": bool(facts.get("reused", False)),
        **{PARAM + name: trial.params.get(name) for name in sweep.space.distributions()},
        VAL_F1: values.get("val_f1", max((score for _, score in curve), default=float("nan"))),
        "parameters": values.get("parameters", float("nan")),
        "flops": values.get("flops", float("nan")),
        "seconds_an_image": values.get("seconds_an_image", float("nan")),
        "feasible": not values or keeps_to(sweep.constraints, values),
        "epochs": facts.get("epochs", 0),
        "epochs_planned": facts.get("epochs_planned", 0),
        "image_epochs": facts.get("image_epochs", 0),
        "seconds": facts.get("seconds", 0.0),
        "curve_epoch": [epoch for epoch, _ in curve],
        "curve_val_f1": [score for _, score in curve],
        "error": facts.get("error", ""),
    }
