"""Contributions of seeds and of units to the variance of a difference of two arms, in one split or over folds.

Folds are fixed strata: fold f has the share w_f in the mean, its units are tested by networks that trained on the
others, and seed j of an arm is another network in each. So the seeds' part of the variance is

    sum_f w_f² S_f² / r_f,

S_f² the variance of the r_f runs' means in fold f. A fold in which an arm has one seed has no S_f²; the others' mean,
by degrees of freedom, stands for it. The degrees of freedom of the sum are Satterthwaite's for seeds that vary alike in
all folds.

Units differ within a fold: a difference between folds is the seeds' as well. They are centred within stratum and fold,
or within the stratum alone where it has a fold of a single unit. Then the units' variance has the folds' in it, but so
has the mean square of seed x unit, which is taken off, so that nothing counts twice. (Where all folds are single units
nothing is taken off: `analysis.stats.mrmc`.)
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
    filled: Floats
    """`(seeds, columns)` share of a unit's images whose scores are filled in from the arm's other runs."""

    @cached_property
    def count(self) -> Floats:
        """`(columns,)` seeds that were tested."""
        return np.asarray(self.measured.sum(axis=0), np.float64)

    @cached_property
    def by_unit(self) -> Floats:
        """`(columns,)` mean over them; over what is filled in where there are none."""
        counted = np.where(self.known, self.measured, True)
        return np.asarray(np.where(counted, self.values, 0.0).sum(axis=0) / counted.sum(axis=0))

    @cached_property
    def known(self) -> npt.NDArray[np.bool_]:
        """`(columns,)` whether some seed was tested."""
        return np.asarray(self.measured.any(axis=0))

    @cached_property
    def deviations(self) -> Floats:
        """`(seeds, columns)` from this mean; 0 where a seed wasn't tested."""
        return np.where(self.measured, self.values - self.by_unit, 0.0)


def readers(matrix: ScoreMatrix, arm: str, reference: str) -> tuple[Readers, Readers]:
    """Seeds of two arms, in the folds in which both have some.

    Raises:
        ValueError: cells are missing.
    """
    found = [readers_of(matrix, name) for name in (arm, reference)]
    if any(np.isnan(each.values).any() for each in found):
        raise ValueError(f"{arm} or {reference} has no score of some unit; expected complete data")
    return in_common(found[0], found[1])


def readers_of(matrix: ScoreMatrix, arm: str) -> Readers:
    """Seeds of an arm, ascending; one that has no score of its own in a fold wasn't tested there."""
    values = matrix.of(arm)
    if matrix.filled is None:
        return Readers(values, np.ones(values.shape, dtype=bool), np.zeros(values.shape))
    rows = np.flatnonzero(matrix.arm == matrix.arms.index(arm))
    share = matrix.filled.share[rows[np.argsort(matrix.seed[rows], kind="stable")]]
    measured = np.ones(values.shape, dtype=bool)
    if matrix.fold.any():
        for fold in np.unique(matrix.fold):
            here = matrix.fold == fold
            measured[:, here] = (share[:, here] < 1 - 1e-12).any(axis=1, keepdims=True)
    return Readers(values, measured, share)


def filled_share(arms: Sequence[Readers], weights: Floats) -> float:
    """Share of scores of seeds that were tested that is filled in."""
    there = [each.measured * weights for each in arms]
    return float(
        sum((each.filled * own).sum() for each, own in zip(arms, there, strict=True)) / np.sum(np.vstack(there))
    )


def in_common(first: Readers, second: Readers) -> tuple[Readers, Readers]:
    """The same seeds, tested in those folds in which both arms have some."""
    both = first.known & second.known
    return replace(first, measured=first.measured & both), replace(second, measured=second.measured & both)


def crossed_readers(matrix: ScoreMatrix, arm: str, reference: str) -> tuple[Readers, Readers]:
    """Like `readers`, of the seeds that both arms have, in folds in which both have them."""
    arms, seeds = readers(matrix, arm, reference), (matrix.seeds_of(arm), matrix.seeds_of(reference))
    both = [seed for seed in seeds[0] if seed in seeds[1]]
    found = [some(each, [of.index(seed) for seed in both]) for each, of in zip(arms, seeds, strict=True)]
    measured = found[0].measured & found[1].measured
    return replace(found[0], measured=measured), replace(found[1], measured=measured)


def some(seeds: Readers, rows: Sequence[int]) -> Readers:
    """Those in `rows`."""
    return Readers(seeds.values[rows], seeds.measured[rows], seeds.filled[rows])


def means_by_fold(matrix: ScoreMatrix, arms: tuple[Readers, Readers]) -> list[tuple[Floats, Floats]]:
    """Contribution of each seed of both arms to the weighted mean in each fold that both have, centred there."""
    found = []
    for fold in np.unique(matrix.fold[arms[0].known]):
        here = matrix.fold == fold
        ours, theirs = (
            each.values[:, here][each.measured[:, here].any(axis=1)] @ matrix.weights[here] for each in arms
        )
        centre = np.concatenate([ours, theirs]).mean()
        found.append((ours - centre, theirs - centre))
    return found


@dataclass(frozen=True)
class SeedPart:
    """Part of a difference's variance that is an arm's, or two arms' with one variance."""

    variance: float
    """Variance due to seeds: what they change on all units of a fold, and their errors on units."""
    freedom: float
    error: float
    """Variance due to errors alone (seed x unit)."""
    runs: float
    """Value of the part if runs' means in a fold had variance 1."""
    scores: float
    """Value of the error if it had variance 1 in each score."""


def seed_part(matrix: ScoreMatrix, cells: ScoreMatrix, samples: Sequence[Readers]) -> SeedPart | None:
    """The part of one or more samples that share their variances; None if no fold has two seeds of any.

    Args:
        matrix: with folds and weights of columns.
        cells: the same matrix with the strata within which units vary (`fold_cells`).
        samples: of seeds.
    """
    # A fold that an arm lacks is taken to be as the others.
    folds, first, of = np.unique(matrix.fold, return_index=True, return_inverse=True)
    in_fold = (of[:, None] == np.arange(len(folds))).astype(np.float64)
    share, known = matrix.weights @ in_fold, samples[0].known
    per_mean = np.sum([known / np.maximum(each.count, 1) for each in samples], axis=0)
    spare = np.sum([np.maximum(each.count - 1, 0) for each in samples], axis=0)
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
    whole = float(matrix.weights[known].sum()) ** 2
    return SeedPart(
        float(weight @ variance) / whole,
        float(weight.sum() ** 2 / np.sum(weight**2 / freedom[several])),
        error * float(scores.sum() / scores[spare > 0].sum()) / whole,
        float(count.sum()) / whole,
        float(scores.sum()) / whole,
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


def among_folds(matrix: ScoreMatrix, changes: Floats, known: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Variance of a difference by how much it varies among folds, and its degrees of freedom.

    Args:
        matrix: with folds and weights of columns.
        changes: `(columns,)` differences.
        known: `(columns,)` those that both arms have.
    """
    weights = np.where(known, matrix.weights, 0.0) / matrix.weights[known].sum()
    share, by_fold = np.bincount(matrix.fold, weights), np.bincount(matrix.fold, weights * changes)
    squares = float(np.sum(share**2))
    # As units of unequal weight: `ScoreMatrix.deviations`.
    moved = (by_fold - share * by_fold.sum()) ** 2 / (1 - 2 * share + squares)
    return float(moved.sum()), 1 / squares - 1
