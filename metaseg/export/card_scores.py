"""Numbers of a model card, from the pixel counts of a run's test images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import t

from metaseg.data.metadata import CategoricalCode, MetadataEncoder
from metaseg.schema import AS_TRAINED, COUNTS, IMAGES, META, ROW, UNKNOWN, ZEROS
from metaseg.store.runs import FinishedRun
from metaseg.training.metrics import f1_score

SAMPLE = ["image", "subgroup"]
"""Key of a test sample, which has a row for each class."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Mean:
    """A mean over images, with its 95 % interval for new images like these."""

    value: float
    low: float
    high: float
    """NaN where there are fewer than two groups."""
    images: int
    groups: int

    @property
    def is_certain(self) -> bool:
        """True if there is an interval."""
        return bool(np.isfinite(self.low))


@dataclass(frozen=True)
class ToldTable:
    """Mean F1 by what a column truly is and what the network was told."""

    column: str
    scores: pd.DataFrame
    """A row for each true value, a column for each value that was told; NaN where no image was told so. Of a number a
    single row, called "any"."""


@dataclass(frozen=True)
class Cost:
    """Difference of F1 between metadata that are withheld and metadata as trained, on the same images."""

    evaluation: str
    with_metadata: float
    without: float
    difference: Mean


@dataclass(frozen=True)
class CardScores:
    """All numbers of a card. F1 of an image is 1 if reference and prediction both lack the class."""

    subgroups: tuple[tuple[str, str, Mean], ...]
    """Class, subgroup ("all" for all images) and F1 on test images, told as in training."""
    told: tuple[ToldTable, ...]
    costs: tuple[Cost, ...]


def mean_over_groups(values: Floats, groups: Sequence[str] | pd.Series) -> Mean:
    """Mean over images, and its 95 % t interval, for which images of a group count together.

    The variance is that of group sums of residuals, `G / (G - 1) * sum_g (sum_i (x_i - mean))^2 / n^2`, with G - 1
    degrees of freedom. Where each image is its own group, that is the ordinary interval of a mean.

    Args:
        values: `(n,)`, a value an image.
        groups: `(n,)` groups, such as patients or wells.
    """
    names, number = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    count, mean = len(names), float(values.mean())
    if count < 2:
        return Mean(mean, np.nan, np.nan, len(values), count)
    sums = np.bincount(number, values - mean)
    error = float(np.sqrt(count / (count - 1) * (sums**2).sum()) / len(values))
    half = float(t.ppf(0.975, count - 1)) * error
    return Mean(mean, mean - half, mean + half, len(values), count)


def read_scores(run: FinishedRun, encoder: MetadataEncoder) -> CardScores:
    """Score a run's test images; raises `DamagedRunError` if its table isn't one."""
    kinds = {META + code.column: isinstance(code, CategoricalCode) for code in encoder.codes}
    text = [*ROW, "evaluation", "group", *(name for name, categorical in kinds.items() if categorical)]
    numbers = [*COUNTS, *(name for name, categorical in kinds.items() if not categorical)]
    return score(run.table(IMAGES, text, numbers), encoder)


def score(images: pd.DataFrame, encoder: MetadataEncoder) -> CardScores:
    """Score rows of `images.parquet`.

    Args:
        images: the rows.
        encoder: codes of the metadata that the run may have been told.
    """
    images = images.assign(f1=f1_score(images[COUNTS].to_numpy(np.int64)))
    trained = images[images["evaluation"] == AS_TRAINED]
    subgroups = []
    for name, rows in trained.groupby("class", sort=False):
        parts = [("all", rows)]
        if rows["subgroup"].nunique() > 1:
            parts += [(str(subgroup), part) for subgroup, part in rows.groupby("subgroup")]
        subgroups += [
            (str(name), subgroup, mean_over_groups(part["f1"].to_numpy(), part["group"])) for subgroup, part in parts
        ]
    # With several classes, an image's score is the mean over them from here on.
    columns = [META + code.column for code in encoder.codes]
    first = dict.fromkeys(("group", *columns), "first")
    samples = images.groupby(["evaluation", *SAMPLE], sort=False).agg({"f1": "mean", **first}).reset_index()
    told = [
        table for code in encoder.codes
        if (table := _told(samples, code.column, isinstance(code, CategoricalCode))) is not None
    ]  # fmt: skip
    names = [ZEROS, UNKNOWN, *(f"{code.column}={UNKNOWN}" for code in encoder.codes if len(encoder.codes) > 1)]
    found = set(samples["evaluation"])
    return CardScores(tuple(subgroups), tuple(told), tuple(_cost(samples, name) for name in names if name in found))


def _told(samples: pd.DataFrame, column: str, categorical: bool) -> ToldTable | None:
    start = f"{column}="
    names = samples["evaluation"]
    other = samples[names.str.startswith(start) & (names != f"{start}{UNKNOWN}")]
    if other.empty:
        return None
    other = other.assign(told=other["evaluation"].str.removeprefix(start))
    if not categorical:
        means = other.groupby("told")["f1"].mean()
        order = sorted(means.index, key=float)
        return ToldTable(column, means[order].to_frame("any").T)
    trained = samples[names == AS_TRAINED]
    both = pd.concat([trained.assign(told=trained[META + column]), other])
    table = both.pivot_table("f1", META + column, "told", "mean", observed=True)
    return ToldTable(column, table)


def _cost(samples: pd.DataFrame, evaluation: str) -> Cost:
    trained, withheld = (samples[samples["evaluation"] == name] for name in (AS_TRAINED, evaluation))
    both = trained.merge(withheld, on=SAMPLE, suffixes=("_with", "_without"), validate="one_to_one")
    with_metadata, without = both["f1_with"].to_numpy(), both["f1_without"].to_numpy()
    difference = mean_over_groups(without - with_metadata, both["group_with"])
    return Cost(evaluation, float(with_metadata.mean()), float(without.mean()), difference)
