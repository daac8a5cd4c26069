"""Would more trials help? The best so far, the expected best, and what was pruned."""

import numpy as np
import pandas as pd

from analysis.figures.scores import Title
from analysis.figures.style import rendered
from analysis.figures.sweep_course import build_best_so_far, build_expected, build_pruning
from analysis.report.section import Section, picture, to_csv
from analysis.report.sweep_data import SweepData
from analysis.sweeps.expected_best import best_so_far, expected_best, trial_scores
from analysis.sweeps.trials import Sweep
from analysis.sweeps.wording import expected_caption

MOST_BUDGETS = 60
ADAPTIVE = (
    "These trials aren't independent draws: the thick line says what random orders of them would give, the thin one "
    "what the search did."
)


def section(data: SweepData) -> Section | None:
    """How the search went; the same trials give the same curves."""
    trials, name = data.trials, data.sweep.name
    course, curve = best_so_far(trials), expected_curve(trials, np.random.default_rng(1))
    note = "" if independent(data.sweep) else ADAPTIVE
    best = rendered(build_best_so_far({name: course}), _to(data.title, "course"))
    expected = rendered(build_expected({name: curve}, {name: course}, note), _to(data.title, "expected best"))
    words, table = (expected_caption(trials),), {"expected_best.csv": to_csv(curve)}
    parts = [
        picture("best", best, "The best so far, by what was spent", (), {"best_so_far.csv": to_csv(course)}),
        picture("expected", expected, "The expected best by number of trials", words, table),
    ]
    if (trials["curve_epoch"].map(len) > 0).any():
        drawing = rendered(build_pruning(trials), _to(data.title, "trials by epoch"))
        parts.append(picture("pruning", drawing, "Trials by epoch, and where they were pruned"))
    return Section("Would more trials help?", tuple(parts))


def expected_curve(trials: pd.DataFrame, generator: np.random.Generator) -> pd.DataFrame:
    """The expected best (`analysis.sweeps.expected_best`) for numbers of trials from 1 to all that ended."""
    scores = trial_scores(trials).to_numpy(float)
    budgets = np.unique(np.linspace(1, len(scores), MOST_BUDGETS).round().astype(np.int64))
    return expected_best(scores, None, budgets, generator)


def independent(sweep: Sweep) -> bool:
    """Whether trials are independent draws: none depends on how others did."""
    return sweep.sampler == "random" and sweep.pruner == "none"


def _to(title: Title, what: str) -> Title:
    return Title(f"{title.text}: {what}", title.about)
