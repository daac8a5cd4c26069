"""Figure of `fold_calibration.py`."""

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.figures.scores import BASELINE_COLOUR, COLOURS, MARKERS, Title, to_png

SHOWN = [(5, "ours"), (5, "naive t"), (5, "Nadeau-Bengio"), (5, "ours + 0.5 seed variance"), (5, "ours widened"),
         (1, "ours"), (1, "ours widened")]  # fmt: skip
"""Folds and methods of the right panel."""
KINDS = {
    ("equal", 0): (BASELINE_COLOUR, "equal arms, small data sets"),
    ("unlike", 0): (COLOURS[5], "unlike arms, small data sets"),
    ("unlike", 1): (COLOURS[1], "unlike arms, larger data sets"),
}


def draw(found: pd.DataFrame, again: pd.DataFrame) -> bytes:
    """Errors of tests by trainings, and by draws of studies with a training-set effect; returns a PNG.

    Args:
        found: of `fold_calibration.table`.
        again: of `fold_calibration.drawn_table`.
    """
    figure = Figure(figsize=(12, 7), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    sizes, names = sorted(found["size"].unique()), list(dict.fromkeys(found["method"]))
    left.axvspan(4, 6, color=COLOURS[2], alpha=0.35, linewidth=0, zorder=0)
    for i, ((kind, size), (colour, label)) in enumerate(KINDS.items()):
        rows = found[(found["arms"] == kind) & (found["size"] == sizes[size])]
        left.errorbar(
            rows["missed"], rows["method"].map(names.index) + (i - 1) * 0.24, xerr=1.96 * rows["missed_se"],
            fmt=MARKERS[i], color=colour, markersize=4.5, elinewidth=1, label=f"{label} ({sizes[size]} images)",
        )  # fmt: skip
    left.set_yticks(range(len(names)), names, fontsize="small")
    left.invert_yaxis()
    left.set_xlim(0, None)
    left.set_xlabel("intervals that miss the true difference, % of data sets")
    left.legend(frameon=False, fontsize="x-small", loc="lower right")
    right.axhspan(4, 6, color=COLOURS[2], alpha=0.35, linewidth=0, zorder=0)
    curves = [
        each for each in again[again["coupling"] == 0].groupby(["folds", "method"], sort=False) if each[0] in SHOWN
    ]
    for i, ((folds, method), rows) in enumerate(curves):
        right.plot(
            rows["training_set_sd"], rows["false_positives"], color=COLOURS[i % len(COLOURS)] if i else BASELINE_COLOUR,
            marker=MARKERS[i % len(MARKERS)], markersize=5, linewidth=1.2, linestyle="-" if folds > 1 else ":",
            label=method if folds > 1 else f"single split: {method}",
        )  # fmt: skip
    right.set_xlabel("SD of a training set's effect on an arm (seed SD 0.006)")
    right.set_ylabel("false positives, %")
    right.set_ylim(0, None)
    right.legend(frameon=False, fontsize="x-small")
    for panel, title in ((left, "Trained networks"), (right, "Drawn: 100 images, 10 runs an arm")):
        panel.set_title(title, loc="left", fontsize="medium")
        panel.grid(color="#dddddd", linewidth=0.6)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    return to_png(figure, Title("Errors for new training sets, images and seeds; the band is 4 to 6 %"))
