"""A heat map of runs by subgroups: seeds that collapsed, on all or on one, stand out."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.scores import Title
from analysis.figures.style import SMALL, foot, new_figure, render
from analysis.wording import NAMES, Names

ROW = 0.2
"""Inches of a run."""

MOST_NUMBERS = 12
"""Subgroups up to which cells have numbers."""

MOST_LABELS = 40
"""Labels beside each other that can be read; of more, every second, third, ... is shown."""


def draw_run_means(means: pd.DataFrame, title: Title) -> bytes:
    """Draw each run's mean on each subgroup; returns a PNG. See `build_run_means`."""
    return render(build_run_means(means, title.names), title)


def build_run_means(means: pd.DataFrame, names: Names = NAMES, folds: int = 0) -> Figure:
    """A row a run, a column a subgroup; colours are differences from the column's median, numbers the means.

    Args:
        means: of `analysis.stats.seeds.run_means`.
        names: what scores are called.
        folds: number of folds that a row's seed has networks of; 0 where there is one split.
    """
    values = means.to_numpy(float)
    moved = values - np.nanmedian(values, axis=0)
    reach = float(np.nanmax(np.abs(moved), initial=0.0)) or 0.01
    figure = new_figure(ROW * len(means) + 0.8)
    panel = figure.subplots()
    picture = panel.imshow(moved, cmap="RdBu", vmin=-reach, vmax=reach, aspect="auto", interpolation="nearest")
    figure.colorbar(picture, ax=panel, pad=0.01, fraction=0.04).ax.tick_params(labelsize=SMALL)
    if means.shape[1] <= MOST_NUMBERS:
        for (i, j), value in np.ndenumerate(values):
            if np.isfinite(value):
                dark = abs(moved[i, j]) > 0.6 * reach
                panel.text(
                    j, i, f"{value:.3f}", ha="center", va="center", size=SMALL, color="white" if dark else "black"
                )
    step = -(-means.shape[1] // MOST_LABELS)
    columns = [str(name) for name in means.columns][::step]
    slanted = sum(map(len, columns)) > 80
    panel.set_xticks(
        range(0, means.shape[1], step), columns, fontsize=SMALL, rotation=60 if slanted else 0,
        ha="right" if slanted else "center",
    )  # fmt: skip
    panel.set_yticks(range(len(means)), [f"{arm} {seed}" for arm, seed in means.index], fontsize=SMALL)
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    arms = means.index.get_level_values("arm").to_numpy()
    for edge in np.flatnonzero(arms[1:] != arms[:-1]):
        panel.axhline(edge + 0.5, color="#444444", linewidth=0.9)
    row = f"a seed of an arm, over {folds} folds" if folds else "a run (arm and seed)"
    foot(
        figure,
        f"Each row is {row}. Colour: its mean {names.score} minus the median of all rows in the same column. A seed "
        "that collapsed is a red row.",
    )
    return figure
