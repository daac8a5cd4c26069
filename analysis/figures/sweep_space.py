"""A sweep's space: which settings matter, and where in them the good trials lie."""

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from optuna.distributions import CategoricalDistribution

from analysis.figures.scale import fractions, places, set_axis, ticks
from analysis.figures.scores import COLOURS, Title
from analysis.figures.style import SMALL, foot, new_figure, render, tidy
from analysis.stats.multiple_testing import Floats
from analysis.sweeps.trials import SCORE, Sweep, best_trial

COLUMNS = 3
SCORES = colormaps["viridis"]


def draw_importance(found: pd.DataFrame, title: Title) -> bytes:
    """Draw the importance of settings; returns a PNG. See `build_importance`."""
    return render(build_importance(found), title)


def build_importance(found: pd.DataFrame) -> Figure:
    """A bar a setting, with what chance gives; fANOVA as diamonds.

    Args:
        found: of `analysis.sweeps.importance.importance`, not empty.
    """
    figure = new_figure(0.7 + 0.3 * len(found))
    panel = figure.subplots()
    place = np.arange(len(found))[::-1]
    panel.barh(place, found["ped_anova"], height=0.6, color=COLOURS[0], zorder=2)
    panel.vlines(found["chance"], place - 0.4, place + 0.4, color=COLOURS[5], linewidth=1.8, zorder=3)
    handles = [
        Line2D([], [], color=COLOURS[0], linewidth=6, label="PED-ANOVA"),
        Line2D([], [], color=COLOURS[5], marker="|", markersize=11, markeredgewidth=1.8, linestyle="", label="chance"),
    ]
    if found["fanova"].notna().any():
        panel.plot(found["fanova"], place, "D", color="white", markeredgecolor="#222222", markersize=5, zorder=4)
        handles.append(
            Line2D([], [], color="white", marker="D", markeredgecolor="#222222", linestyle="", label="fANOVA")
        )
    panel.set_yticks(place, found["setting"])
    panel.set_xlim(0, max(1.0, 1.05 * float(found[["ped_anova", "chance", "fanova"]].max().max())))
    panel.set_xlabel("importance (sums to 1)", fontsize=9)
    tidy(panel, "x")
    panel.tick_params(axis="y", length=0)
    note = (
        "PED-ANOVA: how differently a setting is distributed among the best trials and among all. chance: the 95th "
        "percentile for scores exchanged among trials at random. fANOVA: part of the variance over the whole space."
    )
    foot(figure, note, handles)
    return figure


def draw_slices(trials: pd.DataFrame, sweep: Sweep, title: Title) -> bytes:
    """Draw validation F1 against each setting; returns a PNG. See `build_slices`."""
    return render(build_slices(trials, sweep), title)


