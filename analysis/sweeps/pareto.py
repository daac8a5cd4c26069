"""The Pareto front of a sweep's trials."""

import pandas as pd

from analysis.sweeps.trials import Sweep


def pareto_front(trials: pd.DataFrame, sweep: Sweep) -> pd.DataFrame:
    """Complete trials that keep the constraints and that no other such trial beats, in the order of their numbers.

    A trial is beaten by one that is as good in every objective and better in one; of equal trials all stay.

    Args:
        trials: of `analysis.sweeps.trials.read_trials`.
        sweep: its objectives.
    """
    names = [objective.name for objective in sweep.objectives]
    known = trials[(trials["state"] == "complete") & trials["feasible"].astype(bool)].dropna(subset=names)
    values = known[names].to_numpy(float) * [objective.sign for objective in sweep.objectives]
    better = (values[:, None] >= values).all(axis=2) & (values[:, None] > values).any(axis=2)
    return known[~pd.Series(better.any(axis=0), known.index)].sort_values("number")
