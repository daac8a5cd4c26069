"""Rank stability: how sure the order of arms is."""

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure

from analysis.figure import Title
from analysis.figures.style import SMALL, foot, new_figure, render, shown
from analysis.layout import Floats, Layout

BATCH = 4_000_000
"""Draws x units held at once: 32 MB."""


def rank_stability(layout: Layout, generator: np.random.Generator, draws: int = 2000) -> pd.DataFrame:
    """The probability that each arm has each rank, on new units and with new seeds.

    A bootstrap of crossed factors: each draw takes units with replacement, the same for all runs, and, arm by arm,
    seeds with replacement; arms are ranked by their mean plus both parts' deviations from it. Of n, n - 1 are taken, so
    that a part varies as much as it should (McCarthy & Snowden 1985, Vital Health Stat 2(95)). The variance of
    seed x unit is in both parts, and counted twice: where it is large, ranks look less sure than they are. With one
    seed an arm's ranks are those of this network on new units. Ties are broken at random.

    Args:
        layout: where every run has every unit.
        generator: of the draws.
        draws: how many.

    Returns:
        A row per arm and rank: arm (ordered category), rank (from 1, the highest mean) and probability, which sums to 1
        over ranks and over arms.

    Raises:
        ValueError: cells are missing.
    """
    if not layout.complete:
        raise ValueError("a run has no score of some unit; expected complete data")
    sizes = [BATCH // len(layout.units) or 1] * (draws * len(layout.units) // BATCH + 1)
    counts, left = np.zeros((len(layout.arms),) * 2), draws
    for size in sizes:
        means = _resampled(layout, generator, min(size, left))
        left -= len(means)
        counts += _rank_counts(np.round(means, 12), generator)
    arms = pd.Categorical(np.repeat(layout.arms, len(layout.arms)), list(layout.arms), ordered=True)
    ranks = np.tile(np.arange(1, len(layout.arms) + 1), len(layout.arms))
    return pd.DataFrame({"arm": arms, "rank": ranks, "probability": counts.ravel() / draws})


def _resampled(layout: Layout, generator: np.random.Generator, draws: int) -> Floats:
    """`(draws, arms)` means over resampled units and seeds."""
    units, taken = len(layout.units), max(len(layout.units) - 1, 1)
    weights = generator.multinomial(taken, np.full(units, 1 / units), draws) * layout.weights
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
    means: Floats = weights @ np.stack([layout.of(arm).mean(axis=0) for arm in layout.arms], axis=1)
    for k, arm in enumerate(layout.arms):
        runs = layout.of(arm) @ layout.weights
        chosen = generator.integers(len(runs), size=(draws, max(len(runs) - 1, 1)))
        means[:, k] += runs[chosen].mean(axis=1) - runs.mean()
    return means


def _rank_counts(means: Floats, generator: np.random.Generator) -> Floats:
    """`(arms, ranks)`: in how many draws each arm has each rank."""
    arms = means.shape[1]
    best_first = np.lexsort((generator.random(means.shape), -means), axis=1)
    cells = best_first * arms + np.arange(arms)
    return np.bincount(cells.ravel(), minlength=arms * arms).reshape(arms, arms).astype(np.float64)


def draw_ranks(ranks: pd.DataFrame, title: Title) -> bytes:
    """Draw the probability of each arm's ranks; returns a PNG. See `build_ranks`."""
    return render(build_ranks(ranks), title)


def build_ranks(ranks: pd.DataFrame) -> Figure:
    """A table of colours: arms by expected rank downwards, ranks across.

    Args:
        ranks: of `rank_stability`.
    """
    expected = (ranks["rank"] * ranks["probability"]).groupby(ranks["arm"], observed=True).sum()
    arms = expected[shown(ranks["arm"])].sort_values(kind="stable").index.tolist()
    table = ranks.pivot(index="arm", columns="rank", values="probability").loc[arms].to_numpy()
    figure = new_figure(0.34 * len(arms) + 0.75)
    panel = figure.subplots()
    panel.imshow(table, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for i, j in np.ndindex(table.shape):
        if table[i, j] > 0:
            dark = np.dot(colormaps["Blues"](table[i, j])[:3], (0.299, 0.587, 0.114)) < 0.55
            text = f"{table[i, j]:.0%}" if table[i, j] >= 0.01 else "<1%"
            panel.text(j, i, text, ha="center", va="center", size=SMALL, color="white" if dark else "black")
    for i, arm in enumerate(arms):
        panel.annotate(
            f"{expected[arm]:.1f}", (1, i), (34, 0), panel.get_yaxis_transform(), "offset points", ha="right",
            va="center", size=SMALL,
        )  # fmt: skip
    panel.annotate(
        "mean rank", (1, -0.5), (6, 5), panel.get_yaxis_transform(), "offset points", va="bottom", size=SMALL
    )
    panel.set_yticks(range(len(arms)), arms, fontsize=SMALL)
    panel.set_xticks(range(len(arms)), [str(rank) for rank in range(1, len(arms) + 1)], fontsize=SMALL)
    panel.set_xlabel("rank (1: highest mean F1)", fontsize=9)
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    panel.set_xticks(np.arange(len(arms) - 1) + 0.5, minor=True)
    panel.set_yticks(np.arange(len(arms) - 1) + 0.5, minor=True)
    panel.grid(which="minor", color="white", linewidth=1.5)
    panel.tick_params(which="minor", length=0)
    foot(figure, "Share of draws of test images and seeds, with replacement, in which an arm has a rank.")
    return figure
