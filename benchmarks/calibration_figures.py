"""Figures of `calibration.py`."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.figures.scores import BASELINE_COLOUR, COLOURS, MARKERS, Title, to_png

SEED_COLOURS = (BASELINE_COLOUR, COLOURS[4], COLOURS[0], COLOURS[5])


def draw_sizes(table: pd.DataFrame, methods: Sequence[str]) -> bytes:
    """False positives, a panel a method and a point a regime; returns a PNG.

    Args:
        table: with columns seeds, images, seed_sd and the methods, in %.
        methods: in the order of display.
    """
    figure = Figure(figsize=(11, 6.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, -(-len(methods) // 2), sharex=True, sharey=True).ravel()
    images, seeds, sds = (sorted(table[name].unique()) for name in ("images", "seeds", "seed_sd"))
    groups = table["seeds"].map(seeds.index) * (len(images) + 1.0) + table["images"].map(images.index)
    for panel, method in zip(panels, methods, strict=True):
        panel.axhspan(4, 6, color=COLOURS[2], alpha=0.35, linewidth=0, zorder=0)
        for i, sd in enumerate(sds):
            rows = table["seed_sd"] == sd
            panel.scatter(
                groups[rows] + (i - 1.5) * 0.2, table.loc[rows, method], s=9, color=SEED_COLOURS[i], linewidths=0,
                marker=MARKERS[i], label=f"seed SD {sd:g}",
            )  # fmt: skip
        for i, count in enumerate(seeds):
            middle = i * (len(images) + 1.0) + (len(images) - 1) / 2
            panel.text(middle, 128, f"{count} seeds", ha="center", va="top", fontsize="small")
            if i:
                panel.axvline(i * (len(images) + 1.0) - 1, color="#bbbbbb", linewidth=0.8)
        panel.set_title(method, loc="left", fontsize="medium", fontweight="bold" if method == "ours" else "normal")
        panel.set_yscale("function", functions=(np.sqrt, np.square))
        panel.set_ylim(0, 130)
        panel.set_yticks([1, 5, 10, 20, 40, 60, 80, 100])
        ticks = [i * (len(images) + 1.0) + k for i in range(len(seeds)) for k in range(len(images))]
        panel.set_xticks(ticks, [str(n) for _ in seeds for n in images], rotation=90, fontsize="x-small")
        panel.tick_params(axis="x", length=0)
        panel.grid(axis="y", color="#dddddd", linewidth=0.6)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    figure.supylabel("equal arms called different, %", fontsize="medium")
    for panel in panels[len(panels) // 2 :]:
        panel.set_xlabel("images")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, markerscale=2)
    return to_png(figure, Title("False positives at 5 %; the band is 4 to 6 %", "A point is a regime of variances."))


def draw_power(curves: pd.DataFrame, methods: Sequence[str]) -> bytes:
    """Share of draws that are significant by true difference, a panel a design; returns a PNG.

    Args:
        curves: with columns seeds, images, seed_sd, effect, expected and the methods, in %.
        methods: ours first.
    """
    designs = list(curves.groupby(["seeds", "images", "seed_sd"], sort=False))
    figure = Figure(figsize=(3.6 * len(designs) + 0.4, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(designs), sharey=True)
    for panel, ((seeds, images, seed_sd), rows) in zip(panels, designs, strict=True):
        panel.axhspan(4, 6, color=COLOURS[2], alpha=0.35, linewidth=0, zorder=0)
        panel.plot(rows["effect"], rows["expected"], color=BASELINE_COLOUR, linewidth=1.2, label="ours, expected")
        for i, method in enumerate(methods):
            own = method == methods[0]
            panel.plot(
                rows["effect"], rows[method], linestyle="" if own else ":", linewidth=1.0, markersize=6 if own else 4.5,
                marker="s" if own else MARKERS[(i - 1) % len(MARKERS)],
                color=BASELINE_COLOUR if own else COLOURS[i - 1], label=method,
            )  # fmt: skip
        panel.set_title(f"{seeds} seeds an arm, {images} images, seed SD {seed_sd:g}", loc="left", fontsize="small")
        panel.set_ylim(0, 102)
        panel.set_xlabel("true difference")
        panel.grid(axis="y", color="#dddddd", linewidth=0.6)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("called different, %")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return to_png(figure, Title("Power, and false positives where the true difference is 0"))
