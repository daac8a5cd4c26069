"""Residuals against fitted values of scores by runs and units: whether spread grows, and what stands apart."""

from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.scores import Title
from analysis.figures.style import MOST_OUTLINES, arm_handles, foot, new_figure, render, shown, styles_of, tidy
from analysis.wording import NAMES, Names

BINS = 8
"""Of fitted values, for the spread."""


def draw_residuals(left: pd.DataFrame, title: Title) -> bytes:
    """Draw residuals against fitted values; returns a PNG. See `build_residuals`."""
    return render(build_residuals(left, title.names), title)


def build_residuals(left: pd.DataFrame, names: Names = NAMES) -> Figure:
    """A point a run and unit, coloured by arm, and the SD of residuals in bins of fitted values on either side of 0.

    Args:
        left: of `analysis.stats.seeds.residuals`.
        names: what scores and images are called.
    """
    figure = new_figure(3.2)
    panel = figure.subplots()
    arms, styles = shown(left["arm"]), styles_of(left["arm"], shown(left["arm"])[0])
    size = float(np.clip(6000 / len(left), 2, 18))
    for arm in arms:
        own = left[left["arm"] == arm]
        panel.scatter(
            own["fitted"], own["residual"], s=size, color=styles[arm][0], marker=styles[arm][1], alpha=0.5,
            linewidths=0, zorder=2, rasterized=len(left) > MOST_OUTLINES,
        )  # fmt: skip
    panel.axhline(0, color="#444444", linewidth=0.9, zorder=1)
    edges = np.unique(np.quantile(left["fitted"], np.linspace(0, 1, BINS + 1)))
    for low, high in pairwise(edges):
        inside = left[(left["fitted"] >= low) & (left["fitted"] <= high)]
        spread = float(np.sqrt((inside["residual"] ** 2).mean()))
        panel.hlines([-spread, spread], low, high, color="#D55E00", linewidth=1.6, zorder=3)
    panel.set_xlabel(f"{names.score}, fitted: means of the run and of the {names.units}", fontsize=9)
    panel.set_ylabel("residual", fontsize=9)
    tidy(panel)
    foot(
        figure,
        f"A point is a run's mean on one of the {names.units}, minus what the run's and the {names.units}' means add "
        f"up to. "
        "Orange: the SD of residuals. Where it grows or shrinks across, or few points make most of it, the test's "
        "assumption of one normal spread holds less well.",
        arm_handles(arms, styles),
    )
    return figure
