"""Decomposition of variance: what makes scores vary, and what of it makes a difference of arms uncertain."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from analysis.figures.scores import Title
from analysis.figures.style import GREY, SMALL, foot, new_figure, render, span
from analysis.stats.mrmc import Difference
from analysis.wording import NAMES, Names

PARTS = {
    "unit": ("{images}", "#0072B2"),
    "seed": ("seeds", "#E69F00"),
    "arm_unit": ("arm x {image}", "#009E73"),
    "error": ("seed x {image} and error", "#BBBBBB"),
}
"""Column, what the figure calls it, and its colour."""

ROOM_FOR_TEXT = 0.12
"""Shares below it have no number."""


def variance_table(differences: Iterable[Difference]) -> pd.DataFrame:
    """The variance components of each comparison.

    Returns:
        A row each: arm, reference, unit, seed, arm_unit, error (variances of one score, as estimated: may be below 0;
        NaN where an arm has one seed), n_units, n_seeds and n_seeds_reference.
    """
    rows = []
    for each in differences:
        parts = {name: getattr(each.components, name, float("nan")) for name in PARTS}
        sizes = {"n_units": each.units, "n_seeds": each.seeds[0], "n_seeds_reference": each.seeds[1]}
        rows.append({"arm": each.arm, "reference": each.reference} | parts | sizes)
    return pd.DataFrame(rows, columns=["arm", "reference", *PARTS, "n_units", "n_seeds", "n_seeds_reference"])


def contributions(components: pd.DataFrame) -> pd.DataFrame:
    """Contribution of each component to the variance of the mean difference of two arms, on new images with new seeds.

    With r1 and r2 seeds, U units and h = 1 / r1 + 1 / r2: h seed + 2 arm_unit / U + h error / U. Units are the same for
    both arms and add nothing. Estimates below 0 count as 0 (`analysis.stats.mrmc` cuts off sums, and may differ by
    that).

    Args:
        components: of `variance_table`.

    Returns:
        Columns unit, seed, arm_unit and error, in the order of the rows.
    """
    h = 1 / components["n_seeds"] + 1 / components["n_seeds_reference"]
    parts = components[list(PARTS)].clip(lower=0)
    units = components["n_units"]
    return pd.DataFrame(
        {
            "unit": 0 * parts["unit"],
            "seed": h * parts["seed"],
            "arm_unit": 2 * parts["arm_unit"] / units,
            "error": h * parts["error"] / units,
        }
    )


def draw_variance(components: pd.DataFrame, title: Title) -> bytes:
    """Draw the variance components of each comparison as shares; returns a PNG. See `build_variance`."""
    return render(build_variance(components, title.names), title)


def build_variance(components: pd.DataFrame, names: Names = NAMES) -> Figure:
    """Two panels with a bar per comparison: shares of the variance of one score, and of the mean difference.

    Args:
        components: of `variance_table`, a row or more.
        names: what images are called.

    Raises:
        ValueError: no rows.
    """
    if components.empty:
        raise ValueError("no variance components to draw; expected a row per comparison")
    several = components["reference"].nunique() > 1
    rows = components[["arm", "reference"]].itertuples(index=False, name=None)
    labels = [f"{arm} vs {reference}" if several else str(arm) for arm, reference in rows]
    figure = new_figure(0.3 * len(components) + 0.9)
    left, right = figure.subplots(1, 2, sharey=True)
    single, mean = components[list(PARTS)].clip(lower=0), contributions(components)
    _draw_shares(left, single, "SD")
    _draw_shares(right, mean, "SE")
    left.set_title("one score", fontsize=9, loc="left")
    right.set_title("mean difference", fontsize=9, loc="left")
    left.set_yticks(range(len(labels)), labels, fontsize=SMALL)
    left.set_ylim(len(labels) - 0.5, -0.5)
    parts = [
        Patch(color=colour, label=name.format(image=names.image, images=names.images))
        for name, colour in PARTS.values()
    ]
    foot(figure, _note(components, several, names), parts)
    return figure


def _draw_shares(panel: Axes, variances: pd.DataFrame, spread: str) -> None:
    values = variances.to_numpy(float)
    total = values.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = values / total[:, None]
    starts = np.cumsum(shares, axis=1) - shares
    y = np.arange(len(values))
    for k, (name, colour) in enumerate(PARTS.values()):
        panel.barh(
            y, np.nan_to_num(shares[:, k]), left=np.nan_to_num(starts[:, k]), color=colour, height=0.7, label=name
        )
    for i, k in zip(*np.nonzero(shares >= ROOM_FOR_TEXT), strict=True):
        light = list(PARTS)[k] in ("seed", "error")
        panel.text(
            starts[i, k] + shares[i, k] / 2, i, f"{shares[i, k]:.0%}", ha="center", va="center", size=SMALL,
            color="black" if light else "white",
        )  # fmt: skip
    for i in range(len(values)):
        if total[i] > 0:
            text = f"{spread} {np.sqrt(total[i]):#.2g}"
            panel.annotate(text, (1, i), (3, 0), textcoords="offset points", va="center", size=SMALL)
        else:
            words = "none" if total[i] == 0 else "unknown: needs 2 seeds"
            panel.text(0.01, i, words, va="center", size=SMALL, color=GREY)
    panel.set_xlim(0, 1)
    panel.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"], fontsize=SMALL)
    first, *_, last = panel.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    panel.tick_params(axis="y", length=0)
    panel.spines[:].set_visible(False)


def _note(components: pd.DataFrame, several: bool, names: Names) -> str:
    against = "" if several else f" from {components['reference'].iloc[0]}"
    seeds, units = span(components[["n_seeds", "n_seeds_reference"]]), span(components["n_units"])
    text = (
        f"Left: variance of a single score. Right: variance of the mean difference of an arm{against}, from which the "
        f"difficulty of {names.images} cancels. Seeds per arm: {seeds}; independent {names.units}: {units}. More seeds "
        f"reduce the parts of seeds and of error, more {names.images} those of arm x {names.image} and of error."
    )
    if (components[list(PARTS)] < 0).to_numpy().any():
        text += " Estimates below 0 are drawn as 0."
    return text
