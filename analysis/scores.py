"""F1 of images from counts of pixels, and its means over subgroups and seeds."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.collect import AS_TRAINED, ResultsError

OVERALL = "Average"
"""The subgroup of all test images, as the tables call it."""

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


def with_overall(scores: pd.DataFrame) -> pd.DataFrame:
    """The scores a second time as subgroup `OVERALL`; only as that where there is a single subgroup."""
    overall = scores.assign(subgroup=pd.Series(OVERALL, scores.index).astype(scores["subgroup"].dtype))
    return overall if scores["subgroup"].nunique() == 1 else pd.concat([overall, scores], ignore_index=True)


def summarise(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean F1 of every arm on every subgroup, and its spread over seeds.

    Returns:
        Columns class, arm, subgroup, n_images, n_groups, n_seeds, mean (over seeds, of the mean over images) and sd (of
        those means across seeds, with n - 1; NaN with one seed), sorted by the first three.
    """
    cell = ["class", "arm", "subgroup"]
    rows = with_overall(scores)
    counts = rows.groupby(cell, observed=True).agg(n_images=("image", "nunique"), n_groups=("group", "nunique"))
    seeds = rows.groupby([*cell, "seed"], observed=True)["f1"].mean().groupby(cell, observed=True)
    return counts.assign(n_seeds=seeds.size(), mean=seeds.mean(), sd=seeds.std()).reset_index()
