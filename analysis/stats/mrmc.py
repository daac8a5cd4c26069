"""Multi-reader multi-case (MRMC) analysis of variance: the difference of two arms on new images with new seeds.

Y[i, j, k] = mu + arm_i + seed_ij + unit_k + (arm x unit)_ik + e_ijk: seeds are random readers, nested in their arm;
units (images, or groups of them) are random cases, crossed with everything. The variance of an arm's difference from
another is then

    V = h s² + max(D - h e², 0) / U,    h = 1 / r1 + 1 / r2,

with s² the variance of a run's mean among seeds of an arm, D the variance over units of the difference of the two arms'
means over seeds, e² the mean square of seed x unit within arms, U units, r1 and r2 seeds. For equal r this is the
denominator of the split-plot Dorfman-Berbaum-Metz F test (Hillis 2014, Stat Med 33:330; Dorfman, Berbaum, Metz 1992).
Where units count unequally (groups of few and of many images), D / U and e² / U are sums of squares with weights
(`analysis.scores.score_matrix.ScoreMatrix.variance`) and U is their effective number; those of strata add.

Where runs lack scores, these are filled in (`analysis.scores.missing`), and what was filled in isn't taken for data: D
is of the images that both arms have, share c by weight, so that D / U becomes D / (U c²); e² is divided by (1 - f)², f
being the share of scores that was filled in: they add no residual, and the others are fewer in each unit's mean.
Without missing scores nothing changes, and p changes little with each.

Hillis' (2007, Stat Med 26:596) degrees of freedom, V² / ((h s²)² / f), f = r1 + r2 - 2, take the second term of V for
known, which few units don't allow. It has degrees of freedom of its own here, U - 1: with many units nothing changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from analysis.scores.score_matrix import Floats, ScoreMatrix

Seeds = Literal["nested", "crossed"]
"""Design of the seeds: `nested` in arms, or `crossed`, where runs of equal seed in both arms are one reader."""

Freedom = Literal["hillis", "satterthwaite"]

LEVEL = 0.95
"""Confidence level of intervals."""


@dataclass(frozen=True)
class Components:
    """Variance components of a score, of one image unit and one run; estimates may be below 0."""

    seed: float
    """Variance among the seeds of an arm: differences of runs that are the same on all units."""
    unit: float
    """Variance among units: some are harder than others for all runs of both arms."""
    arm_unit: float
    """Arm x unit interaction: the arms' difference varies from unit to unit, whatever the seed."""
    error: float
    """Seed x unit interaction within an arm, and the residual."""


@dataclass(frozen=True)
class Difference:
    """Estimated difference of an arm from a reference arm, on one class and subgroup."""

    arm: str
    reference: str
    seeds: tuple[int, int]
    """Number of seeds of the arm and of the reference."""
    units: int
    estimate: float
    """Difference of mean scores."""
    se: float
    """Its standard error on new units and new seeds. NaN, as all below, where an arm has one seed or there are too few
    units."""
    df: float
    p: float
    """Two-sided."""
    ci_low: float
    ci_high: float
    """95 % confidence interval, not corrected for multiple comparisons."""
    components: Components | None
    """None where they can't be estimated."""

    @property
    def t(self) -> float:
        """The t statistic; its square is F with 1 and `df` degrees of freedom."""
        return self.estimate / self.se if self.se else float(np.sign(self.estimate)) * np.inf


def difference(
    matrix: ScoreMatrix, arm: str, reference: str, seeds: Seeds = "nested", freedom: Freedom = "hillis"
) -> Difference:
    """Test whether the expected scores of two arms are equal, for new images and new seeds.

    Args:
        matrix: scores in which every run of both arms has every unit, measured or filled in.
        arm: name of the arm.
        reference: name of the arm it is compared with.
        seeds: `nested` if seeds of the arms are unrelated; `crossed` if runs of equal seed are two readings of one
            reader (other runs are left out).
        freedom: `hillis` (see above), or `satterthwaite` as in lmerTest, with equal results on balanced data:
            conservative if the variance among units is mostly error.

    Returns:
        Difference, standard error, degrees of freedom, p-value, 95 % interval and variance components; NaN where an arm
        has one seed or there are too few units.

    Raises:
        ValueError: cells are missing.

    Example:
        >>> from analysis import difference, example_scores, score_matrices
        >>> matrix = next(matrix for _, _, matrix in score_matrices(example_scores()))
        >>> found = difference(matrix, "sme", "baseline")
        >>> round(found.estimate, 3), round(found.ci_low, 3), round(found.ci_high, 3), round(found.p, 4)
        (0.022, 0.013, 0.03, 0.0005)
    """
    ours, theirs = matrix.of(arm), matrix.of(reference)
    if np.isnan(ours).any() or np.isnan(theirs).any():
        raise ValueError(f"{arm} or {reference} has no score of some unit; expected complete data")
    if seeds == "crossed":
        return _crossed(matrix, arm, reference, freedom)
    counts, estimate = (len(ours), len(theirs)), float((ours.mean(axis=0) - theirs.mean(axis=0)) @ matrix.weights)
    if min(counts) < 2 or not testable(matrix):
        return _unknown(arm, reference, counts, matrix, estimate)
    f_seeds, h = sum(counts) - 2, 1 / counts[0] + 1 / counts[1]
    seed = sum(_squares(each @ matrix.weights) for each in (ours, theirs)) / f_seeds
    error = seed_unit_variance([ours, theirs], matrix) / f_seeds
    by_unit = ours.mean(axis=0), theirs.mean(axis=0)
    return _tested(
        matrix, arm, reference, counts, estimate, (h * seed, f_seeds), by_unit, h * error, (seed, error), freedom
    )