def build_slices(trials: pd.DataFrame, sweep: Sweep) -> Figure:
    """A panel a setting: each trial's validation F1, later ones darker, pruned ones hollow.

    Args:
        trials: of `analysis.sweeps.trials.read_trials`.
        sweep: whose they are.
    """
    known = _scored(trials)
    rows = -(-len(sweep.space) // COLUMNS)
    score = known[SCORE].to_numpy(float)
    low, top = _score_range(known), float(score.max())
    floor = max(float(score.min()), low - 0.3 * (top - low))
    figure = new_figure(0.3 + 2.0 * rows)
    panels = figure.subplots(rows, COLUMNS, squeeze=False, sharey=True).ravel()
    late = Normalize(float(trials["number"].min()) - 0.3 * np.ptp(trials["number"]) - 1, float(trials["number"].max()))
    for panel, name in zip(panels, sweep.space, strict=False):
        x = places(known, name, sweep)
        if isinstance(sweep.space[name], CategoricalDistribution):
            x = x + _jitter(known, 0.618, 0.5)
        colour = colormaps["Blues"](late(known["number"].to_numpy(float)))
        face = np.where((known["state"] == "pruned").to_numpy()[:, None], 0.0, colour)
        for chosen, marker in ((score >= floor, "o"), (score < floor, "v")):
            panel.scatter(
                x[chosen], np.maximum(score[chosen], floor), s=16, marker=marker, facecolors=face[chosen],
                edgecolors=colour[chosen], linewidths=0.9, zorder=3,
            )  # fmt: skip
        set_axis(panel, "x", name, sweep, 1.6)
        panel.set_xlabel(name, fontsize=9)
        panel.tick_params(labelleft=True)
        tidy(panel)
    for panel in panels[len(sweep.space) :]:
        panel.remove()
    for panel in panels[::COLUMNS]:
        panel.set_ylabel("validation F1", fontsize=9)
    room = 0.06 * (top - floor) + 0.001
    panels[0].set_ylim(floor - room, top + room)
    note = "A marker is a trial, darker the later; hollow ones were pruned and show their best validation so far."
    below = int((score < floor).sum())
    note += f" {below} below {floor:.2f} are triangles at the foot." if below else ""
    foot(figure, note)
    return figure


def draw_contour(trials: pd.DataFrame, sweep: Sweep, pair: tuple[str, str], title: Title) -> bytes:
    """Draw validation F1 over two settings; returns a PNG. See `build_contour`."""
    return render(build_contour(trials, sweep, pair), title)


def build_contour(trials: pd.DataFrame, sweep: Sweep, pair: tuple[str, str]) -> Figure:
    """Trials as points coloured by validation F1, over its mean nearby where both settings are numbers.

    Args:
        trials: of `analysis.sweeps.trials.read_trials`.
        sweep: whose they are.
        pair: names of the setting across and the setting upwards.
    """
    known = _scored(trials)
    at = np.stack([places(known, name, sweep) for name in pair])
    has_both = np.isfinite(at).all(axis=0)
    known, (x, y) = known[pd.Series(has_both, known.index)], at[:, has_both]
    figure = new_figure(3.9)
    panel = figure.subplots()
    score = known[SCORE].to_numpy(float)
    colours = Normalize(_score_range(known), float(score.max()))
    ordered = not any(isinstance(sweep.space[name], CategoricalDistribution) for name in pair)
    set_axis(panel, "x", pair[0], sweep, 5)
    set_axis(panel, "y", pair[1], sweep, 3.5)
    if ordered and len(known) >= 8:
        low = float(colours.vmin or 0)
        _draw_smooth(panel, x, y, np.maximum(score, low - 0.3 * (score.max() - low)), colours)
    else:
        kinds = [isinstance(sweep.space[name], CategoricalDistribution) for name in pair]
        x, y = x + _jitter(known, 0.618, 0.4 * kinds[0]), y + _jitter(known, 0.755, 0.4 * kinds[1])
    pruned = (known["state"] == "pruned").to_numpy()
    for chosen, marker in ((pruned, "v"), (~pruned, "o")):
        panel.scatter(
            x[chosen], y[chosen], c=score[chosen], s=34, marker=marker, cmap=SCORES, norm=colours,
            edgecolors="white", linewidths=0.8, zorder=3,
        )  # fmt: skip
    best = best_trial(known)
    if best is not None:
        is_best = (known["number"] == best["number"]).to_numpy()
        panel.plot(x[is_best], y[is_best], "*", color=COLOURS[5], markeredgecolor="white", markersize=15, zorder=4)
    bar = figure.colorbar(ScalarMappable(colours, SCORES), ax=panel, pad=0.02, extend="min")
    bar.set_label("validation F1", fontsize=9)
    bar.ax.tick_params(labelsize=SMALL)
    panel.set_xlabel(pair[0], fontsize=9)
    panel.set_ylabel(pair[1], fontsize=9)
    tidy(panel)
    note = "Circles: trials; triangles: pruned ones; star: the best."
    note += " The ground: a weighted mean of the trials nearby." if ordered and len(known) >= 8 else ""
    foot(figure, note)
    return figure


def _draw_smooth(panel: Axes, x: Floats, y: Floats, score: Floats, colours: Normalize) -> None:
    """The mean over trials, weighted by a Gaussian of the distance in parts of the axes, on a grid."""
    side = 80
    to_axes = panel.transData + panel.transAxes.inverted()
    at = to_axes.transform(np.column_stack([x, y]))
    line = np.linspace(0, 1, side)
    grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    width = 0.25 * len(score) ** (-1 / 6)
    weights = np.exp(-((grid[:, None] - at) ** 2).sum(axis=2) / (2 * width**2))
    near = weights.sum(axis=1)
    mean = np.where(near > 0.5, (weights @ score) / np.maximum(near, 1e-300), np.nan)
    panel.imshow(
        SCORES(colours(mean.reshape(side, side)), alpha=np.where(np.isnan(mean), 0.0, 0.45).reshape(side, side)),
        extent=(0, 1, 0, 1), transform=panel.transAxes, origin="lower", aspect="auto", zorder=1,
        interpolation="bilinear",
    )  # fmt: skip


def draw_parallel(trials: pd.DataFrame, sweep: Sweep, title: Title) -> bytes:
    """Draw trials as lines across all settings; returns a PNG. See `build_parallel`."""
    return render(build_parallel(trials, sweep), title)


def build_parallel(trials: pd.DataFrame, sweep: Sweep) -> Figure:
    """Parallel coordinates: an axis a setting, one below the other, and validation F1 at the foot; a line a trial.

    A line has a gap where the trial lacks the setting.

    Args:
        trials: of `analysis.sweeps.trials.read_trials`.
        sweep: whose they are.
    """
    known = _scored(trials).sort_values(SCORE)
    names, score = list(sweep.space), known[SCORE].to_numpy(float)
    low, high = _score_range(known), float(score.max())
    colours = Normalize(low, high)
    figure = new_figure(0.62 * (len(names) + 1) + 0.2)
    panel = figure.subplots()
    rows = []
    for name in names:
        x = places(known, name, sweep)
        if isinstance(sweep.space[name], CategoricalDistribution):
            x = x + _jitter(known, 0.618, 0.3)
        rows.append(fractions(x, name, sweep))
    at = np.stack([*rows, np.clip((score - low) / (high - low), 0, 1) * 0.92 + 0.04])
    depth = -np.arange(len(at), dtype=float)
    for line, value, state in zip(at.T, score, known["state"], strict=True):
        pruned = state == "pruned"
        panel.plot(
            line, depth, ":" if pruned else "-", color=SCORES(colours(value)), linewidth=0.8 if pruned else 1.2,
            alpha=0.7 if pruned else 0.9, marker=".", markersize=3, solid_joinstyle="round",
        )  # fmt: skip
    best = best_trial(known)
    if best is not None:
        line = at[:, (known["number"] == best["number"]).to_numpy()]
        panel.plot(line, depth, color=COLOURS[5], linewidth=2.2, marker=".", markersize=5)
    axes = [(*ticks(name, sweep, 5.5), name) for name in names]
    shown_scores = np.array([value for value in MaxNLocator(6).tick_values(low, high) if low <= value <= high])
    marks = [fractions(values, name, sweep) for values, _, name in axes]
    marks.append((shown_scores - low) / (high - low) * 0.92 + 0.04)
    labels = [labels for _, labels, _ in axes] + [[f"{value:g}" for value in shown_scores]]
    boxed = {"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.6}
    for y, fraction, texts in zip(depth, marks, labels, strict=True):
        panel.hlines(y, 0, 1, color="#444444", linewidth=0.9, zorder=1)
        panel.plot(fraction, np.full(len(fraction), y), "|", color="#444444", markersize=6, zorder=5)
        for x, text in zip(fraction, texts, strict=True):
            panel.text(x, y - 0.12, text.replace("\n", ""), ha="center", va="top", fontsize=SMALL, bbox=boxed, zorder=6)
    panel.set_yticks(depth, [*names, "validation F1"])
    panel.tick_params(axis="y", length=0, labelsize=9)
    panel.set_xticks([])
    panel.set_xlim(-0.02, 1.02)
    panel.set_ylim(depth[-1] - 0.45, 0.25)
    panel.spines[:].set_visible(False)
    below = int((score < low).sum())
    note = "A line is a trial, bright where it is good; dotted: pruned; orange: the best."
    note += f" {below} trials below {low:.3f} end at the left." if below else ""
    foot(figure, note)
    return figure


def _scored(trials: pd.DataFrame) -> pd.DataFrame:
    """Trials that ended with a validation score."""
    return trials[trials[SCORE].notna() & (trials["state"] != "running")]


def _score_range(trials: pd.DataFrame) -> float:
    """Where scores begin to be told apart: the lowest tenth of complete trials, and all below, look alike."""
    complete = trials.loc[trials["state"] == "complete", SCORE]
    low = float((complete if len(complete) > 2 else trials[SCORE]).quantile(0.1))
    return min(low, float(trials[SCORE].max()) - 0.001)


def _jitter(trials: pd.DataFrame, step: float, width: float) -> Floats:
    """Small shifts by the trials' numbers, even and the same each time, for trials of one choice."""
    shifts: Floats = ((trials["number"].to_numpy(float) * step) % 1 - 0.5) * width
    return shifts
