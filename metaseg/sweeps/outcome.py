"""How trials end in Optuna's study, and which of them is the best."""

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from metaseg.sweeps.objectives import Constraint, objective_values
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
    elif facts["state"] == "pruned" or facts.get("diverged"):
        # One that diverged is like a pruned one: samplers mustn't go there again. What the machines have done is no
        # fact about the settings.
        study.tell(trial.number, state=TrialState.PRUNED)
    else:
        study.tell(trial.number, state=TrialState.FAIL)


def keeps_to(constraints: Sequence[Constraint], values: Mapping[str, float]) -> bool:
    """Whether a trial that reported these values keeps to all constraints."""
    return all(constraint.violation(values) <= 0 for constraint in constraints)


def best_trial(sweep: Sweep, study: optuna.Study) -> FrozenTrial | None:
    """The complete trial with the highest validation F1 that keeps to the constraints; of equals the first."""
    return best_within(sweep.constraints, study)


def best_within(constraints: Sequence[Constraint], study: optuna.Study) -> FrozenTrial | None:
    """As `best_trial`, where there is no `Sweep` at hand."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    kept = [trial for trial in complete if keeps_to(constraints, trial.user_attrs[FACTS]["values"])]
    return max(kept, key=lambda trial: trial.user_attrs[FACTS]["values"]["val_f1"], default=None)


def first_error(study: optuna.Study) -> str:
    """What the first failed trial died of; empty where none did."""
    trials = study.get_trials(deepcopy=False)
    errors = (trial.user_attrs.get(FACTS, {}).get("error", "") for trial in trials)
    return next(filter(None, errors), "")
