"""A sweep's course: trials by epoch, the best so far by what was spent, the expected best, and the Pareto front."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analysis.figures.scores import COLOURS, Title, arm_styles
from analysis.figures.style import GREY, arm_handles, foot, new_figure, plain_log_ticks, render, tidy
from analysis.sweeps.pareto import pareto_front
from analysis.sweeps.trials import SCORE, Sweep, best_trial

NAMES = {SCORE: "validation F1", "flops": "FLOPs an image", "seconds_an_image": "seconds an image"}
"""Names of objectives on an axis."""


def draw_pruning(trials: pd.DataFrame, title: Title) -> bytes:
    """Draw each trial's validation F1 by epoch; returns a PNG. See `build_pruning`."""
    return render(build_pruning(trials), title)


def build_pruning(trials: pd.DataFrame) -> Figure:
    """A line a trial, grey and with a cross at the end where it was pruned; the best complete one stands out.

    Args:
        trials: of `analysis.sweeps.trials.read_trials`, one of them with a curve at least.
    """
    curved = trials[trials["curve_epoch"].map(len) > 0]
    figure = new_figure(3.4)
    panel = figure.subplots()
    looks = {
        "pruned": ("#9a9a9a", 0.9), "complete": (COLOURS[0], 1.0), "running": (COLOURS[2], 1.0),
        "failed": (COLOURS[3], 1.0),
    }  # fmt: skip
    for _, trial in curved.sort_values("state", ascending=False).iterrows():
        colour, width = looks[trial["state"]]
        x, y = trial["curve_epoch"], trial["curve_val_f1"]
        panel.plot(x, y, color=colour, linewidth=width, alpha=0.55, zorder=2)
        end = {"pruned": "x", "failed": "P"}.get(trial["state"])
        if end:
            panel.plot(x[-1], y[-1], end, color=colour, markersize=5, zorder=3)
    handles = [
        Line2D([], [], color=looks[state][0], marker={"pruned": "x", "failed": "P"}.get(state, ""), markersize=5,
               label=f"{state} ({count})")
        for state, count in Counter(curved["state"]).most_common()
    ]  # fmt: skip
    best = best_trial(curved)
    if best is not None:
        panel.plot(best["curve_epoch"], best["curve_val_f1"], color=COLOURS[5], linewidth=2.0, zorder=4)
        handles.append(Line2D([], [], color=COLOURS[5], linewidth=2.0, label=f"the best (trial {best['number']})"))
    scores = np.concatenate(curved["curve_val_f1"].to_list())
    late = np.concatenate([curve[len(curve) // 2 :] for curve in curved["curve_val_f1"]])
    floor = max(float(scores.min()), float(np.quantile(late, 0.05)) - 0.5 * (scores.max() - np.quantile(late, 0.05)))
    panel.set_ylim(floor - 0.01, float(scores.max()) + 0.04 * (scores.max() - floor) + 0.002)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_xlabel("epoch", fontsize=9)
    panel.set_ylabel("validation F1", fontsize=9)
    tidy(panel)
    below = f" Below {floor:.2f} nothing is shown." if floor > scores.min() else ""
    foot(figure, f"A line is a trial's validation F1; crosses: where it was pruned.{below}", handles)
    return figure


def draw_best_so_far(courses: Mapping[str, pd.DataFrame], title: Title) -> bytes:
    """Draw the best so far by image-epochs; returns a PNG. See `build_best_so_far`."""
    return render(build_best_so_far(courses), title)


def build_best_so_far(courses: Mapping[str, pd.DataFrame]) -> Figure:
    """A step function for each sweep: the highest validation F1 by what had been spent.

    Args:
        courses: by name of a sweep or arm, `analysis.sweeps.expected_best.best_so_far`.
    """
    figure = new_figure(3.1)
    panel = figure.subplots()
    styles = arm_styles(list(courses), "baseline")
    lowest = []
    for name, course in courses.items():
        found = course[course["best"] > 0]
        colour, marker = styles[name]
        x, y = found["image_epochs"].to_numpy(float), found["best"].to_numpy(float)
        gains = np.flatnonzero(np.diff(y, prepend=-1) > 0)
        panel.step(x, y, where="post", color=colour, linewidth=1.6, zorder=3)
        panel.plot(x[gains], y[gains], marker, color=colour, markersize=4.5, linestyle="", zorder=4)
        lowest += y[len(y) // 10 : len(y) // 10 + 1].tolist()
    _set_floor(panel, min(lowest, default=0.0))
    panel.set_xlim(left=0)
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    panel.set_xlabel("image-epochs (training images x epochs of all trials so far)", fontsize=9)
    panel.set_ylabel("best validation F1 so far", fontsize=9)
    tidy(panel)
    note = "Markers: trials that were better than all before. Reused trials count with what they stand for."
    foot(figure, note, arm_handles(list(courses), styles, dict.fromkeys(courses, "-")) if len(courses) > 1 else [])
    return figure


def draw_expected(
    curves: Mapping[str, pd.DataFrame], courses: Mapping[str, pd.DataFrame], title: Title, note: str
) -> bytes:
    """Draw the expected best by number of trials; returns a PNG. See `build_expected`."""
    return render(build_expected(curves, courses, note), title)


def build_expected(curves: Mapping[str, pd.DataFrame], courses: Mapping[str, pd.DataFrame], note: str) -> Figure:
    """The expected best of so many trials with its interval, and as thin steps what was seen.

    Where there is no upper limit, the lower one is dotted.

    Args:
        curves: by name of a sweep or arm, `analysis.sweeps.expected_best.expected_best`.
        courses: of the same names, `analysis.sweeps.expected_best.best_so_far`.
        note: below the figure, after what is drawn.
    """
    figure = new_figure(3.6)
    panel = figure.subplots()
    styles = arm_styles(list(curves), "baseline")
    lowest = []
    for name, curve in curves.items():
        colour, marker = styles[name]
        x, known = curve["budget"].to_numpy(float), curve["high"].notna().to_numpy()
        every = max(1, len(x) // 8)
        panel.plot(
            x, curve["expected"], color=colour, marker=marker, markersize=4.5, markevery=every,
            linewidth=1.7, zorder=4,
        )  # fmt: skip
        panel.fill_between(x[known], curve["low"][known], curve["high"][known], color=colour, alpha=0.15, linewidth=0)
        panel.plot(x, curve["low"], color=colour, linewidth=0.8, linestyle=(0, (2, 2)), alpha=0.9, zorder=2)
        course = courses[name][courses[name]["best"] > 0]
        panel.step(course["trials"], course["best"], where="post", color=colour, linewidth=0.9, alpha=0.55, zorder=3)
        lowest.append(float(curve["expected"].iloc[len(curve) // 10]))
    _set_floor(panel, min(lowest))
    panel.set_xlim(left=0)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_xlabel("trials", fontsize=9)
    panel.set_ylabel("best validation F1", fontsize=9)
    tidy(panel)
    drawn = (
        "Thick: expected best of so many trials. Bands: 95 % intervals, up to a fifth of the trials; dotted: their "
        "lower limits; beyond, no upper limit can be given. Thin steps: the best so far, as it came."
    )
    handles: list[Artist] = arm_handles(list(curves), styles, dict.fromkeys(curves, "-")) if len(curves) > 1 else []
    foot(figure, f"{drawn} {note}".strip(), handles)
    return figure


def draw_pareto(trials: pd.DataFrame, sweep: Sweep, title: Title) -> bytes:
    """Draw validation F1 against each other objective; returns a PNG. See `build_pareto`."""
    return render(build_pareto(trials, sweep), title)


def build_pareto(trials: pd.DataFrame, sweep: Sweep) -> Figure:
    """A panel for each objective besides validation F1: complete trials, and those that no other beats in everything.

    Args:
        trials: of `analysis.sweeps.trials.read_trials`.
        sweep: with two objectives or more.
    """
    others = [objective for objective in sweep.objectives if objective.name != SCORE]
    names = [objective.name for objective in sweep.objectives]
    known = trials[(trials["state"] == "complete") & trials[names].notna().all(axis=1)]
    front = pareto_front(known, sweep)
    figure = new_figure(3.2 * len(others))
    panels = np.atleast_1d(figure.subplots(len(others), 1))
    for panel, objective in zip(panels, others, strict=True):
        x, y = known[objective.name].to_numpy(float), known[SCORE].to_numpy(float)
        broken = ~known["feasible"].to_numpy(bool)
        panel.plot(x[~broken], y[~broken], "o", color=GREY, markersize=4.5, alpha=0.7, linestyle="", zorder=2)
        panel.plot(x[broken], y[broken], "x", color=GREY, markersize=5, linestyle="", zorder=2)
        best = front.sort_values(objective.name)
        if len(others) == 1:
            panel.step(
                best[objective.name], best[SCORE], where="post" if objective.sign < 0 else "pre", color=COLOURS[0],
                linewidth=1.2, zorder=3,
            )  # fmt: skip
        panel.plot(best[objective.name], best[SCORE], "o", color=COLOURS[0], markersize=6.5, linestyle="", zorder=4)
        low, high = float(x.min()), float(x.max())
        if low > 0 and high / low > 20:
            panel.set_xscale("log")
            plain_log_ticks(panel.xaxis)
        elif objective.name != "seconds_an_image":
            panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        panel.xaxis.set_major_locator(MaxNLocator(6)) if panel.get_xscale() == "linear" else None
        _set_floor(panel, float(min(best[SCORE].min(), np.quantile(y, 0.25))))
        panel.set_xlabel(NAMES.get(objective.name, objective.name), fontsize=9)
        panel.set_ylabel("validation F1", fontsize=9)
        tidy(panel)
    handles: list[Artist] = [
        Line2D([], [], color=COLOURS[0], marker="o", markersize=6.5, linestyle="", label="Pareto front"),
        Line2D([], [], color=GREY, marker="o", markersize=4.5, linestyle="", label="other complete trials"),
    ]
    if (~known["feasible"].astype(bool)).any():
        handles.append(Line2D([], [], color=GREY, marker="x", markersize=5, linestyle="", label="breaks a constraint"))
    foot(figure, "Pareto front: no other trial is as good in every objective and better in one.", handles)
    return figure


def _set_floor(panel: Axes, low: float) -> None:
    """Leave the lowest scores out, so that the top, which matters, has room."""
    top = panel.dataLim.y1
    floor = max(panel.dataLim.y0, low - 0.25 * (top - low))
    room = 0.06 * (top - floor) + 0.001
    panel.set_ylim(floor - room, top + room)
