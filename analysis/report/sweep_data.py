"""The input of every section of a sweep's report."""

from dataclasses import dataclass

import pandas as pd

from analysis.figures.scores import Title
from analysis.sweeps.trials import Sweep


@dataclass(frozen=True)
class SweepData:
    """A sweep, its trials, and the importance of its settings."""

    sweep: Sweep
    """The search: its space, sampler and objectives."""
    trials: pd.DataFrame
    """Trials, from `analysis.sweeps.trials.read_trials`."""
    ranked: pd.DataFrame
    """Settings by importance (`analysis.sweeps.importance.importance`)."""
    title: Title
    """Above each figure."""
    path: str
    """Where the trials lie."""
