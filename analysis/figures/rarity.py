"""Scores of a rare subgroup against the number of its samples for training: one study for each number."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from analysis.figures.scores import Title, arm_styles
from analysis.figures.style import Styles, arm_handles, foot, new_figure, render, tidy
from metaseg.schema import MACRO

COLUMNS = (
    "samples", "arm", "n_images", "n_folds", "n_seeds", "mean", "sd", "difference", "ci_low", "ci_high",
)  # fmt: skip


def rarity_curve(
    reports: Mapping[int, tuple[pd.DataFrame, pd.DataFrame]], subgroup: str, reference: str
) -> pd.DataFrame:
    """Scores of a subgroup in studies that differ in the number of its samples for training.

    Args:
        reports: each study's table of scores and table of tests, as in table.csv and tests.csv of a report, by that
            number.
        subgroup: the one that is rare.
        reference: arm that the others are compared with, in all studies.

    Returns:
        A row per number and arm, columns `COLUMNS`: the number, F1 (mean, and SD across seeds; NaN with one; of several
        classes their mean) and the difference of F1 from the reference with its 95 % interval (of a new run and a new
        image, before correction for several comparisons; NaN for the reference).
    """
    rows = []
    for samples, (cells, tests) in sorted(reports.items()):
        scored = MACRO if MACRO in set(cells["class"]) else cells["class"].iloc[0]
        cells, tests = (table[(table["subgroup"] == subgroup) & (table["class"] == scored)] for table in (cells, tests))
        tests = tests[tests["reference"] == reference].set_index("arm")
        for _, cell in cells.iterrows():
            found = tests.loc[cell["arm"]] if cell["arm"] in tests.index else pd.Series(dtype=float)
            known = {**cell, **{name: found.get(name, np.nan) for name in ("difference", "ci_low", "ci_high")}}
            rows.append({"samples": samples} | {name: known[name] for name in COLUMNS[1:]})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def draw_rarity(curve: pd.DataFrame, subgroup: str, reference: str, title: Title) -> bytes:
    """Draw the curve; returns a PNG. See `build_rarity`."""
    return render(build_rarity(curve, subgroup, reference), title)


def build_rarity(curve: pd.DataFrame, subgroup: str, reference: str) -> Figure:
    """Two panels: F1 of the rare subgroup by arm, and its difference from the reference.

    Args:
        curve: from `rarity_curve`.
        subgroup: its name.
        reference: the arm that is compared with.
    """
    arms = [str(arm) for arm in curve["arm"].unique()]
    styles = arm_styles(arms, reference)
    figure = new_figure(4.8)
    scores, differences = figure.subplots(2, 1, sharex=True)
    _draw(scores, curve.assign(low=curve["mean"] - curve["sd"], high=curve["mean"] + curve["sd"]), "mean", arms, styles)
    scores.set_ylabel(f"F1, {subgroup}", fontsize=9)
    differences.axhline(0, color=styles[reference][0], linewidth=0.9)
    compared = [arm for arm in arms if arm != reference]
    _draw(differences, curve.assign(low=curve["ci_low"], high=curve["ci_high"]), "difference", compared, styles)
    differences.set_ylabel(f"F1 minus {reference}'s", fontsize=9)
    differences.set_xlabel(f"samples of {subgroup} for training and validation", fontsize=9)
    images = curve["n_images"].max()
    note = (
        f"Each marker is the mean over {images} tested images and over seeds. Lines above: the SD across seeds; below: "
        "95 % intervals for new runs and new images, before correction for several comparisons."
    )
    foot(figure, note, arm_handles(arms, styles))
    return figure


def _draw(panel: Axes, curve: pd.DataFrame, column: str, arms: list[str], styles: Styles) -> None:
    for place, arm in enumerate(arms):
        own = curve[curve["arm"] == arm].sort_values("samples")
        beside = np.exp((place - (len(arms) - 1) / 2) * 0.04)  # intervals at one number overlap
        x = own["samples"].to_numpy(float) * beside
        colour, marker = styles[arm]
        panel.vlines(x, own["low"], own["high"], color=colour, linewidth=1.1, alpha=0.7, zorder=2)
        panel.plot(x, own[column], color=colour, marker=marker, markersize=4.5, linewidth=1.0, zorder=3)
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(FixedLocator(sorted(map(float, curve["samples"].unique()))))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.margins(y=0.1)
    tidy(panel)
