"""Rank stability: how sure the order of arms is."""

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure

from analysis.figures.scores import Title
from analysis.figures.style import SMALL, foot, new_figure, render, shown
from analysis.scores.score_matrix import Floats, ScoreMatrix
from analysis.stats.mrmc import seed_unit_variance, testable
from analysis.wording import NAMES, Names

BATCH = 4_000_000
"""Numbers drawn at once: 32 MB."""


def rank_stability(matrix: ScoreMatrix, generator: np.random.Generator, draws: int = 2000) -> pd.DataFrame:
    """Probability that each arm's expected score, on new units and with new seeds, has each rank among the arms.

    Each draw moves the arms' means by what they may be wrong by, and ranks them. By the model of `analysis.stats.mrmc`
    that is the sum of two parts, whose estimated variances have degrees of freedom of their own, so that each is normal
    over the root of a chi-squared over its freedom (t-distributed):

    - Seeds: s² / r for an arm of r seeds, s² the variance among its own runs' means, so that one arm's seeds that vary
      much leave other arms' ranks alone; an arm of one seed takes what all arms have together.
    - Units: the covariance of the arms' means over units, less what seed x unit adds to it; negative variances are 0.
      What units do to all arms alike changes no rank.

    Of two equal arms, one is called first with 97.5 % or more in 5 % of studies at most (simulated with 2, 3 and 5
    seeds, whose SDs are equal or 1 to 4: 0 to 5 %; see the tests). Resampling r - 1 of r runs instead, which takes
    their spread for known, did so in 17, 12 and 9 %.

    Args:
        matrix: where every run has every unit.
        generator: of the draws.
        draws: how many.

    Returns:
        A row per arm and rank: arm (ordered category), rank (from 1, the highest mean) and probability, which sums to 1
        over ranks and over arms. All are equal where one seed an arm, or one unit, tells nothing of what is new.

    Raises:
        ValueError: cells are missing.
    """
    if not matrix.complete:
        raise ValueError("a run has no score of some unit; expected complete data")
    arms, left = len(matrix.arms), draws
    counts = np.zeros((arms, arms))
    if known(matrix):
        parts = _parts(matrix)
        means = np.array([(matrix.of(arm) @ matrix.weights).mean() for arm in matrix.arms])
        while left:
            size = min(BATCH // arms or 1, left)
            drawn = means + sum(_drawn(root, freedom, generator, size) for root, freedom in parts)
            counts, left = counts + _rank_counts(np.round(drawn, 12), generator), left - size
    else:
        counts += draws / arms
    names = pd.Categorical(np.repeat(matrix.arms, arms), list(matrix.arms), ordered=True)
    return pd.DataFrame(
        {"arm": names, "rank": np.tile(np.arange(1, arms + 1), arms), "probability": counts.ravel() / draws}
    )


def known(matrix: ScoreMatrix) -> bool:
    """True if an arm has two seeds or more, and each stratum two units, so that both variances can be estimated."""
    return len(matrix.arm) > len(matrix.arms) and testable(matrix)


def _parts(matrix: ScoreMatrix) -> list[tuple[Floats, Floats]]:
    """For seeds and units: `(arms, arms)` root of the covariance of arms' means, and `(arms,)` degrees of freedom."""
    runs = [matrix.of(arm) for arm in matrix.arms]
    counts = np.array([len(each) for each in runs])
    squares = np.array([np.sum((each @ matrix.weights - (each @ matrix.weights).mean()) ** 2) for each in runs])
    errors = np.array([seed_unit_variance([each], matrix) for each in runs])
    several = counts > 1
    all_freedom = float(np.sum(counts - 1))
    freedom = np.where(several, counts - 1, all_freedom)
    seeds, noise = (
        np.where(several, each, each.sum()) / freedom / counts for each in (squares, errors)
    )  # variances of each arm's mean
    by_unit = np.stack([each.mean(axis=0) for each in runs])
    by_unit -= by_unit.mean(axis=0)
    unit = pd.factorize(np.array(matrix.units, dtype=object))[0]
    together = np.zeros((len(runs), unit.max() + 1))
    np.add.at(together.T, unit, matrix.deviations(by_unit).T)
    contrast = np.eye(len(runs)) - 1 / len(runs)
    values, vectors = np.linalg.eigh(together @ together.T - contrast @ np.diag(noise) @ contrast)
    units = min(matrix.freedom_of(each) for each in by_unit)
    return [
        (np.diag(np.sqrt(seeds)), freedom),
        (vectors * np.sqrt(np.maximum(values, 0.0)), np.full(len(runs), units)),
    ]


def _drawn(root: Floats, freedom: Floats, generator: np.random.Generator, draws: int) -> Floats:
    """`(draws, arms)` t-distributed deviations; arms of units move by one chi-squared, each arm's seeds by its own."""
    normal = generator.standard_normal((draws, len(root))) @ root.T
    if np.count_nonzero(root - np.diag(np.diag(root))):
        return np.asarray(normal / np.sqrt(generator.chisquare(freedom[0], (draws, 1)) / freedom[0]))
    return np.asarray(normal / np.sqrt(generator.chisquare(freedom, (draws, len(root))) / freedom))


def _rank_counts(means: Floats, generator: np.random.Generator) -> Floats:
    """`(arms, ranks)`: in how many draws each arm has each rank."""
    arms = means.shape[1]
    best_first = np.lexsort((generator.random(means.shape), -means), axis=1)
    cells = best_first * arms + np.arange(arms)
    return np.bincount(cells.ravel(), minlength=arms * arms).reshape(arms, arms).astype(np.float64)


def draw_ranks(ranks: pd.DataFrame, title: Title) -> bytes:
    """Draw the probability of each arm's ranks; returns a PNG. See `build_ranks`."""
    return render(build_ranks(ranks, title.names), title)


def build_ranks(ranks: pd.DataFrame, names: Names = NAMES) -> Figure:
    """A table of colours: arms by expected rank downwards, ranks across.

    Args:
        ranks: of `rank_stability`.
        names: what scores and images are called.
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
    panel.set_xlabel(f"rank (1: highest mean {names.score})", fontsize=9)
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    panel.set_xticks(np.arange(len(arms) - 1) + 0.5, minor=True)
    panel.set_yticks(np.arange(len(arms) - 1) + 0.5, minor=True)
    panel.grid(which="minor", color="white", linewidth=1.5)
    panel.tick_params(which="minor", length=0)
    foot(
        figure,
        f"Probability of each rank on new {names.units} with new seeds: means of arms, varied as far as seeds and "
        f"{names.units} leave them uncertain (t-distributed). With two equal arms, one has a probability of 97.5 % or "
        "more to be first in at most 5 % of studies.",
    )
    return figure
