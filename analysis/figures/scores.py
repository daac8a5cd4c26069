"""The figure: F1 by subgroup and arm, with its seeds."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.glyphs import Drawing, to_plain_drawing, to_plain_png
from analysis.scores.image_scores import run_means, with_overall
from analysis.wording import NAMES, Names
from metaseg.schema import OVERALL, Average

BASELINE_COLOUR = "#222222"
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
"""Okabe and Ito's palette, told apart with any colour vision."""
MARKERS = ("o", "^", "v", "P", "X")
"""With more arms than colours, the next round has the next marker."""


DPI = 160
MOST_PIXELS = 60_000
"""On a side of a figure: matplotlib draws none of 65536."""


@dataclass(frozen=True)
class Title:
    """The title above a figure."""

    text: str
    about: str = ""
    """One sentence on the data; empty where it isn't known."""
    names: Names = NAMES
    """Names of scores and images."""


def arm_styles(arms: Sequence[str], baseline: str) -> dict[str, tuple[str, str]]:
    """Colour and marker of each arm, the same in all figures of a study."""
    others = [arm for arm in arms if arm != baseline]
    styles = {
        arm: (COLOURS[i % len(COLOURS)], MARKERS[i // len(COLOURS) % len(MARKERS)]) for i, arm in enumerate(others)
    }
    return styles | {baseline: (BASELINE_COLOUR, "s")}


def to_png(figure: Figure, title: Title) -> bytes:
    """The figure as a PNG with the title above it, broken into lines that fit its width."""
    _set_title(figure, title)
    return to_plain_png(figure, _dpi(figure))


def to_drawing(figure: Figure, title: Title) -> Drawing:
    """The same as a PNG and an SVG."""
    _set_title(figure, title)
    return to_plain_drawing(figure, _dpi(figure))


def _set_title(figure: Figure, title: Title) -> None:
    characters = int(figure.get_figwidth() * 12)
    lines = textwrap.wrap(title.text, characters) + textwrap.wrap(title.about, characters)
    figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize="medium")


def _dpi(figure: Figure) -> float:
    return min(float(DPI), MOST_PIXELS / float(max(figure.get_size_inches())))


def draw(
    scores: pd.DataFrame, arms: Sequence[str], baseline: str, title: Title, corner: str, average: Average = "images"
) -> bytes:
    """Draw each arm's F1 on each subgroup; returns a PNG. See `build_scores`."""
    return to_png(build_scores(scores, arms, baseline, title.names, corner, average), title)


LEGEND_LINE = 0.21
"""Height of a line of the legend, in inches."""


def build_scores(
    scores: pd.DataFrame, arms: Sequence[str], baseline: str, names: Names, corner: str, average: Average = "images"
) -> Figure:
    """Each arm's F1 on each subgroup, a panel per class.

    A marker is the mean over seeds of the mean over images, small points are the seeds, and a line across the subgroup
    continues the baseline's mean.

    Args:
        scores: of `analysis.scores.image_scores.image_scores`.
        arms: in the order of display.
        baseline: the arm drawn as squares and lines.
        names: what scores are called.
        corner: what the subgroups are, e.g. "cell_line".
        average: what `OVERALL` is.
    """
    seeds = run_means(with_overall(scores, average)).reset_index()
    classes = list(seeds["class"].unique())
    subgroups = list(seeds["subgroup"].cat.remove_unused_categories().cat.categories)
    shown = [arm for arm in arms if arm in set(seeds["arm"])]
    width = max(4.5, 1.8 + len(subgroups) * (0.45 + 0.15 * len(shown)))
    most = np.clip(0.3 * len(subgroups), 12.0, 24.0)
    # As high as the legend at least: in a lower figure it would leave the panels no room.
    height = 0.9 + max(3.1 * len(classes), LEGEND_LINE * (len(shown) + 1))
    figure = Figure(figsize=(min(width, float(most)), height), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(classes), 1, squeeze=False)[:, 0]
    styles = arm_styles(arms, baseline)
    for panel, name in zip(panels, classes, strict=True):
        _draw_class(panel, seeds[seeds["class"] == name], subgroups, shown, baseline, styles)
        panel.set_ylabel(f"mean {names.score}" if len(classes) == 1 else f"mean {names.score}, {name}")
    panels[-1].set_xlabel(corner if len(subgroups) > 1 else "")
    handles = [
        Line2D([], [], color=styles[arm][0], marker=styles[arm][1], linestyle="-" if arm == baseline else "", label=arm)
        for arm in shown
    ]
    handles.append(Line2D([], [], color="#999999", marker="o", markersize=3, linestyle="", label="one seed"))
    panels[0].legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, borderaxespad=0)
    return figure


def _draw_class(
    panel: Axes,
    seeds: pd.DataFrame,
    subgroups: Sequence[str],
    arms: Sequence[str],
    baseline: str,
    styles: dict[str, tuple[str, str]],
) -> None:
    """One panel: subgroups along x, the arms of one beside each other."""
    step = 0.8 / len(arms)
    offsets = (np.arange(len(arms)) - len(arms) / 2 + 0.3) * step
    beside = min(0.38 * step, 0.07)  # the seeds stand to the right of their mean, which would hide them
    for arm, offset in zip(arms, offsets, strict=True):
        colour, marker = styles[arm]
        rows = seeds[seeds["arm"] == arm]
        x = rows["subgroup"].map({name: i for i, name in enumerate(subgroups)}).astype(float) + offset
        panel.scatter(x + beside, rows["score"], s=9, color=colour, alpha=0.45, linewidths=0, zorder=2)
        means = rows.groupby("subgroup", observed=True)["score"].mean()
        centres = np.array([subgroups.index(name) for name in means.index], dtype=float)
        panel.scatter(
            centres + offset, means, s=34, color=colour, marker=marker, edgecolors="white", linewidths=0.6, zorder=3
        )
        if arm == baseline:
            panel.hlines(means, centres - 0.43, centres + 0.43, color=colour, linewidth=0.8, alpha=0.6, zorder=1)
    for i in range(0, len(subgroups) if len(subgroups) > 1 else 0, 2):
        panel.axvspan(i - 0.5, i + 0.5, color="#f3f3f3", linewidth=0, zorder=0)
    if OVERALL in subgroups and len(subgroups) > 1:
        panel.axvline(0.5, color="#888888", linewidth=0.8)
    crowded = len(subgroups) * max(map(len, subgroups)) > 90
    panel.set_xticks(
        range(len(subgroups)), list(subgroups), rotation=30 if crowded else 0, ha="right" if crowded else "center"
    )
    panel.tick_params(axis="x", length=0)
    panel.set_xlim(-0.5, len(subgroups) - 0.5)
    panel.margins(y=0.08)
    panel.grid(axis="y", color="#dddddd", linewidth=0.6, zorder=0.5)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
