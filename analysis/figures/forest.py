"""Forest plot: by how much each arm differs from its reference on each subgroup, and how sure that is."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.scores import Title
from analysis.figures.style import GREY, SMALL, Styles, foot, new_figure, render, shown, signed, styles_of, tidy
from analysis.wording import NAMES, Names
from metaseg.schema import ALPHA, OVERALL

"""p-values below it, after correction, are marked."""

ADJUSTED = ["ci_low_adjusted", "ci_high_adjusted"]
"""The interval at the level at which the corrected test was made; tests may lack it."""

ROW = 0.19
"""Inches of a row."""

TYPICAL_WIDTHS = 8.0
"""Typical (median) half widths of an interval that fit on either side of the zero line, at least: one wide interval
doesn't make the others points; it is cut off, with an arrow."""

DIFFERENCE, IMAGES, SEEDS = 46.0, 84.0, 116.0
"""Right edges of the columns of numbers, in points right of the panel."""


Limits = tuple[float, float]


@dataclass(frozen=True)
class _Row:
    """A line of a panel: a test, or a heading where `test` is empty."""

    label: str
    bold: bool
    test: pd.Series | None


def draw_forest(tests: pd.DataFrame, title: Title, margin: float | None = None) -> bytes:
    """Draw each arm's difference from its reference; returns a PNG. See `build_forest`."""
    return render(build_forest(tests, margin, title.names), title)


