"""Scores of images from counts of pixels, and their means over subgroups and seeds."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.collect import AS_TRAINED
from analysis.metrics import METRICS, Metric, is_empty
from analysis.metrics import f1 as f1
from analysis.record import Average, Empty, ResultsError

Codes = npt.NDArray[np.int64]

SMALL = 2**20
"""Numbers below are counted in a table of as many entries."""

OVERALL = "Average"
"""The subgroup of all test images, as the tables call it: their mean, or the mean of the subgroups' means."""

MACRO = "macro"
"""The mean over classes of an image's F1, in tables of several classes."""


def image_scores(
    images: pd.DataFrame, arms: Sequence[str], metric: Metric | str = "f1", empty: Empty = "one"
) -> pd.DataFrame:
    """Score every image of every run, as it was trained.

    Args:
        images: rows of `analysis.collect.Collected.images`: with counts, or with a `score` and its `metric`.
        arms: all arms, in the order of display.
        metric: one of `analysis.metrics.METRICS`; where rows hold scores, what these are.
        empty: whether an image whose reference lacks a class counts for it. Without its row for a class, an image's
            macro average is over the others.

    Returns:
        Columns class, arm, seed, subgroup, group, image, f1 (the score, whatever the metric) and empty (reference and
        prediction both without the class; False where that isn't known); a row per run, class and image, plus, with
        several classes, one of class `macro`, empty where all are. Class, arm and subgroup are ordered categories: as
        they first appear, as in `arms`, and alphabetically after `OVERALL`.

    Raises:
        ResultsError: a class or subgroup has a name that the tables use for something else; the rows have scores of
            another metric; the metric is unknown.
    """
    trained = images["evaluation"] == AS_TRAINED
    if not trained.all():
        images = images[trained]
    if empty == "left out" and "tp" in images:
        images = images[(images["tp"] + images["fn"]).to_numpy() > 0]
    columns = ["class", "arm", "seed", "subgroup", "group", "image"]
    score, nothing = _scored(images, metric)
    scores = pd.DataFrame(
        {column: images[column].array for column in columns} | {"f1": score, "empty": nothing}, copy=False
    )
    classes, subgroups = list(map(str, scores["class"].unique())), sorted(map(str, scores["subgroup"].unique()))
    for column, names, taken in (("class", classes, MACRO), ("subgroup", subgroups, OVERALL)):
        if taken in names:
            raise ResultsError(f"a {column} is called {taken!r}, which the tables call something else; rename it")
    orders = {"class": [*classes, MACRO], "arm": list(arms), "subgroup": [OVERALL, *subgroups]}
    scores = scores.astype({column: pd.CategoricalDtype(order, ordered=True) for column, order in orders.items()})
    return pd.concat([scores, _macro(scores)], ignore_index=True) if len(classes) > 1 else scores


