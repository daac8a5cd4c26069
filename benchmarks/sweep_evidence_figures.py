"""Figures of `sweep_evidence.py`."""

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.figures.scores import BASELINE_COLOUR, COLOURS, Title, to_png

COLUMNS = 3
LOWEST = 0.05
"""Distance in F1 from the grid's best to the lower end of a panel."""


def draw_search(grid: dict[str, Any], shares: npt.NDArray[np.float64], margin: float) -> bytes:
    """Best validation F1 so far against compute, a panel a method; returns a PNG.

    Args:
        grid: as `sweep_evidence.json` has it; its first method is drawn in all panels.
        shares: of the grid's compute, for which the methods' `shortfall` is given.
        margin: what is marked below the grid's best.
    """
    methods = grid["methods"]
    rows = -(-len(methods) // COLUMNS)
    figure = Figure(figsize=(11, 1.1 + 2.2 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
    reference, *_ = methods.values()
    for panel, (name, method) in zip(panels, methods.items(), strict=False):
        low, median, high = grid["best"] - np.array(method["shortfall"], dtype=float).T
        needed = method["needed"][str(margin)]["quartiles"][1]
        panel.axhspan(grid["best"] - margin, grid["best"], color=COLOURS[2], alpha=0.3, linewidth=0)
        panel.plot(
            100 * shares, grid["best"] - np.array(reference["shortfall"], dtype=float)[:, 1], color="#888888",
            linewidth=1.2, linestyle="--", label="median of the grid in random order",
        )  # fmt: skip
        bold = name == "tpe + asha"
        panel.fill_between(100 * shares, high, low, color=COLOURS[0], alpha=0.25, linewidth=0, label="quartiles")
        panel.plot(100 * shares, median, color=COLOURS[0], linewidth=1.6, label="median")
        if needed is not None:
            panel.axvline(100 * needed, color=COLOURS[5], linewidth=1, label=f"median sweep is within {margin:g}")
        panel.axvline(100, color=BASELINE_COLOUR, linewidth=1.2, label="the whole grid")
        panel.set_title(name, loc="left", fontsize="medium", fontweight="bold" if bold else "normal")
        panel.set_xlim(0, 103)
        panel.set_ylim(grid["best"] - LOWEST, grid["best"] + 0.002)
        panel.set_xticks([0, 25, 50, 75, 100])
        panel.grid(color="#dddddd", linewidth=0.6)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in panels[-COLUMNS:]:
        panel.set_xlabel("image-epochs, % of the grid's")
    for panel in panels[len(methods) :]:
        panel.set_visible(False)
    figure.supylabel("best validation F1 so far", fontsize="medium")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize="small")
    about = f"The band is {margin:g} below the best of its {grid['points']} points, which is {grid['best']:.4f}."
    return to_png(figure, Title(f"Searching the space of {grid['name']}", about))
