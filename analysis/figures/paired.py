"""Paired images: an arm's score of each image against its reference's."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures.scores import Title, arm_styles
from analysis.figures.style import (
    MOST_OUTLINES,
    Styles,
    arm_handles,
    foot,
    new_figure,
    render,
    shown,
    signed,
    tidy,
    wrapped,
)
from analysis.wording import NAMES, Names

AGREEMENT = 1.96
"""Standard deviations on either side of the mean difference that hold 95 % of normal differences."""


def draw_paired(scores: pd.DataFrame, arm: str, reference: str, title: Title) -> bytes:
    """Draw an arm's F1 of each image against its reference's; returns a PNG. See `build_paired`."""
    return render(build_paired(scores, arm, reference, title.names), title)


def build_paired(scores: pd.DataFrame, arm: str, reference: str, names: Names = NAMES) -> Figure:
    """A row of two panels per class: arm against reference, and their difference against their mean.

    The second is Bland and Altman's (1986, Lancet 327:307), with the mean difference and 1.96 standard deviations on
    either side. A point is an image, averaged over seeds; its colour and marker are its subgroup.

    Args:
        scores: of `analysis.scores.image_scores.image_scores`.
        arm: the one whose score is drawn upwards.
        reference: the other.
        names: what scores and images are called.

    Raises:
        ValueError: the two share no image.
    """
    pairs = paired_means(scores, arm, reference)
    classes, subgroups = shown(pairs["class"]), shown(pairs["subgroup"])
    styles = arm_styles(subgroups, "")
    figure = new_figure(3.15 * len(classes))
    for (left, right), name in zip(figure.subplots(len(classes), 2, squeeze=False), classes, strict=True):
        own = pairs[pairs["class"] == name]
        of = "" if len(classes) == 1 else f", {name}"
        _draw_scatter(left, own, styles)
        left.set_xlabel(wrapped(f"{names.score} of {reference}{of}"), fontsize=9)
        left.set_ylabel(wrapped(f"{names.score} of {arm}{of}"), fontsize=9)
        _draw_difference(right, own, styles)
        right.set_xlabel(f"mean of both{of}", fontsize=9)
        right.set_ylabel(wrapped(f"{arm} minus {reference}{of}"), fontsize=9)
    handles = arm_handles(subgroups, styles) if len(subgroups) > 1 else ()
    foot(figure, _note(pairs, scores, arm, reference, names), handles)
    return figure


def paired_means(scores: pd.DataFrame, arm: str, reference: str) -> pd.DataFrame:
    """Each image's mean F1 over seeds: columns class, subgroup, group, image, arm and reference, images of both.

    Raises:
        ValueError: the two share no image.
    """
    key = ["class", "subgroup", "group", "image"]
    means = [
        scores[scores["arm"] == name].groupby(key, observed=True)["f1"].mean().rename(column)
        for name, column in ((arm, "arm"), (reference, "reference"))
    ]
    pairs = pd.concat(means, axis=1, join="inner").reset_index()
    if pairs.empty:
        raise ValueError(f"{arm} and {reference} share no image; expected scores of the same ones")
    kinds = {column: scores[column].dtype for column in ("class", "subgroup")}
    return pairs.astype(kinds).sort_values(key).reset_index(drop=True)


def _draw_points(panel: Axes, x: pd.Series, y: pd.Series, subgroup: pd.Series, styles: Styles) -> None:
    size = float(np.clip(4000 / len(x), 6, 26))
    for name in shown(subgroup):
        colour, marker = styles[name]
        own = subgroup == name
        panel.scatter(
            x[own], y[own], s=size, color=colour, marker=marker, alpha=0.7, linewidths=0, zorder=3,
            rasterized=len(x) > MOST_OUTLINES,
        )  # fmt: skip


def _draw_scatter(panel: Axes, pairs: pd.DataFrame, styles: Styles) -> None:
    values = pairs[["arm", "reference"]].to_numpy()
    pad = max(0.04 * float(np.ptp(values)), 0.002)
    limits = float(values.min()) - pad, float(values.max()) + pad
    panel.plot(limits, limits, color="#444444", linewidth=0.9, zorder=2)
    _draw_points(panel, pairs["reference"], pairs["arm"], pairs["subgroup"], styles)
    panel.set(xlim=limits, ylim=limits, box_aspect=1)
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    tidy(panel)


def _draw_difference(panel: Axes, pairs: pd.DataFrame, styles: Styles) -> None:
    differences = pairs["arm"] - pairs["reference"]
    panel.axhline(0, color="#444444", linewidth=0.9, zorder=2)
    _draw_points(panel, (pairs["arm"] + pairs["reference"]) / 2, differences, pairs["subgroup"], styles)
    mean, spread = float(differences.mean()), AGREEMENT * float(differences.std())
    lines = [(mean, "-")] + ([(mean - spread, "--"), (mean + spread, "--")] if np.isfinite(spread) else [])
    for value, line in lines:
        panel.axhline(value, color="#D55E00", linewidth=1.1, linestyle=line, zorder=2.5)
    reach = 1.1 * max(float(differences.abs().max()), *(abs(value) for value, _ in lines)) or 0.01
    panel.set(ylim=(-reach, reach), box_aspect=1)
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    tidy(panel)


def _note(pairs: pd.DataFrame, scores: pd.DataFrame, arm: str, reference: str, names: Names) -> str:
    seeds = [scores.loc[scores["arm"] == name, "seed"].nunique() for name in (arm, reference)]
    parts = []
    for name in shown(pairs["class"]):
        own = pairs[pairs["class"] == name]
        differences = np.round(own["arm"] - own["reference"], 12)
        of = "" if pairs["class"].nunique() == 1 else f" of {name}"
        parts.append(
            f"{arm} is better on {(differences > 0).sum()} and worse on {(differences < 0).sum()} of {len(own)} "
            f"{names.images}{of}; the mean difference is {signed(differences.mean())}."
        )
    parts.append(
        f"A point is one of the {names.images}: mean over seeds ({seeds[0]} of {arm}, {seeds[1]} of {reference})."
    )
    parts.append(f"Orange: mean difference, and 1.96 SD of differences of {names.images} on either side.")
    return " ".join(parts)
