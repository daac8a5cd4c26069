"""Picture of a metadata response: the area that is segmented by the value told, and the masks of a few images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.figures.glyphs import drawable, to_plain_png
from metaseg.pictures.draw import CLASSES, OWN, TRUTH, draw_outline, show_image
from metaseg.schema import UNKNOWN

MOST_PANELS = 10
"""Most masks of an image, evenly chosen from its values."""

_PANEL, _CURVE, _LEFT, _HEAD, _NAMES, _DPI = 1.5, 2.6, 0.75, 0.8, 0.42, 140
"""Inches: least side of a mask's panel, height of the curves, space on the left, space for the axis and its note, space
above a row. Dots per inch."""


@dataclass(frozen=True)
class ResponseRow:
    """An image and its masks."""

    name: str
    image: npt.NDArray[np.uint8]
    """`(H, W, 1)` or `(H, W, 3)`"""
    masks: Sequence[npt.NDArray[np.uint8]]
    """One `(H, W)` mask for each value: 0 background, k the k-th class."""
    reference: npt.NDArray[np.uint8] | None
    own: str
    """The image's own value as a text; empty where it isn't known."""


def draw_response(
    table: pd.DataFrame, column: str, told: Sequence[str], classes: Sequence[str], rows: Sequence[ResponseRow]
) -> bytes:
    """Draw the share of the image that is segmented against the value told, and masks beneath; returns a PNG.

    Thin lines are images, thick ones their means. A blue frame marks an image's own value.

    Args:
        table: rows of `metaseg.prediction.response.Response.table`.
        column: name of the column that is varied.
        told: its values as texts, in order; numbers are placed at scale.
        classes: names of the classes.
        rows: images to show masks of.
    """
    chosen = np.unique(np.linspace(0, len(told) - 1, min(len(told), MOST_PANELS)).round().astype(int))
    side = min(2.5, max(_PANEL, 6.0 / len(chosen)))  # few masks are drawn larger
    heights = [side * float(np.clip(row.image.shape[0] / row.image.shape[1], 0.4, 2)) for row in rows]
    width = _LEFT + max(4.5, len(chosen) * side) + 0.2
    height = _CURVE + _HEAD + sum(heights) + _NAMES * len(rows) + 0.1
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    axes = figure.add_axes(
        (_LEFT / width, 1 - (_CURVE + 0.1) / height, 1 - (_LEFT + 0.2) / width, (_CURVE - 0.3) / height)
    )
    _curves(axes, table, column, told, classes)
    if rows:
        figure.text(_LEFT / width, 1 - (_CURVE + _HEAD - 0.02) / height, _note(rows), fontsize=8, color="#555555")
    top = _CURVE + _HEAD
    for row, tall in zip(rows, heights, strict=True):
        top += _NAMES
        figure.text(_LEFT / width, 1 - (top - 0.2) / height, drawable(row.name), fontsize=8, va="bottom")
        for place, value in enumerate(chosen):
            left = _LEFT + place * side
            panel = figure.add_axes((left / width, 1 - (top + tall) / height, (side - 0.08) / width, tall / height))
            panel.set(xticks=[], yticks=[])
            _panel(panel, row, row.masks[value], told[value])
        top += tall
    return to_plain_png(figure, _DPI)


def _curves(axes: Axes, table: pd.DataFrame, column: str, told: Sequence[str], classes: Sequence[str]) -> None:
    numbers = pd.to_numeric(pd.Series([each for each in told if each != UNKNOWN]), errors="coerce")
    continuous = len(numbers) > 1 and bool(numbers.notna().all())
    places: dict[str, float] = {each: float(k) for k, each in enumerate(told)}
    if continuous:
        step = float(numbers.max() - numbers.min()) / max(len(numbers) - 1, 1)
        places = {each: float(each) if each != UNKNOWN else float(numbers.max()) + 2 * step for each in told}
    for k, name in enumerate(classes):
        colour = CLASSES[k % len(CLASSES)]
        share = 100 * table[table["class"] == name].pivot_table(index="told", columns="image", values="share")
        share = share.loc[list(told)]
        joined = [each for each in told if each != UNKNOWN] if continuous else list(told)
        apart = [each for each in told if each not in joined]
        x = [places[each] for each in joined]
        axes.plot(x, share.loc[joined].to_numpy(), color=colour, linewidth=0.7, alpha=0.35, marker=".", markersize=3)
        axes.plot(x, share.loc[joined].mean(axis=1), color=colour, linewidth=2.2, marker="o", markersize=4, label=name)
        for each in apart:
            axes.plot([places[each]] * share.shape[1], share.loc[each], ".", color=colour, markersize=3, alpha=0.35)
            axes.plot(places[each], share.loc[each].mean(), "o", color=colour, markersize=4)
    if not continuous or len(told) > len(numbers):
        rotated = max(map(len, told)) > 12
        axes.set_xticks(
            [places[each] for each in told], [drawable(each) for each in told],
            rotation=30 if rotated else 0, ha="right" if rotated else "center",
        )  # fmt: skip
    axes.set_xlabel(f"{drawable(column)} told to the network", fontsize=9)
    axes.set_ylabel("% of the image", fontsize=9)
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    if len(classes) > 1:
        axes.legend(fontsize=8, frameon=False)


def _note(rows: Sequence[ResponseRow]) -> str:
    parts = ["Masks by the value told"]
    if any(row.own for row in rows):
        parts.append("blue frame: the image's own value")
    if any(row.reference is not None for row in rows):
        parts.append("yellow: reference")
    return "; ".join(parts)


def _panel(axes: Axes, row: ResponseRow, mask: npt.NDArray[np.uint8], told: str) -> None:
    show_image(axes, row.image)
    if row.reference is not None:
        _outline(axes, (row.reference > 0) & (row.reference < 255), TRUTH)
    for k in range(1, int(mask.max()) + 1):
        _outline(axes, mask == k, CLASSES[(k - 1) % len(CLASSES)])
    own = told == row.own
    axes.set_title(drawable(told), fontsize=8, pad=2, color=OWN if own else "black", fontweight="bold" if own else None)
    if own:
        axes.spines[:].set(color=OWN, linewidth=2.5)


def _outline(axes: Axes, region: npt.NDArray[np.bool_], colour: str) -> None:
    if region.any():  # an empty one has no contour
        draw_outline(axes, region, colour)
