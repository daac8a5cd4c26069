"""Scores of images from counts of pixels, and their means over subgroups and seeds."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.results.codes import Codes, codes, combined_codes, distinct, first_rows
from analysis.results.declaration import ResultsError
from analysis.scores.metrics import METRICS, Metric, is_empty
from analysis.scores.missing import completed, counting
from metaseg.schema import AS_TRAINED, MACRO, OVERALL, Average, Empty

BLOCK = 2**16
"""Rows that are scored at once: intermediate results stay in the processor's cache."""

CELL = ["class", "subgroup", "arm"]
TABLE = ["class", "arm", "subgroup"]


def image_scores(
    images: pd.DataFrame,
    arms: Sequence[str],
    metric: Metric | str = "f1",
    empty: Empty = "one",
    folds: Sequence[str] = (),
) -> pd.DataFrame:
    """Score every test image of every run, as trained: a row per run, class and image.

    If each of an arm's networks is of one part of the data (column `part`), the networks of a seed count together in
    the subgroups that they cover completely; their rows in other subgroups are left out.

    Args:
        images: rows of `analysis.results.store_rows.Collected.images`: with counts, or with a `score` and its `metric`.
        arms: all arms, in the order of display.
        metric: one of `analysis.scores.metrics.METRICS`; if rows hold scores, the name of these scores.
        empty: score of an image whose reference mask lacks the class: `one` gives F1 = 1 if the prediction is empty
            too, else 0; `left out` excludes the image from this class, and the class from the image's macro average.
        folds: all folds of the study, with rows or without; by default those with rows.

    Returns:
        Columns class, arm, seed, fold (empty where there is one split), subgroup, group, image, score (of the metric)
        and empty (True if reference and prediction both lack the class; False if that isn't known). With several
        classes there are also rows of class `macro`, empty if all are. Class, arm and subgroup are ordered categories:
        in order of appearance, as in `arms`, and `OVERALL` before the others in alphabetical order.

    Raises:
        ResultsError: a class or subgroup has a name that the tables use for something else; the rows have scores of
            another metric, or NaN; the metric is unknown; there are no rows.

    Example:
        >>> import pandas as pd
        >>> from analysis import image_scores
        >>> images = pd.DataFrame({"image": ["a", "b"], "tp": [8, 0], "fp": [2, 0], "fn": [2, 0], "tn": [88, 100]})
        >>> images = images.assign(arm="sme", seed=0, subgroup="all", group=images["image"], evaluation="as-trained")
        >>> image_scores(images.assign(**{"class": "nucleus"}), ["sme"])[["image", "score", "empty"]]
          image  score  empty
        0     a    0.8  False
        1     b    1.0   True
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
    score, nothing = _scored(images, metric)
    if "fold" not in images:
        images = images.assign(fold=pd.Categorical.from_codes(np.zeros(len(images), np.int8), pd.Index([""])))
    columns = ["class", "arm", "seed", "fold", "subgroup", "group", "image"]
    scores = pd.DataFrame(
        {column: images[column].array for column in columns} | {"score": score, "empty": nothing}, copy=False
    )
    classes, subgroups = list(map(str, scores["class"].unique())), sorted(map(str, scores["subgroup"].unique()))
    for column, names, taken in (("class", classes, MACRO), ("subgroup", subgroups, OVERALL)):
        if taken in names:
            raise ResultsError(f"a {column} is called {taken!r}, which the tables call something else; rename it")
    orders = {"class": [*classes, MACRO], "arm": list(arms), "subgroup": [OVERALL, *subgroups]}
    scores = scores.astype({column: pd.CategoricalDtype(order, ordered=True) for column, order in orders.items()})
    scores["fold"] = scores["fold"].astype(
        pd.CategoricalDtype(list(folds)) if folds else "category"
    )  # so that a fold has one number in all subgroups
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
    """Drop rows of multi-network arms in subgroups where the seed's networks (of a fold) lack some image or class."""
    fold = ["fold"] if "fold" in images else []
    subgroup, subgroups = combined_codes([images[name] for name in ("subgroup", *fold)])
    item, size = combined_codes([images[name] for name in ("subgroup", *fold, "image", "class")])
    wanted = np.bincount(distinct(item, size) // (size // subgroups), minlength=subgroups)
    run, runs = combined_codes([images["arm"], images["seed"]])
    found = np.bincount(run * subgroups + subgroup, minlength=runs * subgroups).reshape(runs, subgroups)
    covered: pd.DataFrame = images[(images["part"] == "").to_numpy() | (found >= wanted)[run, subgroup]]
    return covered


def _macro(scores: pd.DataFrame) -> pd.DataFrame:
    """Macro average: the mean over classes for each image and run, as rows of class `MACRO` in order of appearance.

    Where a run lacks a class of an image that another run has of it, the class's score is filled in first
    (`analysis.scores.missing`): the mean would be over others. It is a measured one where most of its classes are.
    """
    item, count = _images_of_runs(scores)
    whole = count[item] == _classes_of_images(scores)
    if not whole.all():
        scores = pd.concat([completed(rows) for _, rows in split(scores, "class")], ignore_index=True)
        item, count = _images_of_runs(scores)
        whole = count[item] == _classes_of_images(scores)
    first = first_rows(item, len(count))
    mean = np.bincount(item, scores["score"]) / count
    empty = np.bincount(item, scores["empty"]) == count
    known = whole[first]
    if "filled" in scores:
        known &= np.bincount(item, ~scores["filled"].to_numpy()) > count / 2
        scores = scores.drop(columns="filled")
    macro: pd.DataFrame = scores.take(first).assign(score=mean, empty=empty)[known]
    return macro.assign(**{"class": _constant(MACRO, scores["class"], len(macro))})


def _images_of_runs(scores: pd.DataFrame) -> tuple[Codes, Codes]:
    """Each row's image of a run, as a number from 0 in order of appearance; how many rows, a class each, it has."""
    item = pd.factorize(combined_codes([scores[name] for name in ("arm", "seed", "subgroup", "group", "image")])[0])[0]
    return item.astype(np.int64), np.bincount(item)


def _classes_of_images(scores: pd.DataFrame) -> Codes:
    """`(rows,)` how many classes the row's image has in some run."""
    image, images = combined_codes([scores[column] for column in ("subgroup", "group", "image")])
    number, classes = codes(scores["class"])
    return np.bincount(distinct(image * classes + number, images * classes) // classes, minlength=images)[image]


def _constant(value: str, like: pd.Series, rows: int) -> Any:
    """One value for all rows, of another column's type."""
    return pd.Series([value]).astype(like.dtype).array.take(np.zeros(rows, np.int64))


def cells(scores: pd.DataFrame, average: Average = "images") -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Each class and subgroup, `OVERALL` first, with its rows as `with_overall` has them; one in memory at a time."""
    single = scores["subgroup"].nunique() == 1
    for name, rows in split(scores, "class"):
        for subgroup, cell in cells_of_class(completed(rows), average, single):
            yield name, subgroup, cell


def cells_of_class(rows: pd.DataFrame, average: Average, single: bool) -> Iterator[tuple[str, pd.DataFrame]]:
    """`cells` of one class's rows, which are `completed`; with a `single` subgroup in all there is only `OVERALL`."""
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
    image, images = codes(rows["image"])
    stratum, strata = codes(rows["subgroup"])
    item = stratum * images + image
    items = distinct(item, strata * images)
    of_stratum = np.bincount(items // max(images, 1), minlength=strata)
    weight = np.ones(len(rows))
    if average == "subgroups":
        weight = (len(items) / (np.count_nonzero(of_stratum) * np.maximum(of_stratum, 1)))[stratum]
    values = {column: rows[column].array for column in rows}
    cell = pd.DataFrame(values | {"stratum": rows["subgroup"].array, "weight": weight}, copy=False)
    run, runs = combined_codes([rows["arm"], rows["seed"]])
    of_run = np.bincount(run, minlength=runs)
    if (of_run[run] == len(items)).all() and not rows["filled"].any():
        return cell
    return counting(cell)


def with_overall(scores: pd.DataFrame, average: Average = "images") -> pd.DataFrame:
    """Repeat the scores as subgroup `OVERALL`; with a single subgroup, return them only as that.

    Every run of a cell has a row for each of the cell's images: a score that it lacks is filled in
    (`analysis.scores.missing`), so that means of all runs are over the same images. A run (arm and seed, all parts
    and folds together) that lacks more than half (`LACKING`) of a cell's images has no rows there, nor has one on
    `OVERALL` that lacks a whole subgroup. With folds, half of the images of each fold is what counts
    (`analysis.scores.missing.counting`).

    Returns:
        The columns of `scores`, and: stratum, the subgroup that a row of `OVERALL` comes from; weight, so that
        the mean of weight * value over a run's rows is the average wanted: 1, but for rows of `OVERALL` where
        `average` is "subgroups": N / (K n), N images in K subgroups of which the row's has n; filled, whether the score
        is estimated, since the run lacks it. Ordered by class and subgroup.

    Raises:
        ResultsError: as `analysis.scores.missing.completed`.
    """
    return pd.concat([cell for _, _, cell in cells(scores, average)], ignore_index=True)


def run_means(rows: pd.DataFrame) -> pd.Series:
    """Mean score of each run in each cell, by class, subgroup, arm and seed; `rows` are those of `with_overall`."""
    weighted = rows.assign(score=rows["score"] * rows["weight"])
    return weighted.groupby([*CELL, "seed"], observed=True)["score"].mean()


def summarise(scores: pd.DataFrame, average: Average = "images") -> pd.DataFrame:
    """Mean score of each arm in each subgroup, and its standard deviation across seeds.

    Args:
        scores: table of `image_scores`.
        average: mean that `OVERALL` shows: over images, or of the subgroups' means.

    Returns:
        Columns class, arm, subgroup, n_images, n_groups, n_folds (1 where there is one split), n_runs (networks that
        count), n_seeds, n_partial (seeds that lack some of the images of a fold, half at most), n_lacking (images that
        no seed has), mean (over seeds, of the mean over images) and sd (of a run's mean across the seeds of its fold,
        with n - 1 in each, pooled over folds; NaN with one seed), sorted by the first three. A subgroup that no run of
        the arm covers has no row (`with_overall`).

    Example:
        >>> from analysis import example_scores, summarise
        >>> summarise(example_scores())[["arm", "subgroup", "n_images", "n_seeds", "mean"]].round(3).head(2)
                arm subgroup  n_images  n_seeds   mean
        0  baseline  Average        30        3  0.798
        1  baseline        a        15        3  0.786
    """
    rows = with_overall(scores, average)
    rows = rows if "fold" in rows else rows.assign(fold="")
    counts = rows.groupby(TABLE, observed=True).agg(
        n_images=("image", "nunique"), n_groups=("group", "nunique"), n_folds=("fold", "nunique")
    )
    networks = _networks(rows)
    runs = networks.groupby([*CELL, "seed"], observed=True).agg(
        total=("total", "sum"), images=("images", "sum"), networks=("counts", "sum"), partial=("partial", "any")
    )
    of_arm = (
        runs.assign(mean=runs["total"] / runs["images"])
        .groupby(TABLE, observed=True)
        .agg(n_runs=("networks", "sum"), n_seeds=("mean", "size"), n_partial=("partial", "sum"), mean=("mean", "mean"))
    )
    of_arm.insert(3, "n_lacking", 0)
    if rows["filled"].any():
        lacks = rows.groupby([*TABLE, "stratum", "image"], observed=True)["filled"].all()
        of_arm["n_lacking"] = lacks.groupby(TABLE, observed=True).sum().to_numpy()
    of_arm["sd"] = _pooled_sd(networks)
    # All have the same rows in the same order, which joining them would look up by categories.
    return pd.concat([counts.reset_index(), of_arm.reset_index(drop=True)], axis=1)


def _networks(rows: pd.DataFrame) -> pd.DataFrame:
    """Each network of `with_overall`'s rows: its images and score, and whether it counts, all its images or some."""
    weighted = rows.assign(score=rows["score"] * rows["weight"], measured=~rows["filled"])
    sums = weighted.groupby([*CELL, "seed", "fold"], observed=True).agg(
        total=("score", "sum"), weight=("weight", "sum"), images=("score", "size"), measured=("measured", "sum")
    )
    counts = sums["measured"] > 0
    return sums.assign(
        mean=(sums["total"] / sums["weight"]).where(counts),
        counts=counts,
        partial=counts & (sums["measured"] < sums["images"]),
    )


def _pooled_sd(networks: pd.DataFrame) -> npt.NDArray[np.float64]:
    """SD of the means of the networks that count, within folds: one for each class, arm and subgroup."""
    folds = networks.groupby([*TABLE, "fold"], observed=True)["mean"].agg(["var", "count"])
    freedom = folds["count"] - 1
    several = freedom > 0
    sums = pd.DataFrame({"squares": (folds["var"] * freedom).where(several, 0.0), "freedom": freedom.where(several, 0)})
    pooled = sums.groupby(TABLE, observed=True).sum()
    return np.asarray(np.sqrt(pooled["squares"] / pooled["freedom"].where(pooled["freedom"] > 0)), np.float64)