def _crossed(matrix: ScoreMatrix, arm: str, reference: str, freedom: Freedom) -> Difference:
    shared = [seed for seed in matrix.seeds_of(arm) if seed in matrix.seeds_of(reference)]
    pairs = [matrix.of(name)[[matrix.seeds_of(name).index(seed) for seed in shared]] for name in (arm, reference)]
    changes = pairs[0] - pairs[1]
    counts = (len(shared), len(shared))
    estimate = float(changes.mean(axis=0) @ matrix.weights) if shared else float("nan")
    if len(shared) < 2 or not testable(matrix):
        return _unknown(arm, reference, counts, matrix, estimate)
    f_seeds = len(shared) - 1
    seed = _squares(changes @ matrix.weights) / f_seeds
    error = seed_unit_variance([changes], matrix) / f_seeds
    by_unit = pairs[0].mean(axis=0), pairs[1].mean(axis=0)
    # Halved: a difference of two readings has twice a reading's variance.
    return _tested(
        matrix, arm, reference, counts, estimate, (seed / len(shared), f_seeds), by_unit, error / len(shared),
        (seed / 2, error / 2), freedom,
    )  # fmt: skip


def testable(matrix: ScoreMatrix) -> bool:
    """True if each stratum has two units or more, so that their variance can be estimated."""
    return bool(len(matrix.units) > 1 and (matrix.effective > 1 + 1e-9).all())


def _tested(
    matrix: ScoreMatrix,
    arm: str,
    reference: str,
    counts: tuple[int, int],
    estimate: float,
    seeds: tuple[float, int],
    by_unit: tuple[Floats, Floats],
    error: float,
    parts: tuple[float, float],
    freedom: Freedom,
) -> Difference:
    """The test from its three mean squares, each on the scale of a variance of the estimate.

    Args:
        matrix: of the data.
        arm: its name.
        reference: the other's.
        counts: seeds of both.
        estimate: the difference.
        seeds: the part of seeds, and its degrees of freedom.
        by_unit: means over seeds of both arms.
        error: the part of seed x unit.
        parts: variances among runs' means, and of seed x unit in a run's mean.
        freedom: how degrees of freedom are computed.
    """
    changes, size, units = by_unit[0] - by_unit[1], matrix.size, len(set(matrix.units))
    # An image that an arm lacks has the arms' mean difference, which says nothing of how it varies.
    common, (a, f_a) = matrix.common(arm, reference), seeds
    b, f_b = float(matrix.variance(changes)) / common**2, matrix.freedom_of(changes) * common
    # Nor has a score that is filled in an error of its own; others have more, with fewer of them in the mean.
    error /= (1 - matrix.filled_share(arm, reference)) ** 2
    # Covariance by polarisation: it is of variances of sums and differences.
    shared = float(matrix.variance(by_unit[0] + by_unit[1]) - matrix.variance(changes)) / 4
    seed, noise = parts
    components = Components(seed - noise, shared * size, (b - error) * size / 2, noise * size)
    excess = max(b - error, 0.0)
    variance = a + excess
    if variance <= 1e-24:  # float error of equal runs
        p = 1.0 if abs(estimate) < 1e-12 else 0.0
        return Difference(arm, reference, counts, units, estimate, 0.0, f_a, p, estimate, estimate, components)
    if freedom == "hillis" or not excess:
        terms = a**2 / f_a + excess**2 / f_b
    else:
        terms = a**2 / f_a + b**2 / f_b + error**2 / (f_a * f_b)
    df, se = variance**2 / terms, float(np.sqrt(variance))
    p = float(2 * stats.t.sf(abs(estimate) / se, df))
    half = float(stats.t.ppf(0.5 + LEVEL / 2, df)) * se
    return Difference(arm, reference, counts, units, estimate, se, df, p, estimate - half, estimate + half, components)


def _unknown(arm: str, reference: str, counts: tuple[int, int], matrix: ScoreMatrix, estimate: float) -> Difference:
    nan = float("nan")
    units = len(set(matrix.units))
    return Difference(arm, reference, counts, units, estimate, nan, nan, nan, nan, nan, None)


def _squares(values: Floats) -> float:
    centred = values - values.mean()
    return float(centred @ centred)


def seed_unit_variance(arms: Sequence[Floats], matrix: ScoreMatrix) -> float:
    """Sum over runs of the seed x unit variance of a run's mean, to be divided by the degrees of freedom.

    Args:
        arms: `(seeds, columns)` values of each.
        matrix: with the columns' weights.
    """
    return sum(float(matrix.variance(each - each.mean(axis=0)).sum()) for each in arms)
