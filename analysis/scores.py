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

BLOCK = 2**16
"""Rows that are scored at once: what is computed on the way stays in the processor's cache."""

OVERALL = "Average"
"""The subgroup of all test images, as the tables call it: their mean, or the mean of the subgroups' means."""

MACRO = "macro"
"""The mean over classes of an image's F1, in tables of several classes."""

LACKING = 0.1
"""A run that lacks a larger share of a cell's images is left out of the cell."""


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

    Where an arm's networks are of one part of the data each (a column `part` tells), those of a seed count in the
    subgroups that they cover together: what is there of others is left out, since it isn't images at random that lack.

    Returns:
        Columns class, arm, seed, subgroup, group, image, f1 (the score, whatever the metric) and empty (reference and
        prediction both without the class; False where that isn't known); a row per run, class and image, plus, with
        several classes, one of class `macro`, empty where all are. Class, arm and subgroup are ordered categories: as
        they first appear, as in `arms`, and alphabetically after `OVERALL`.

    Raises:
        ResultsError: a class or subgroup has a name that the tables use for something else; the rows have scores of
            another metric, or NaN; the metric is unknown; there are no rows.
    """
    trained = images["evaluation"] == AS_TRAINED
    if not trained.all():
        images = images[trained]
    if empty == "left out" and "tp" in images:
        images = images[(images["tp"] + images["fn"]).to_numpy() > 0]
    if "part" in images and (images["part"] != "").any():
        images = _covered(images)
    if images.empty:
        raise ResultsError("no image has a score: expected rows as trained, with the class in some reference")
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
        score = images["score"].to_numpy()
        if np.isnan(score).any():
            row = images.iloc[int(np.isnan(score).argmax())]
            raise ResultsError(f"the score of {row['arm']} seed {row['seed']}, image {row['image']!r} is NaN")
        return score, np.zeros(len(images), bool)
    if metric not in METRICS:
        raise ResultsError(f"unknown metric {metric!r}; counts give {', '.join(METRICS)}")
    counts = [images[column].to_numpy() for column in ("tp", "fp", "fn")]
    score, nothing = np.empty(len(images)), np.empty(len(images), bool)
    for start in range(0, len(images), BLOCK):
        rows = slice(start, start + BLOCK)
        block = [count[rows] for count in counts]
        score[rows], nothing[rows] = METRICS[metric](*block), is_empty(*block)
    return score, nothing


def _covered(images: pd.DataFrame) -> pd.DataFrame:
    """Without rows of arms of several networks in subgroups of which a seed's networks lack some image or class."""
    subgroup, subgroups = codes(images["subgroup"])
    item, size = combined_codes([images["subgroup"], images["image"], images["class"]])
    wanted = np.bincount(distinct(item, size) // (size // subgroups), minlength=subgroups)
    run, runs = combined_codes([images["arm"], images["seed"]])
    found = np.bincount(run * subgroups + subgroup, minlength=runs * subgroups).reshape(runs, subgroups)
    covered: pd.DataFrame = images[(images["part"] == "").to_numpy() | (found >= wanted)[run, subgroup]]
    return covered


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
    for name, rows in split(scores, "class"):
        for subgroup, cell in cells_of_class(rows, average, single):
            yield name, subgroup, cell


def cells_of_class(rows: pd.DataFrame, average: Average, single: bool) -> Iterator[tuple[str, pd.DataFrame]]:
    """`cells` of one class's rows; with a `single` subgroup in the whole table there is only `OVERALL`."""
    for subgroup, part in [(OVERALL, rows)] if single else [(OVERALL, rows), *split(rows, "subgroup")]:
        cell = _cell(part, average if subgroup == OVERALL else "images")
        if subgroup == OVERALL:
            cell["subgroup"] = _constant(OVERALL, rows["subgroup"], len(cell))
        yield subgroup, cell


def split(rows: pd.DataFrame, column: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Rows of each value that there is, in their order."""
    number, values = pd.factorize(rows[column], sort=True)
    for code, value in enumerate(values):
        yield str(value), rows if len(values) == 1 else rows[number == code]


def _cell(rows: pd.DataFrame, average: Average) -> pd.DataFrame:
    """One class and subgroup as `with_overall` has it."""
    run, runs = combined_codes([rows["arm"], rows["seed"]])
    image, images = codes(rows["image"])
    stratum, strata = codes(rows["subgroup"])
    item = stratum * images + image
    items = distinct(item, strata * images)
    of_stratum = np.bincount(items // max(images, 1), minlength=strata)
    weight = np.ones(len(rows))
    if average == "subgroups":
        weight = (len(items) / (np.count_nonzero(of_stratum) * np.maximum(of_stratum, 1)))[stratum]
    values = {column: rows[column].array for column in rows}
    cell = pd.DataFrame(
        values | {"stratum": rows["subgroup"].array, "weight": weight, "partial": np.zeros(len(rows), bool)},
        copy=False,
    )
    whole = np.bincount(run, minlength=runs) == len(items)
    if whole[run].all():
        return cell
    _refuse_repeated(rows, run, item)
    staying = whole
    if np.count_nonzero(of_stratum) == 1 or average == "images":
        found = np.bincount(run * strata + stratum, minlength=runs * strata).reshape(runs, strata)
        enough = found.sum(axis=1) >= (1 - LACKING) * len(items) - 1e-9
        staying = enough & ((found > 0) | (of_stratum == 0)).all(axis=1)
    stays = staying[run]
    cell["weight"] = weight * _unit_weights(rows["group"], run, item, stays, whole)
    cell["partial"] = ~whole[run]
    kept: pd.DataFrame = cell[stays].reset_index(drop=True)
    return kept


def _refuse_repeated(rows: pd.DataFrame, run: Codes, item: Codes) -> None:
    repeated = pd.DataFrame({"run": run, "item": item}).duplicated().to_numpy()
    if repeated.any():
        row = rows.iloc[int(repeated.argmax())]
        raise ResultsError(
            f"{int(repeated.sum())} scores are there twice; the first: {row['arm']} seed {row['seed']}, image "
            f"{row['image']!r}, class {row['class']!r}, subgroup {row['subgroup']!r}"
        )


def _unit_weights(
    group: pd.Series, run: Codes, item: Codes, stays: npt.NDArray[np.bool_], whole: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Weights by which a unit of which a run lacks some images counts as much as with them; their mean is 1 in a run.

    1 for all of a run that lacks none.
    """
    unit, units = codes(group)
    first = np.flatnonzero(~pd.Series(item).duplicated().to_numpy())
    full = np.bincount(unit[first], minlength=units)
    weight = np.ones(len(run))
    partial = np.flatnonzero(stays & ~whole[run])
    here = pd.factorize(run[partial] * units + unit[partial])[0]
    weight[partial] = full[unit[partial]] / np.bincount(here)[here]
    of_run = pd.factorize(run[partial])[0]
    weight[partial] *= (np.bincount(of_run) / np.bincount(of_run, weight[partial]))[of_run]
    return weight


def with_overall(scores: pd.DataFrame, average: Average = "images") -> pd.DataFrame:
    """The scores a second time as subgroup `OVERALL`; only as that where there is a single subgroup.

    Runs (arm and seed, all parts together) that lack images of a subgroup, or of all images:

    - One that lacks more than a tenth of them (`LACKING`) has no rows there, nor on `OVERALL` one that lacks a whole
      subgroup: its mean would be over other images than those of the runs it is compared with.
    - One that lacks fewer stays, as far as its images are there. A unit (group) of which some images lack counts as
      much as with them, by the mean of those that are there; a unit without any is missing from the run, and tests are
      by a mixed model (`analysis.comparisons.fitting_test`).
    - Where `average` is "subgroups", only runs with all images are on `OVERALL`: the mixed model knows no strata.

    Returns:
        The columns of `scores`, and: stratum, the subgroup that a row of `OVERALL` comes from; weight, so that
        the mean of weight * value over a run's rows is the average wanted: 1, but for rows of `OVERALL` where
        `average` is "subgroups": N / (K n), N images in K subgroups of which the row's has n, and for runs that lack
        some of a unit's images; partial, whether the row's run lacks some of the cell's images. Ordered by class and
        subgroup.

    Raises:
        ResultsError: a run that doesn't have each image once has one twice.
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
        Columns class, arm, subgroup, n_images, n_groups, n_seeds, n_partial (seeds that lack some of the images, a
        tenth at most), mean (over seeds, of the mean over images) and sd (of those means across seeds, with n - 1; NaN
        with one seed), sorted by the first three. No row where no run of the arm covers the subgroup (`with_overall`).
    """
    cell = ["class", "arm", "subgroup"]
    rows = with_overall(scores, average)
    counts = rows.groupby(cell, observed=True).agg(n_images=("image", "nunique"), n_groups=("group", "nunique"))
    seeds = run_means(rows).groupby(cell, observed=True)
    # Of all rows, so that it has the index of `counts`: pandas can't align categories of which some are absent.
    partial = rows.assign(seed=rows["seed"].where(rows["partial"])).groupby(cell, observed=True)["seed"].nunique()
    return counts.assign(n_seeds=seeds.size(), n_partial=partial, mean=seeds.mean(), sd=seeds.std()).reset_index()
