"""Figures of the controls: F1 for each true and told value, and how predictions follow a number that is told."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from analysis.figures.scores import Title, arm_styles, to_png
from analysis.figures.style import Line
from analysis.probes.response import offset_curves, response_curves

COLUMNS = 3
"""Panels beside each other."""

IMAGES = 24
"""Single images whose curves are drawn."""

LINES: tuple[Line, ...] = ("-", "--", "-.", ":")
"""Arms in turn, to be told apart where they lie on each other."""


def draw_swapped(matrices: pd.DataFrame, title: Title) -> bytes:
    """Draw F1 for each true value and told value; returns a PNG. See `build_swapped`."""
    return to_png(build_swapped(matrices), title)


def build_swapped(matrices: pd.DataFrame) -> Figure:
    """F1 for each true value (rows) and told value (columns), a panel per arm and column.

    Told the truth is framed. All panels have one scale of colours.

    Args:
        matrices: of `analysis.probes.controls.swapped_matrices`, not empty.
    """
    panels = list(matrices.groupby(["column", "arm"], sort=False))
    down = -(-len(panels) // COLUMNS)
    across = -(-len(panels) // down)
    values = int(matrices.groupby("column")["true"].nunique().max())
    side = max(1.2 + 0.5 * min(values, 16), 2.4)
    figure = Figure(figsize=(max(across * (side + 0.9) + 1.0, 6.0), down * (side + 0.5) + 0.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(down, across, squeeze=False).ravel()
    scale = Normalize(np.floor(matrices["f1"].min() * 10) / 10, np.ceil(matrices["f1"].max() * 10) / 10)
    colours = ScalarMappable(scale, "cividis")
    for axis, ((column, arm), rows) in zip(axes, panels, strict=False):
        truths, names = sorted(rows["true"].unique()), sorted({*rows["true"], *rows["given"]})
        table = rows.pivot(index="true", columns="given", values="f1").reindex(index=truths, columns=names).to_numpy()
        axis.imshow(table, cmap="cividis", norm=scale)
        for i, j in np.ndindex(table.shape):
            f1 = float(table[i, j])
            if np.isfinite(f1) and len(names) <= 16:
                dark = np.dot(colours.to_rgba(table[i, [j]])[0, :3], (0.299, 0.587, 0.114)) < 0.5
                colour = "white" if dark else "black"
                axis.text(j, i, f"{f1:.2f}", ha="center", va="center", size=8, color=colour)
        for i, truth in enumerate(truths):
            corner = names.index(truth) - 0.47, i - 0.47
            axis.add_patch(Rectangle(corner, 0.94, 0.94, fill=False, color="#D55E00", linewidth=1.8))
        long = max(map(len, names)) * len(names) > 5 * side * 2.2
        axis.set_xticks(range(len(names)), names, rotation=40 if long else 0, ha="right" if long else "center")
        axis.set_yticks(range(len(truths)), truths)
        axis.tick_params(length=0, labelsize="small")
        axis.set(xlabel=f"{column} told", ylabel=f"true {column}")
        axis.set_title(str(arm), fontsize="medium")
        axis.spines[:].set_visible(False)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    figure.colorbar(colours, ax=list(axes), label="F1", shrink=0.8)
    return figure


def draw_response(rows: pd.DataFrame, arms: Sequence[str], baseline: str, title: Title) -> bytes:
    """Draw how predictions follow the value that is told; returns a PNG. See `build_response`."""
    return to_png(build_response(rows, arms, baseline), title)


def build_response(rows: pd.DataFrame, arms: Sequence[str], baseline: str) -> Figure:
    """How predicted area and F1 follow the value that is told, a column of panels per class.

    Above: all images' predicted area over their true area, a line per arm (mean over seeds, band ± SD) and, thin,
    single images of the first arm. Below: F1 minus that as trained against told minus true value.

    Args:
        rows: of `analysis.probes.response.responses`, not empty.
        arms: of the study, in the order of display.
        baseline: among them; colours are as in the other figures.
    """
    curves, offsets = response_curves(rows), offset_curves(rows)
    classes = list(rows[["column", "class"]].drop_duplicates().itertuples(index=False, name=None))
    figure = Figure(figsize=(max(3.4 * len(classes) + 1.6, 6.0), 6.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, len(classes), squeeze=False)
    for axis in panels[1, 1:]:
        axis.sharey(panels[1, 0])  # a class that hardly changes is to look so
    styles = arm_styles(arms, baseline)
    shown = [arm for arm in arms if arm in set(rows["arm"])]
    for (column, name), above, below in zip(classes, *panels, strict=True):
        own = rows[(rows["column"] == column) & (rows["class"] == name)]
        curve = curves[(curves["column"] == column) & (curves["class"] == name)]
        offset = offsets[(offsets["column"] == column) & (offsets["class"] == name)]
        above.axhline(1, color="#888888", linewidth=0.8, linestyle="--")
        _draw_images(above, own[own["arm"] == shown[0]], styles[shown[0]][0])
        _draw_arms(above, curve, shown, styles, ("given", "relative"))
        peak = float((curve["relative"] + curve["sd"].fillna(0)).max())
        above.set(xlabel=f"{column} told", title=name, ylim=(0, 1.6 * max(peak, 1) if np.isfinite(peak) else 2))
        below.axhline(0, color="#888888", linewidth=0.8, linestyle="--")
        below.axvline(0, color="#888888", linewidth=0.8, linestyle="--")
        _draw_arms(below, offset, shown, styles, ("offset", "change"))
        below.set(xlabel=f"{column} told minus true")
        for axis in (above, below):
            axis.spines[["top", "right"]].set_visible(False)
            axis.grid(color="#e6e6e6", linewidth=0.6)
            axis.set_axisbelow(True)
    panels[0, 0].set_ylabel("predicted area / true area")
    panels[1, 0].set_ylabel("F1 minus F1 told the truth")
    handles = [
        Line2D([], [], color=styles[arm][0], marker=styles[arm][1], markersize=4, linestyle=LINES[i % len(LINES)],
               label=arm)
        for i, arm in enumerate(shown)
    ]  # fmt: skip
    handles.append(Line2D([], [], color=styles[shown[0]][0], alpha=0.35, linewidth=0.7, label=f"{shown[0]}, an image"))
    panels[0, -1].legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, borderaxespad=0)
    return figure


def _draw_images(panel: Axes, rows: pd.DataFrame, colour: str) -> None:
    """Thin curves of images that hold the class: `IMAGES` of them, evenly spaced by their area."""
    areas = rows[rows["reference"] > 0].groupby(["image", "subgroup", "given"], observed=True)[["area", "reference"]]
    curves = areas.mean().reset_index()
    images = curves.drop_duplicates(["image", "subgroup"]).sort_values("reference", kind="stable")
    chosen = images.iloc[np.unique(np.linspace(0, len(images) - 1, min(IMAGES, len(images))).astype(int))]
    for key in chosen[["image", "subgroup"]].itertuples(index=False, name=None):
        one = curves[(curves["image"] == key[0]) & (curves["subgroup"] == key[1])]
        panel.plot(one["given"], one["area"] / one["reference"], color=colour, alpha=0.3, linewidth=0.6, zorder=1)


def _draw_arms(
    panel: Axes,
    curves: pd.DataFrame,
    arms: Sequence[str],
    styles: Mapping[str, tuple[str, str]],
    axes: tuple[str, str],
) -> None:
    for i, arm in enumerate(arms):
        own = curves[curves["arm"] == arm]
        x, y, sd = (own[column].to_numpy(float) for column in (*axes, "sd"))
        colour, marker = styles[arm]
        panel.plot(
            x, y, LINES[i % len(LINES)], color=colour, marker=marker, markersize=4, linewidth=1.6, zorder=3, label=arm
        )
        spread = np.nan_to_num(sd)
        panel.fill_between(x, y - spread, y + spread, color=colour, alpha=0.2, linewidth=0, zorder=2)
