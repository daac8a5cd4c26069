"""F1 of images from counts of pixels, and its means over subgroups and seeds."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.collect import AS_TRAINED
from analysis.record import Average, ResultsError

OVERALL = "Average"
"""The subgroup of all test images, as the tables call it: their mean, or the mean of the subgroups' means."""

MACRO = "macro"
"""The mean over classes of an image's F1, in tables of several classes."""


def f1(tp: npt.NDArray[np.int64], fp: npt.NDArray[np.int64], fn: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """F1 = 2 tp / (2 tp + fp + fn), in 0..1, elementwise. Where reference and prediction are both empty it is 1."""
    total = 2 * tp + fp + fn
    return np.where(total == 0, 1.0, 2 * tp / np.maximum(total, 1))


def image_scores(images: pd.DataFrame, arms: Sequence[str]) -> pd.DataFrame:
    """Score every image of every run, as it was trained.

    Args:
        images: rows of `analysis.collect.Collected.images`.
        arms: all arms, in the order of display.

    Returns:
        Columns class, arm, seed, subgroup, group, image, f1 and empty (reference and prediction both without the
        class); a row per run, class and image, plus, with several classes, one of class `macro`, empty where all are.
        Class, arm and subgroup are ordered categories: as they first appear, as in `arms`, and alphabetically after
        `OVERALL`.

    Raises:
        ResultsError: a class or subgroup has a name that the tables use for something else.
    """
    images = images[images["evaluation"] == AS_TRAINED]
    counts = [images[column].to_numpy() for column in ("tp", "fp", "fn")]
    columns = ["class", "arm", "seed", "subgroup", "group", "image"]
    scores = images[columns].assign(f1=f1(*counts), empty=sum(counts) == 0).reset_index(drop=True)
    classes, subgroups = list(scores["class"].unique()), sorted(scores["subgroup"].unique())
    for column, names, taken in (("class", classes, MACRO), ("subgroup", subgroups, OVERALL)):
        if taken in names:
            raise ResultsError(f"a {column} is called {taken!r}, which the tables call something else; rename it")
    if len(classes) > 1:
        macro = scores.groupby(columns[1:], observed=True, sort=False).agg(f1=("f1", "mean"), empty=("empty", "all"))
        scores = pd.concat([scores, macro.reset_index().assign(**{"class": MACRO})], ignore_index=True)
    orders = {"class": [*classes, MACRO], "arm": list(arms), "subgroup": [OVERALL, *subgroups]}
    return scores.astype({column: pd.CategoricalDtype(order, ordered=True) for column, order in orders.items()})


def with_overall(scores: pd.DataFrame, average: Average = "images") -> pd.DataFrame:
    """The scores a second time as subgroup `OVERALL`; only as that where there is a single subgroup.

    A run (arm and seed, all parts together) that lacks some of a subgroup's images, or of all images, has no rows
    there: its mean would be over other images than those of the runs it is compared with.

    Returns:
        The columns of `scores`, and: stratum, the subgroup that a row of `OVERALL` comes from, and weight, so that
        the mean of weight * value over a run's rows is the average wanted: 1, but for rows of `OVERALL` where
        `average` is "subgroups": N / (K n), N images in K subgroups of which the row's has n.
    """
    overall = scores.assign(subgroup=pd.Series(OVERALL, scores.index).astype(scores["subgroup"].dtype))
    parts = [overall] if scores["subgroup"].nunique() == 1 else [overall, scores]
    rows = pd.concat([part.assign(stratum=scores["subgroup"]) for part in parts], ignore_index=True)

    cell = ["class", "subgroup"]
    distinct = rows.drop_duplicates([*cell, "stratum", "image"])
    images = distinct.groupby(cell, observed=True).size().rename("images")
    strata = distinct.groupby([*cell, "stratum"], observed=True).size().rename("of_stratum")
    numbers = rows.join(images, on=cell).join(strata, on=[*cell, "stratum"])
    rows["weight"] = 1.0
    if average == "subgroups":
        count = numbers.join(strata.groupby(cell, observed=True).size().rename("strata"), on=cell)["strata"]
        rows["weight"] = numbers["images"] / (count * numbers["of_stratum"])
    found = rows.groupby([*cell, "arm", "seed"], observed=True)["f1"].transform("size")
    return rows[found == numbers["images"]].reset_index(drop=True)


def run_means(rows: pd.DataFrame) -> pd.Series:
    """Mean F1 of each run in each cell, by class, subgroup, arm and seed; `rows` are those of `with_overall`."""
    weighted = rows.assign(f1=rows["f1"] * rows["weight"])
    return weighted.groupby(["class", "subgroup", "arm", "seed"], observed=True)["f1"].mean()


def summarise(scores: pd.DataFrame, average: Average = "images") -> pd.DataFrame:
    """Mean F1 of every arm on every subgroup, and its spread over seeds.

    Args:
        scores: of `image_scores`.
        average: what `OVERALL` is.

    Returns:
        Columns class, arm, subgroup, n_images, n_groups, n_seeds, mean (over seeds, of the mean over images) and sd (of
        those means across seeds, with n - 1; NaN with one seed), sorted by the first three. No row where no run of the
        arm covers the subgroup.
    """
    cell = ["class", "arm", "subgroup"]
    rows = with_overall(scores, average)
    counts = rows.groupby(cell, observed=True).agg(n_images=("image", "nunique"), n_groups=("group", "nunique"))
    seeds = run_means(rows).groupby(cell, observed=True)
    return counts.assign(n_seeds=seeds.size(), mean=seeds.mean(), sd=seeds.std()).reset_index()
