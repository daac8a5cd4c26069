"""The axis of a searched setting: linear, logarithmic or of choices."""

import textwrap
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullLocator
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from analysis.stats.multiple_testing import Floats
from analysis.sweeps.trials import Sweep, choice_label, settings_of

LETTERS_AN_INCH = 19
"""Letters of tick labels in an inch."""

ROOM = 0.04
"""Beyond both ends, as part of the axis."""


def places(trials: pd.DataFrame, name: str, sweep: Sweep) -> Floats:
    """Where trials lie on a setting's axis: its values, of choices the place in their list; NaN where it has none."""
    kind = sweep.space[name]
    values = [settings_of(row, sweep).get(name) for _, row in trials.iterrows()]
    if isinstance(kind, CategoricalDistribution):
        known = {choice_label(choice): place for place, choice in enumerate(kind.choices)}
        return np.array([known.get(choice_label(value), np.nan) for value in values], float)
    return np.array([np.nan if value is None else value for value in values], float)


def fractions(values: Floats, name: str, sweep: Sweep) -> Floats:
    """Places as parts of the axis, 0 to 1."""
    low, high, log = _ends(name, sweep)
    if log:
        low, high, values = np.log(low), np.log(high), np.log(values)
    fractions: Floats = (values - low) / (high - low)
    return fractions


def ticks(name: str, sweep: Sweep, width: float) -> tuple[Floats, list[str]]:
    """Places and labels of the ticks of an axis `width` inches long."""
    kind = sweep.space[name]
    if isinstance(kind, CategoricalDistribution):
        letters = max(6, int(width * 14 / len(kind.choices)))
        labels = [_broken(choice_label(choice), letters) for choice in kind.choices]
        return np.arange(len(labels), dtype=float), labels
    assert isinstance(kind, FloatDistribution | IntDistribution)
    low, high = float(kind.low), float(kind.high)
    if low == high:
        found: Sequence[float] = [low]
    elif kind.log and isinstance(kind, IntDistribution):
        found = [value for value in 2.0 ** np.arange(32) if low <= value <= high]
    elif kind.log:
        every = (1.0,) if high / low > 30 else (1.0, 2.0, 5.0)
        found = list(LogLocator(10, every, numticks=20).tick_values(low, high))
    elif isinstance(kind, IntDistribution) and high - low <= 5 * width:
        found = np.arange(low, high + 1).tolist()
    else:
        whole = isinstance(kind, IntDistribution)
        found = list(MaxNLocator(max(2, int(width * 2.2)), integer=whole).tick_values(low, high))
    kept = np.array([value for value in found if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)])
    if len(kept) == 0:
        kept = np.array([low, high])
    return kept, [f"{value:g}" for value in kept]


def set_axis(panel: Axes, which: Literal["x", "y"], name: str, sweep: Sweep, width: float) -> None:
    """Limits, scale and ticks of a panel's axis, `width` inches long."""
    low, high, log = _ends(name, sweep)
    axis = panel.xaxis if which == "x" else panel.yaxis
    if log:
        panel.set(**{f"{which}scale": "log"})
    at, labels = ticks(name, sweep, width)
    axis.set_major_locator(FixedLocator(at.tolist()))
    axis.set_ticklabels(labels)
    lengths = [max(map(len, label.split("\n"))) for label in labels]
    choices = isinstance(sweep.space[name], CategoricalDistribution)
    closest = max(((left + right) / 2 + 1 for left, right in pairwise(lengths)), default=0.0)
    if which == "x" and choices and closest * len(labels) > width * LETTERS_AN_INCH:
        panel.tick_params(axis="x", labelrotation=25)
        for label in axis.get_ticklabels():
            label.set(ha="right", rotation_mode="anchor")
    axis.set_minor_locator(NullLocator())
    panel.set(**{f"{which}lim": (low, high)})


def _ends(name: str, sweep: Sweep) -> tuple[float, float, bool]:
    """First and last place on the axis with some room, and whether it is logarithmic."""
    kind = sweep.space[name]
    if isinstance(kind, CategoricalDistribution):
        return -0.5, len(kind.choices) - 0.5, False
    assert isinstance(kind, FloatDistribution | IntDistribution)
    low, high = float(kind.low), float(kind.high)
    if kind.log:
        room = (high / low) ** ROOM if high > low else 2.0
        return low / room, high * room, True
    span = ROOM * (high - low) if high > low else 1.0
    return low - span, high + span, False


def _broken(label: str, letters: int) -> str:
    """A choice's name in lines of about so many letters."""
    parts = label.replace("+", "+ ").replace("-", "- ")
    return textwrap.fill(parts, letters, break_long_words=False).replace("+ ", "+").replace("- ", "-")
