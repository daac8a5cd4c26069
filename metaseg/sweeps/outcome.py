"""The ends of trials in Optuna's study, and the best trial."""

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from metaseg.sweeps.objectives import Constraint, objective_values
from metaseg.sweeps.sweep import FACTS, Sweep


def tell(study: optuna.Study, trial: FrozenTrial, facts: Mapping[str, Any], sweep: Sweep) -> None:
    """End an Optuna trial as its facts (`metaseg.sweeps.trial.Facts`) say.

    Raises:
        ConfigError: the trial is complete, but didn't report an objective or a constrained quantity.
    """
    if facts["state"] == "complete":
        for constraint in sweep.constraints:
            optuna.Trial(study, trial._trial_id).set_constraint(str(constraint), constraint.violation(facts["values"]))
        name = f"trial {trial.number} of sweep {sweep.name!r}"
        study.tell(trial.number, objective_values(sweep.search.objectives, facts["values"], name))
    elif facts["state"] == "pruned" or facts.get("diverged"):
        # A trial that diverged counts as pruned, so that samplers avoid its settings. Faults of machines say nothing
        # about the settings.
        study.tell(trial.number, state=TrialState.PRUNED)
    else:
        study.tell(trial.number, state=TrialState.FAIL)


def keeps_to(constraints: Sequence[Constraint], values: Mapping[str, float]) -> bool:
    """Return True if a trial that reported these values satisfies all constraints."""
    return all(constraint.violation(values) <= 0 for constraint in constraints)


def best_trial(sweep: Sweep, study: optuna.Study) -> FrozenTrial | None:
    """The complete trial with the highest validation F1 that satisfies the constraints; the first one in a tie."""
    return best_within(sweep.constraints, study)


def best_within(constraints: Sequence[Constraint], study: optuna.Study) -> FrozenTrial | None:
    """The same as `best_trial`, given only the sweep's constraints."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    kept = [trial for trial in complete if keeps_to(constraints, trial.user_attrs[FACTS]["values"])]
    return max(kept, key=lambda trial: trial.user_attrs[FACTS]["values"]["val_f1"], default=None)


def first_error(study: optuna.Study) -> str:
    """Error of the first failed trial; empty if none failed."""
    trials = study.get_trials(deepcopy=False)
    errors = (trial.user_attrs.get(FACTS, {}).get("error", "") for trial in trials)
    return next(filter(None, errors), "")
