"""Seed x subgroup variance of an arm: its part of the covariance of subgroups' differences."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.scores.score_matrix import Floats, ScoreMatrix
from analysis.stats.seed_variance import Readers, fold_cells, seed_part


@dataclass(frozen=True, eq=False)
class SeedSubgroupPart:
    """The model is that of `analysis.stats.interaction`."""

    square: float
    """Mean square of run x subgroup, of means: q² and the mean of `errors`."""
    freedom: float
    seed: float
    """s²; 0 where folds are subgroups, as `square` has it then."""
    errors: Floats
    """`(folds, G)` variance of a run's mean by errors on units; 0 where a subgroup has no unit in the fold."""
    errors_mean: float
    """Their mean, weighted as they are in `square`."""
    errors_uncertainty: float
    """Variance of this mean's estimate."""
    there: Floats
    """`(folds, G)` 1 where a subgroup has units in the fold, else 0."""
    runs: Floats
    """`(folds,)` degrees of freedom: seeds - 1."""
    shared: Floats
    """`(G, G)` W_a."""

    @property
    def seed_subgroup(self) -> float:
        """q²"""
        return max(self.square - self.errors_mean, 0.0)

    def covariance(self) -> Floats:
        """`(G, G)` contribution to the covariance of differences."""
        return np.asarray(self.seed * self.shared + self.seed_subgroup * np.diag(np.diag(self.shared)))

    def terms(self) -> list[tuple[float, Floats]]:
        """The variance of each estimate of a component, and the matrix by which it enters the covariance."""
        count = self.there.sum(axis=1)
        pairs = float(np.sum(self.runs * count * (count - 1)))
        square, seed = 0.0, 0.0
        for runs, row, own, size in zip(self.runs, self.there, self.errors, count, strict=True):
            each, both = np.diag(row * (self.seed_subgroup + own)), np.outer(row, row)
            if pairs:
                total = (both - np.diag(row)) @ (each + self.seed * both)
                seed += runs * float(np.sum(total * total.T))
            inside = (np.diag(row) - both / size) @ each if pairs else each
            square += runs * float(np.sum(inside * inside.T))
        found = []
        if self.seed_subgroup:
            own = np.diag(np.diag(self.shared))
            found.append((2 * square / self.freedom**2 + self.errors_uncertainty, own))
        if self.seed:
            found.append((2 * seed / pairs**2, self.shared))
        return found

    def grown(self, times: float) -> "SeedSubgroupPart":
        """With another mean square."""
        return replace(self, square=times * self.square)


def seed_subgroup_part(
    matrices: Sequence[ScoreMatrix], readers: Sequence[Readers], filled: Floats
) -> SeedSubgroupPart | None:
    """The part of an arm; None where it has one seed in each fold.

    Args:
        matrices: of subgroups, in which a number of a fold is of the same fold.
        readers: the arm's seeds in each, the same ones.
        filled: `(G,)` share of scores that are filled in.
    """
    units = [seed_part(matrix, fold_cells(matrix), [each]) for matrix, each in zip(matrices, readers, strict=True)]
    if any(each is None for each in units):
        return None
    by_score = np.array([each.error / each.scores for each in units if each]) / (1 - filled) ** 2
    folds = np.unique(np.concatenate([matrix.fold[each.known] for matrix, each in zip(matrices, readers, strict=True)]))
    means = np.zeros((len(folds), len(readers[0].values), len(matrices)))
    share, scale, count = np.zeros((3, len(folds), len(matrices)))
    for g, (matrix, each) in enumerate(zip(matrices, readers, strict=True)):
        for f, fold in enumerate(folds):
            here = (matrix.fold == fold) & each.known
            if here.any():
                share[f, g] = matrix.weights[here].sum()
                scale[f, g] = float(np.sum(matrix.weights[here] ** 2)) / share[f, g] ** 2
                count[f, g] = each.count[here][0]
                means[f, :, g] = each.deviations[:, here] @ matrix.weights[here] / share[f, g]
    seeds, of_fold = count.max(axis=1), (share > 0).sum(axis=1)
    runs, errors = seeds - 1, by_score * scale
    there = (share > 0).astype(np.float64)
    crossed = bool(np.any((of_fold > 1) & (runs > 0)))
    # Where each fold has one subgroup, a run's mean there has q² and s².
    spare = np.maximum(of_fold - 1, 0) if crossed else of_fold
    apart = means - crossed * (means.sum(axis=2) / of_fold[:, None])[..., None] * there[:, None, :]
    if crossed:
        apart[of_fold == 1] = 0
    freedom = float(runs @ spare)
    if not freedom:
        return None
    weight = (runs * spare / of_fold / freedom) @ np.where(share > 0, scale, 0.0)
    pairs = float(runs @ (of_fold * (of_fold - 1)))
    off = float(np.sum(means.sum(axis=2) ** 2 - (means**2).sum(axis=2)))
    spread = np.array([matrix.freedom for matrix in matrices]) * runs.sum() / len(folds)
    # A fold that an arm lacks is taken to be as the others.
    whole = share / share.sum(axis=0)
    return SeedSubgroupPart(
        float(np.sum(apart**2)) / freedom,
        freedom,
        max(off / pairs, 0.0) if pairs else 0.0,
        errors,
        float(weight @ by_score),
        float(np.sum(2 * (weight * by_score) ** 2 / spread)),
        there,
        runs,
        (whole / seeds[:, None]).T @ whole,
    )
