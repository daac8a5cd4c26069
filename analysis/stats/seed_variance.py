"""What seeds, and units, contribute to the variance of a difference of two arms, in one split or over folds.

Folds are fixed strata: fold f has the share w_f in the mean, its units are tested by networks that trained on the
others, and seed j of an arm is another network in each. So the seeds' part of the variance is

    sum_f w_f² S_f² / r_f,

S_f² the variance of the r_f runs' means in fold f. A fold in which an arm has one seed has no S_f²; the others' mean,
by degrees of freedom, stands for it. The degrees of freedom of the sum are Satterthwaite's for seeds that vary alike in
all folds.

Units differ within a fold: a difference between folds is the seeds' as well. They are centred within stratum and fold,
or within the stratum alone where it has a fold of a single unit, as in leaving one group out. Then the units' variance
has the folds' in it, but so has the mean square of seed x unit, which is taken off, so that nothing counts twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from analysis.scores.score_matrix import Floats, ScoreMatrix


@dataclass(frozen=True, eq=False)
class Readers:
    """A sample of seeds: an arm's, or pairs of an arm's and the reference's."""

    values: Floats
    """`(seeds, columns)`"""
    measured: npt.NDArray[np.bool_]
    """`(seeds, columns)`, equal in all columns of a fold: whether the seed was tested in it."""

    @cached_property
    def count(self) -> Floats:
        """`(columns,)` seeds that were tested."""
        return np.asarray(self.measured.sum(axis=0), np.float64)

    @cached_property
    def by_unit(self) -> Floats:
        """`(columns,)` mean over them."""
        return np.asarray(np.where(self.measured, self.values, 0.0).sum(axis=0) / self.count)

    @cached_property
    def deviations(self) -> Floats:
        """`(seeds, columns)` from this mean; 0 where a seed wasn't tested."""
        return np.where(self.measured, self.values - self.by_unit, 0.0)


@dataclass(frozen=True)
class SeedPart:
    """Part of a difference's variance that is an arm's, or two arms' with one variance."""

    variance: float
    """Of seeds: what they change on all units of a fold, and their errors on units."""
    freedom: float
    error: float
    """Of errors alone (seed x unit)."""
    runs: float
    """What the part would be if runs' means in a fold had variance 1."""
    scores: float
    """What the error would be if it had variance 1 in each score."""


def seed_part(matrix: ScoreMatrix, cells: ScoreMatrix, samples: Sequence[Readers]) -> SeedPart | None:
    """The part of one or more samples that share their variances; None if no fold has two seeds of any.

    Args:
        matrix: with folds and weights of columns.
        cells: the same matrix with the strata within which units vary (`fold_cells`).
        samples: of seeds.
    """
    folds, first, of = np.unique(matrix.fold, return_index=True, return_inverse=True)
    in_fold = (of[:, None] == np.arange(len(folds))).astype(np.float64)
    share, per_mean = matrix.weights @ in_fold, np.sum([1 / each.count for each in samples], axis=0)
    spare = np.sum([each.count - 1 for each in samples], axis=0)
    freedom = spare[first]
    if not freedom.any():
        return None
    moved = np.concatenate([(each.deviations * matrix.weights) @ in_fold for each in samples])
    several = freedom > 0
    variance = (moved**2).sum(axis=0)[several] / (share**2 * freedom)[several]
    count = share**2 * per_mean[first]
    weight = count[several] + count[~several].sum() * freedom[several] / freedom.sum()
    scale = np.where(spare > 0, per_mean / np.maximum(spare, 1), 0.0)
    error = float(np.sum([cells.variance(each.deviations * np.sqrt(scale)).sum() for each in samples]))
    scores = matrix.weights**2 * per_mean
    return SeedPart(
        float(weight @ variance),
        float(weight.sum() ** 2 / np.sum(weight**2 / freedom[several])),
        error * float(scores.sum() / scores[spare > 0].sum()),
        float(count.sum()),
        float(scores.sum()),
    )


def fold_cells(matrix: ScoreMatrix) -> ScoreMatrix:
    """The matrix with a stratum for each fold of a stratum, but for strata that have a fold of one unit."""
    if not matrix.fold.any():
        return matrix
    folds = int(matrix.fold.max()) + 1
    cell, of_column = np.unique(matrix.stratum * folds + matrix.fold, return_inverse=True)
    apart = replace(matrix, stratum=of_column.astype(np.int64))
    single = np.isin(np.arange(len(matrix.effective)), cell[~(apart.effective > 1 + 1e-9)] // folds)
    whole = single[matrix.stratum]
    merged = np.where(whole, matrix.stratum * folds, matrix.stratum * folds + matrix.fold)
    return replace(matrix, stratum=np.unique(merged, return_inverse=True)[1].astype(np.int64))


def case_freedom(matrix: ScoreMatrix, cells: ScoreMatrix, values: Floats) -> float:
    """Degrees of freedom of `cells.variance` of `(columns,)` values.

    Satterthwaite's over strata, whose units may vary unequally; in the folds of a stratum they vary alike.
    """
    parts = np.bincount(matrix.stratum, cells.deviations(values) ** 2)
    known = np.bincount(cells.stratum, matrix.weights**2)
    stratum = np.zeros(len(known), np.int64)
    stratum[cells.stratum] = matrix.stratum
    own = np.bincount(stratum, known) ** 2 / np.bincount(stratum, known**2 / (cells.effective - 1))
    if not parts.sum() > 0:
        return float(own.sum())
    return float(parts.sum() ** 2 / np.sum(parts**2 / own))


def among_folds(matrix: ScoreMatrix, changes: Floats) -> tuple[float, float]:
    """Variance of a difference by how much it varies among folds, and its degrees of freedom.

    Args:
        matrix: with folds and weights of columns.
        changes: `(columns,)` differences.
    """
    share = np.bincount(matrix.fold, matrix.weights)
    by_fold = np.bincount(matrix.fold, matrix.weights * changes)[share > 0]
    share = share[share > 0]
    squares = float(np.sum(share**2))
    # As units of unequal weight: `ScoreMatrix.deviations`.
    moved = (by_fold - share * by_fold.sum()) ** 2 / (1 - 2 * share + squares)
    return float(moved.sum()), 1 / squares - 1
