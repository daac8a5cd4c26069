"""F1 against the size of what is to be found."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from analysis.figures.scores import Title, arm_styles
from analysis.figures.style import Styles, arm_handles, foot, new_figure, plain_log_ticks, render, shown, span, tidy
from analysis.scores.metrics import f1
from analysis.stats.mrmc import LEVEL
from metaseg.schema import AS_TRAINED

IMAGES_PER_BIN = 10
"""At least, where there are as many images."""

MOST_BINS = 8

MOST_INTERVALS = 4
"""Arms up to which the upper panel has intervals; the lower always has."""

IMAGE = ["class", "subgroup", "group", "image"]
"""Columns that identify a mask: an image has several subgroups where they are tasks."""

BIN = ["class", "bin"]


def sized_images(images: pd.DataFrame) -> pd.DataFrame:
    """Each test image and class with the area of its reference.

    Args:
        images: rows of `analysis.results.store_rows.Collected.images`.

    Returns:
        Columns class, subgroup, group, image, area (tp + fn, pixels) and bin: the class's images that hold it are cut
        at quantiles of area into up to `MOST_BINS` bins, numbered from 0 by area; -1 where the reference is empty.
    """
    images = images[images["evaluation"] == AS_TRAINED]
    areas = images.assign(area=images["tp"] + images["fn"]).groupby(IMAGE, observed=True, sort=False)["area"].first()
    sized = areas.reset_index()
    held = sized["area"] > 0
    bins = sized[held].groupby("class", observed=True)["area"].transform(_bins)
    return sized.assign(bin=bins.reindex(sized.index, fill_value=-1).astype(int))


def _bins(areas: pd.Series) -> pd.Series:
    number = int(np.clip(len(areas) // IMAGES_PER_BIN, 1, MOST_BINS))
    edges = np.unique(np.quantile(areas, np.linspace(0, 1, number + 1)[1:-1]))
    return pd.Series(np.unique(np.searchsorted(edges, areas, side="left"), return_inverse=True)[1], areas.index)


def size_curves(images: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Mean F1, and difference from the baseline, of each arm's images of about a size.

    Runs that lack some of a bin's images (of their fold) are left out of it, and arms that lack some altogether.
    Scores are averaged over seeds; intervals are over groups of images (95 %, t), so they are about other images and
    these networks.

    Args:
        images: rows of `analysis.results.store_rows.Collected.images`.
        baseline: the arm that the others are compared with.

    Returns:
        A row per class, bin and arm: n_images, area (median, pixels), mean, low, high (its interval; NaN with one
        group), difference, difference_low and difference_high (from the baseline; NaN for it, and where it has no run).
    """
    sized = sized_images(images)
    fold = ["fold"] if "fold" in images else []
    rows = images.loc[images["evaluation"] == AS_TRAINED, [*IMAGE, "arm", "seed", *fold, "tp", "fp", "fn"]]
    rows = rows.merge(sized[sized["bin"] >= 0], on=IMAGE)
    rows["f1"] = f1(rows["tp"].to_numpy(), rows["fp"].to_numpy(), rows["fn"].to_numpy())
    bins = sized[sized["bin"] >= 0].groupby(BIN, observed=True)["area"].agg(n_images="size", area="median")
    found = rows.groupby([*BIN, "arm", "seed", *fold], observed=True)["f1"].transform("size")
    wanted = rows.drop_duplicates(IMAGE).groupby([*BIN, *fold], observed=True).size().rename("wanted")
    rows = rows[found == rows.join(wanted, on=[*BIN, *fold])["wanted"]]
    means = rows.groupby([*IMAGE, "bin", "arm"], observed=True)["f1"].mean().reset_index()
    there = means.groupby([*BIN, "arm"], observed=True)["f1"].transform("size")
    means = means[there == means.join(bins["n_images"], on=BIN)["n_images"]]
    base = means[means["arm"] == baseline].drop(columns="arm").rename(columns={"f1": "base"})
    means = means.merge(base, on=[*IMAGE, "bin"], how="left")
    means["difference"] = (means["f1"] - means["base"]).where(means["arm"] != baseline)
    scores, differences = _interval(means, "f1"), _interval(means.dropna(subset=["difference"]), "difference")
    differences.columns = pd.Index(["difference", "difference_low", "difference_high"])
    return scores.join(differences).reset_index().join(bins, on=BIN)


