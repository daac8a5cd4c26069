"""How trials end in Optuna's study, and which of them is the best."""

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from metaseg.sweeps.objectives import objective_values
from metaseg.sweeps.sweep import FACTS, Sweep


def tell(study: optuna.Study, trial: FrozenTrial, facts: Mapping[str, Any], sweep: Sweep) -> None:
    """End an Optuna trial as its facts (`metaseg.sweeps.trial.Facts`) say.

    Raises:
        ConfigError: it is complete, but an objective or a constrained quantity wasn't reported.
    """
    if facts["state"] == "complete":
        for constraint in sweep.constraints:
            optuna.Trial(study, trial._trial_id).set_constraint(str(constraint), constraint.violation(facts["values"]))
        name = f"trial {trial.number} of sweep {sweep.name!r}"
        study.tell(trial.number, objective_values(sweep.search.objectives, facts["values"], name))
    elif facts["state"] == "pruned" or trial.intermediate_values:
        # One that diverged is like a pruned one: samplers mustn't go there again.
        study.tell(trial.number, state=TrialState.PRUNED)
    else:
        study.tell(trial.number, state=TrialState.FAIL)


def best_trial(sweep: Sweep, study: optuna.Study) -> FrozenTrial | None:
    """The complete trial with the highest validation F1 that keeps to the constraints; of equals the first."""
    best: FrozenTrial | None = None
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        values = trial.user_attrs[FACTS]["values"]
        if any(constraint.violation(values) > 0 for constraint in sweep.constraints):
            continue
        if best is None or values["val_f1"] > best.user_attrs[FACTS]["values"]["val_f1"]:
            best = trial
    return best


def first_error(study: optuna.Study) -> str:
    """What the first failed trial died of; empty where none did."""
    trials = study.get_trials(deepcopy=False)
    errors = (trial.user_attrs.get(FACTS, {}).get("error", "") for trial in trials)
    return next(filter(None, errors), "")