def _scored(images: pd.DataFrame, metric: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    if "score" in images:
        if other := sorted(set(images["metric"].unique()) - {metric}):
            raise ResultsError(f"these results are scores called {other[0]!r}, not {metric!r}")
        return images["score"].to_numpy(), np.zeros(len(images), bool)
    if metric not in METRICS:
        raise ResultsError(f"unknown metric {metric!r}; counts give {', '.join(METRICS)}")
    counts = [images[column].to_numpy() for column in ("tp", "fp", "fn")]
    return METRICS[metric](*counts), is_empty(*counts)


def _macro(scores: pd.DataFrame) -> pd.DataFrame:
    """The mean over classes of each image of each run, as rows of class `MACRO`, in order of appearance."""
    columns = ["arm", "seed", "subgroup", "group", "image"]
    item, items = pd.factorize(combined_codes([scores[column] for column in columns])[0])
    count = np.bincount(item, minlength=len(items))
    first = np.empty(len(items), np.int64)
    first[item[::-1]] = np.arange(len(item) - 1, -1, -1)  # the last to be written is the first row
    mean = np.bincount(item, scores["f1"], len(items)) / count
    empty = np.bincount(item, scores["empty"], len(items)) == count
    macro = _constant(MACRO, scores["class"], len(items))
    return scores.take(first).assign(**{"class": macro, "f1": mean, "empty": empty})


def _constant(value: str, like: pd.Series, rows: int) -> Any:
    """One value for all rows, of another column's type."""
    return pd.Series([value]).astype(like.dtype).array.take(np.zeros(rows, np.int64))


def codes(column: pd.Series) -> tuple[Codes, int]:
    """Each row's value as a number from 0, and how many numbers there are; quick for categories and integers."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.codes.to_numpy().astype(np.int64), len(column.cat.categories)
    if pd.api.types.is_integer_dtype(column.dtype) and len(column):
        least, most = int(column.min()), int(column.max())
        if most - least < SMALL:
            return column.to_numpy(np.int64) - least, most - least + 1
    numbers, values = pd.factorize(column)
    return numbers.astype(np.int64), len(values)


def distinct(numbers: Codes, size: int) -> Codes:
    """Which numbers of 0 to `size` - 1 occur, ascending; counted where that is quicker than hashed."""
    if size < max(SMALL, 4 * len(numbers)):
        return np.flatnonzero(np.bincount(numbers, minlength=size))
    return np.sort(np.asarray(pd.unique(numbers)))


def combined_codes(columns: Sequence[pd.Series]) -> tuple[Codes, int]:
    """`codes` of combinations of columns' values: not all numbers need occur, the last column's is the remainder."""
    total, sizes = codes(columns[0])
    for column in columns[1:]:
        numbers, size = codes(column)
        if sizes * max(size, 1) >= 2**62:
            total, values = (np.asarray(part, np.int64) for part in pd.factorize(total))
            sizes = len(values)
        total, sizes = total * size + numbers, sizes * size
    return total, sizes


def cells(scores: pd.DataFrame, average: Average = "images") -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Each class and subgroup, `OVERALL` first, with its rows as `with_overall` has them; one in memory at a time."""
    single = scores["subgroup"].nunique() == 1
    for name, rows in _split(scores, "class"):
        for subgroup, part in [(OVERALL, rows)] if single else [(OVERALL, rows), *_split(rows, "subgroup")]:
            cell = _cell(part, average if subgroup == OVERALL else "images")
            if subgroup == OVERALL:
                cell["subgroup"] = _constant(OVERALL, scores["subgroup"], len(cell))
            yield name, subgroup, cell


def _split(rows: pd.DataFrame, column: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Rows of each value that there is, in their order."""
    number, values = pd.factorize(rows[column], sort=True)
    for code, value in enumerate(values):
        yield str(value), rows if len(values) == 1 else rows[number == code]


def _cell(rows: pd.DataFrame, average: Average) -> pd.DataFrame:
    """One class and subgroup: its stratum and weight, without the runs that lack some of its images."""
    run, runs = combined_codes([rows["arm"], rows["seed"]])
    image, images = codes(rows["image"])
    stratum, strata = codes(rows["subgroup"])
    items = distinct(stratum * images + image, strata * images)
    of_stratum = np.bincount(items // max(images, 1), minlength=strata)
    weight = np.ones(len(rows))
    if average == "subgroups":
        weight = (len(items) / (np.count_nonzero(of_stratum) * np.maximum(of_stratum, 1)))[stratum]
    values = {column: rows[column].array for column in rows}
    cell = pd.DataFrame(values | {"stratum": rows["subgroup"].array, "weight": weight}, copy=False)
    whole = np.bincount(run, minlength=runs)[run] == len(items)
    return cell if whole.all() else cell[whole].reset_index(drop=True)


def with_overall(scores: pd.DataFrame, average: Average = "images") -> pd.DataFrame:
    """The scores a second time as subgroup `OVERALL`; only as that where there is a single subgroup.

    A run (arm and seed, all parts together) that lacks some of a subgroup's images, or of all images, has no rows
    there: its mean would be over other images than those of the runs it is compared with.

    Returns:
        The columns of `scores`, and: stratum, the subgroup that a row of `OVERALL` comes from, and weight, so that
        the mean of weight * value over a run's rows is the average wanted: 1, but for rows of `OVERALL` where
        `average` is "subgroups": N / (K n), N images in K subgroups of which the row's has n. Ordered by class and
        subgroup.
    """
    return pd.concat([cell for _, _, cell in cells(scores, average)], ignore_index=True)


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