def _interval(means: pd.DataFrame, column: str) -> pd.DataFrame:
    """Mean, low and high by class, bin and arm; images of a group aren't independent."""
    cell = [*BIN, "arm"]
    grouped = means.groupby(cell, observed=True)[column]
    centre, count = grouped.mean(), grouped.size()
    residual = means.assign(residual=means[column] - grouped.transform("mean"))
    sums = residual.groupby([*cell, "group"], observed=True)["residual"].sum()
    groups = sums.groupby(cell, observed=True).size()
    freedom = (groups - 1).where(groups > 1)
    error = np.sqrt((sums**2).groupby(cell, observed=True).sum() * groups / freedom) / count
    half = error * stats.t.ppf(0.5 + LEVEL / 2, freedom)
    return pd.DataFrame({"mean": centre, "low": centre - half, "high": centre + half})


def draw_size(images: pd.DataFrame, arms: Sequence[str], baseline: str, title: Title) -> bytes:
    """Draw F1 against the area of the reference; returns a PNG. See `build_size`."""
    return render(build_size(images, arms, baseline), title)


def build_size(images: pd.DataFrame, arms: Sequence[str], baseline: str) -> Figure:
    """Two panels per class: mean F1 of images of about a size, and its difference from the baseline's.

    Args:
        images: rows of `analysis.results.store_rows.Collected.images`.
        arms: in the order of display.
        baseline: among them.

    Raises:
        ValueError: no image holds a class.
    """
    sized, curves = sized_images(images), size_curves(images, baseline)
    if curves.empty:
        raise ValueError("no image has a reference that isn't empty; expected some to be drawn by their area")
    classes, drawn = shown(curves["class"]), [arm for arm in arms if arm in set(curves["arm"])]
    styles = arm_styles(arms, baseline)
    compared = bool(curves["difference"].notna().any())
    down = 2 if compared else 1
    figure = new_figure(2.3 * down * len(classes) + 0.3)
    panels = figure.subplots(len(classes) * down, 1, squeeze=False)[:, 0].reshape(len(classes), down)
    for name, pair in zip(classes, panels, strict=True):
        own = curves[curves["class"] == name]
        of = "" if len(classes) == 1 else f", {name}"
        _draw_curves(pair[0], own, ("mean", "low", "high"), drawn, styles, len(drawn) <= MOST_INTERVALS)
        pair[0].set_ylabel(f"F1{of}", fontsize=9)
        if compared:
            pair[1].axhline(0, color=styles[baseline][0], linewidth=0.9)
            _draw_curves(pair[1], own, ("difference", "difference_low", "difference_high"), drawn, styles, True)
            pair[1].set_ylabel(f"F1 minus {baseline}'s{of}", fontsize=9)
        for panel in pair:
            areas = sized.loc[(sized["class"] == name) & (sized["area"] > 0), "area"]
            panel.plot(
                areas, np.zeros(len(areas)), "|", color="#999999", markersize=6, markeredgewidth=0.5,
                transform=panel.get_xaxis_transform(), zorder=1,
            )  # fmt: skip
    panels[-1, -1].set_xlabel("area of the reference (pixels)", fontsize=9)
    foot(figure, _note(sized), arm_handles(drawn, styles))
    return figure


def _draw_curves(
    panel: Axes, curves: pd.DataFrame, columns: tuple[str, str, str], arms: Sequence[str], styles: Styles, lines: bool
) -> None:
    span = float(curves["area"].max() / curves["area"].min())
    number = max(int(curves["bin"].nunique()), 2)
    step = 0.5 * np.log(max(span, 1.2)) / (number - 1) / max(len(arms), 2)  # beside each other: intervals overlap
    for i, arm in enumerate(arms):
        own = curves[curves["arm"] == arm].sort_values("area")
        middle, low, high = (own[column].to_numpy(float) for column in columns)
        x = own["area"].to_numpy(float) * np.exp((i - (len(arms) - 1) / 2) * step)
        colour, marker = styles[arm]
        if lines:
            panel.vlines(x, low, high, color=colour, linewidth=1.1, alpha=0.7, zorder=2)
        panel.plot(x, middle, color=colour, marker=marker, markersize=4.5, linewidth=1.0, zorder=3, label=arm)
    panel.set_xscale("log")
    plain_log_ticks(panel.xaxis)
    panel.margins(y=0.1)
    tidy(panel)


def _note(sized: pd.DataFrame) -> str:
    counts = sized[sized["bin"] >= 0].groupby(BIN, observed=True).size()
    empty = int((sized["bin"] < 0).sum())
    left_out = f" {empty} images with an empty reference are left out." if empty else ""
    return (
        f"Each marker is the mean over {span(counts)} images of similar size and over seeds; lines are 95 % intervals "
        f"over images, for these networks. Ticks at the foot: the images.{left_out}"
    )