def build_forest(tests: pd.DataFrame, margin: float | None = None, names: Names = NAMES) -> Figure:
    """A panel per class; in it, a block per subgroup, `OVERALL` on top, with a row per arm.

    A row has the difference as a point, its 95 % interval as a thick line, the one at the level of the corrected test
    as
    a thin line with ends (where tests have ci_low_adjusted and ci_high_adjusted), and, to the right, the difference, a
    mark where it is
    significant after correction, and the numbers of images and seeds. Without an interval the point is hollow.

    Args:
        tests: a row per class, subgroup, arm and reference, with n_images, n_seeds, difference, ci_low, ci_high and
            p_adjusted; the last three NaN where they aren't known. Differences are of F1.
        margin: differences in -margin..margin count as none; shaded where it is given.
        names: what scores and images are called.

    Raises:
        ValueError: no tests.
    """
    if tests.empty:
        raise ValueError("no tests to draw; expected a row per class, subgroup and arm")
    several = tests["reference"].nunique() > 1
    classes = {name: list(_rows(tests[tests["class"] == name], several)) for name in shown(tests["class"])}
    heights = [len(rows) for rows in classes.values()]
    figure = new_figure(ROW * sum(heights) + 0.75 * len(classes) + 0.2)
    panels = figure.subplots(len(classes), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    styles = styles_of(tests["arm"], shown(tests["reference"])[0])
    limits = axis_limits(tests, margin)
    for panel, (name, rows) in zip(panels, classes.items(), strict=True):
        _draw_class(panel, rows, styles, limits, margin, names)
        if len(classes) > 1:
            panel.set_title(name, fontsize="medium", loc="left")
    reference = "its reference" if several else shown(tests["reference"])[0]
    panels[-1].set_xlabel(f"difference of mean {names.score} from {reference}", fontsize=9)
    foot(figure, _note(tests, limits, margin))
    return figure


def _rows(tests: pd.DataFrame, several: bool) -> Iterator[_Row]:
    subgroups = shown(tests["subgroup"])
    subgroups.sort(key=lambda name: name != OVERALL)  # stable
    arms = shown(tests["arm"])
    single = tests.groupby("subgroup", observed=True).size().max() == 1
    for subgroup in subgroups:
        block = tests[tests["subgroup"] == subgroup]
        order = block["arm"].map({arm: i for i, arm in enumerate(arms)}).astype(int)
        block = block.iloc[np.argsort(order, kind="stable")]
        if not single:
            yield _Row(subgroup, True, None)
        for _, test in block.iterrows():
            arm = f"{test['arm']} vs {test['reference']}" if several else str(test["arm"])
            yield _Row(subgroup if single else arm, single and subgroup == OVERALL, test)


def axis_limits(tests: pd.DataFrame, margin: float | None) -> Limits:
    """Of the x axis: all points, the margin, zero, and intervals that aren't far wider than is typical."""
    wide = ADJUSTED if set(ADJUSTED) <= set(tests) else ["ci_low", "ci_high"]
    low, high = (
        tests[column].astype(float).fillna(tests[plain]).to_numpy(float)
        for column, plain in zip(wide, ("ci_low", "ci_high"), strict=True)
    )
    points = tests["difference"].to_numpy(float)
    halves = (high - low) / 2
    cut = TYPICAL_WIDTHS * float(np.nanmedian(halves)) if np.isfinite(halves).any() else 0.0
    cut = max(cut, 1.3 * float(np.nanmax(np.abs(points), initial=0.0)))
    ends = np.concatenate([np.clip(low, -cut, None), np.clip(high, None, cut), points, [0.0, margin or 0.0]])
    ends = np.append(ends, -(margin or 0.0))
    pad = 0.04 * float(np.nanmax(ends) - np.nanmin(ends)) or 0.01
    return float(np.nanmin(ends)) - pad, float(np.nanmax(ends)) + pad


def _draw_class(
    panel: Axes, rows: list[_Row], styles: Styles, limits: Limits, margin: float | None, names: Names
) -> None:
    blocks = np.cumsum([row.test is None for row in rows])
    for block in range(2, int(blocks.max()) + 1, 2):  # every other block on grey
        lines = np.flatnonzero(blocks == block)
        panel.axhspan(lines[0] - 0.5, lines[-1] + 0.5, color="#f4f4f4", linewidth=0, zorder=0)
    if margin is not None:
        panel.axvspan(-margin, margin, color="#56B4E9", alpha=0.18, linewidth=0, zorder=0.5)
    panel.axvline(0, color="#444444", linewidth=0.9, zorder=1)
    columns = ((DIFFERENCE, "difference"), (IMAGES, names.images), (SEEDS, "seeds"))
    for right, heading in columns:
        panel.annotate(
            heading,
            (1, 1),
            (right, 4),
            "axes fraction",
            "offset points",
            ha="right",
            va="bottom",
            size=SMALL,
            color=GREY,
        )
    for y, row in enumerate(rows):
        if row.test is not None:
            _draw_test(panel, y, row.test, styles, limits)
    panel.set_yticks(range(len(rows)), [row.label for row in rows])
    for label, row in zip(panel.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if row.bold or row.test is None else "normal")
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.set_xlim(limits)
    tidy(panel, "x")
    panel.tick_params(axis="y", length=0)
    panel.spines["left"].set_visible(False)


def _draw_test(panel: Axes, y: int, test: pd.Series, styles: Styles, limits: Limits) -> None:
    colour, marker = styles[str(test["arm"])]
    known = bool(np.isfinite(test["ci_low"]) and np.isfinite(test["ci_high"]))
    if known:
        low, high = max(test["ci_low"], limits[0]), min(test["ci_high"], limits[1])
        panel.plot([low, high], [y, y], color=colour, linewidth=2.6, solid_capstyle="butt", zorder=2)
        _draw_adjusted(panel, y, test, colour, limits)
        for end, cut, arrow in ((low, test["ci_low"] < limits[0], "<"), (high, test["ci_high"] > limits[1], ">")):
            if cut:
                panel.plot([end], [y], color=colour, marker=arrow, markersize=5, clip_on=False, zorder=2)
    face = colour if known else "white"
    panel.plot(
        [test["difference"]], [y], color=colour, marker=marker, markersize=5.5, markerfacecolor=face,
        markeredgecolor="white" if known else colour, markeredgewidth=0.5 if known else 1.3, linestyle="", zorder=3,
    )  # fmt: skip
    significant = bool(test["p_adjusted"] < ALPHA)
    weight = "bold" if significant else "normal"
    _beside(panel, y, DIFFERENCE, signed(test["difference"]), weight)
    if significant:
        panel.annotate(
            "*", (1, y), (DIFFERENCE + 1, -1.5), panel.get_yaxis_transform(), "offset points", va="center", size=11
        )
    _beside(panel, y, IMAGES, f"{test['n_images']}")
    _beside(panel, y, SEEDS, f"{test['n_seeds']}")


def _draw_adjusted(panel: Axes, y: int, test: pd.Series, colour: str, limits: Limits) -> None:
    """The interval at the level of the corrected test, with ends where it isn't cut off."""
    low, high = (float(test.get(column, np.nan)) for column in ADJUSTED)
    if not np.isfinite([low, high]).all():
        return
    within = np.clip([low, high], *limits)
    panel.plot(within, [y, y], color=colour, linewidth=0.9, solid_capstyle="butt", zorder=1.9)
    ends = [end for end in (low, high) if limits[0] <= end <= limits[1]]
    panel.plot(ends, [y] * len(ends), "|", color=colour, markersize=5, markeredgewidth=0.9, zorder=1.9)


def _beside(panel: Axes, y: float, right: float, text: str, weight: str = "normal") -> None:
    panel.annotate(
        text, (1, y), (right, 0), panel.get_yaxis_transform(), "offset points", ha="right", va="center", size=SMALL,
        weight=weight,
    )  # fmt: skip


def _note(tests: pd.DataFrame, limits: Limits, margin: float | None) -> str:
    parts = []
    if tests["ci_low"].notna().any():
        parts.append("Thick: 95 % intervals, of each comparison alone.")
    if set(ADJUSTED) <= set(tests) and tests[ADJUSTED[0]].notna().any():
        parts.append("Thin: at the level of the corrected test, without 0 exactly where its p is below 0.05.")
    if (tests["p_adjusted"] < ALPHA).any():
        parts.append(f"* p < {ALPHA:g} after correction.")
    if tests["ci_low"].isna().any():
        parts.append("Hollow: no interval can be told.")
    if ((tests["ci_low"] < limits[0]) | (tests["ci_high"] > limits[1])).any():
        parts.append("Arrows: the interval goes on.")
    if margin is not None:
        parts.append(f"Shaded: within the margin of equivalence, ±{margin:g}.")
    return " ".join(parts)
