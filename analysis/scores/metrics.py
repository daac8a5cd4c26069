"""Scores from counts of pixels: of an image, or of all pixels of many images together ("pooled").

Where a ratio is 0 / 0 there is a convention, the same for all four: 1 where reference and prediction are both empty,
since nothing was to be found and nothing was; 0 where only one of them is (precision without a predicted pixel, recall
without a reference pixel: an arm that predicts nothing isn't to be called precise).
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.results.declaration import ResultsError
from metaseg.schema import AS_TRAINED

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Metric = Literal["f1", "iou", "precision", "recall"]


def f1(tp: Counts, fp: Counts, fn: Counts) -> Floats:
    """F1, or Dice: 2 tp / (2 tp + fp + fn), in 0..1, elementwise; of pixels or other things that are counted."""
    return _ratio(2 * tp, 2 * tp + fp + fn, tp + fp + fn)


def iou(tp: Counts, fp: Counts, fn: Counts) -> Floats:
    """Intersection over union, or Jaccard's index: tp / (tp + fp + fn), in 0..1, elementwise."""
    return _ratio(tp, tp + fp + fn, tp + fp + fn)


def precision(tp: Counts, fp: Counts, fn: Counts) -> Floats:
    """What part of the predicted pixels is right: tp / (tp + fp), in 0..1, elementwise."""
    return _ratio(tp, tp + fp, tp + fp + fn)


def recall(tp: Counts, fp: Counts, fn: Counts) -> Floats:
    """What part of the reference's pixels is found: tp / (tp + fn), in 0..1, elementwise."""
    return _ratio(tp, tp + fn, tp + fp + fn)


METRICS: dict[str, Callable[[Counts, Counts, Counts], Floats]] = {
    "f1": f1, "iou": iou, "precision": precision, "recall": recall
}  # fmt: skip


def is_empty(tp: Counts, fp: Counts, fn: Counts) -> npt.NDArray[np.bool_]:
    """Where reference and prediction are both without the class."""
    return np.asarray(tp + fp + fn == 0)


def pooled(images: pd.DataFrame, arms: Sequence[str]) -> pd.DataFrame:
    """Scores of each run's pixels of a class and subgroup, all its images taken as one: large objects count more.

    Args:
        images: rows of `analysis.results.store_rows.Collected.images`.
        arms: all arms, in the order of display.

    Returns:
        Columns class, arm, seed, subgroup, n_images, n_empty (images whose reference and prediction are both empty:
        they change no pooled score), f1, iou, precision, recall; sorted by the first four, classes and subgroups
        alphabetically. No row is of all subgroups together, and none the mean over classes.

    Raises:
        ResultsError: the rows have scores instead of counts.
    """
    if "score" in images:
        raise ResultsError("these results are scores of images; expected counts (tp, fp, fn), which can be pooled")
    trained = images["evaluation"] == AS_TRAINED
    rows = images if trained.all() else images[trained]
    tp, fp, fn = (rows[column].to_numpy() for column in ("tp", "fp", "fn"))
    cell = ["class", "arm", "seed", "subgroup"]
    arm = pd.Categorical(rows["arm"], list(arms), ordered=True)
    table = rows[[*cell, "tp", "fp", "fn"]].assign(arm=arm, n_images=1, n_empty=is_empty(tp, fp, fn).astype(int))
    sums = table.groupby(cell, observed=True)[["n_images", "n_empty", "tp", "fp", "fn"]].sum().reset_index()
    order = [sums[key] if key in ("arm", "seed") else sums[key].astype(str) for key in cell]
    sums = sums.loc[pd.concat(order, axis=1).sort_values(cell).index].reset_index(drop=True)
    counts = [sums.pop(column).to_numpy() for column in ("tp", "fp", "fn")]
    return sums.assign(**{name: score(*counts) for name, score in METRICS.items()})


def _ratio(part: Counts, whole: Counts, either: Counts) -> Floats:
    """`part / whole`; where that is 0 / 0, 1 if there is nothing in either mask, else 0."""
    scores = np.asarray(either == 0).astype(np.float64)
    return np.divide(part, whole, out=scores, where=whole > 0)
