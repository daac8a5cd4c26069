"""Multi-reader multi-case (MRMC) analysis of variance: the difference of two arms on new images with new seeds.

Y[i, j, k] = mu + arm_i + seed_ij + unit_k + (arm x unit)_ik + e_ijk: seeds are random readers, nested in their arm;
units (images, or groups of them) are random cases, crossed with everything. The variance of an arm's difference from
another is then

    V = s1² / r1 + s2² / r2 + max(D - e1² / r1 - e2² / r2, 0) / U,

with s1² and s2² the variances of a run's mean among the r1 and r2 seeds of the two arms, D the variance over units of
the difference of the two arms' means over seeds, e1² and e2² the mean squares of seed x unit within arms, U units.
Where units count unequally (groups of few and of many images), D / U and e² / U are sums of squares with weights
(`analysis.scores.score_matrix.ScoreMatrix.variance`) and U is their effective number; those of strata add. So do those
of folds, in which seeds are other networks (`analysis.stats.seed_variance`).

With one seed in each fold there is no s². Then V is the variance of the difference by how much it varies among folds,
at least D / U, with one degree of freedom less than folds: three folds or more are needed. So it is, with any number of
seeds, where each fold is one unit, as in leaving one group out.

Folds of one data set depend on each other: an image that is tested in one trains the networks of the others, so that
what is peculiar to a data set is in its test images and in its training images. Nothing within one data set tells how
much (Bengio & Grandvalet 2004, J Mach Learn Res 5:1089). V of J of a study's K folds (a subgroup may lie in some only)
is therefore multiplied by 1 + J / (K - 1), what Nadeau & Bengio (2003, Mach Learn 52:239) put in for J test sets that
are 1 / (K - 1) of their training sets: a rule, not an estimate (docs/results/calibration/fold_trainings.md).

Where arms share one variance among seeds (`pooled`), s1² = s2² and e1² = e2² are the mean squares of both. For equal r
V is then the denominator of the split-plot Dorfman-Berbaum-Metz F test (Hillis 2014, Stat Med 33:330; Dorfman, Berbaum,
Metz 1992). It has more degrees of freedom, and errs where the arms' seeds vary unlike or differ in number.

Where runs lack scores, these are filled in (`analysis.scores.missing`), and what was filled in isn't taken for data: D
is of the images that both arms have, share c by weight, so that D / U becomes D / (U c²); e² is divided by (1 - f)², f
being the share of scores that was filled in: they add no residual, and the others are fewer in each unit's mean.
Without missing scores nothing changes, and p changes little with each.

Degrees of freedom are those of the arms' seeds and of units, U - 1, put together by Satterthwaite's rule, cautiously
(`analysis.stats.degrees_of_freedom`). Hillis' (2007, Stat Med 26:596), for pooled variances, take the last term of V
for known, which few units don't allow: here it has its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import stats

from analysis.scores.score_matrix import Floats, ScoreMatrix
from analysis.stats.degrees_of_freedom import cautious, satterthwaite
from analysis.stats.seed_variance import (
    among_folds,
    case_freedom,
    crossed_readers,
    filled_share,
    fold_cells,
    readers,
    seed_part,
)
from metaseg.schema import Seeds

Freedom = Literal["cautious", "hillis", "satterthwaite"]

Variances = Literal["separate", "pooled"]
"""Variances among seeds: `separate` for each arm, or `pooled`."""

Overlap = Literal["corrected", "ignored"]
"""Dependence of folds, whose training sets hold each other's test images: `corrected` by a wider variance, or
`ignored`."""

FEWEST_FOLDS = 3
"""Folds from which on one seed in each is enough for a test."""

LEVEL = 0.95
"""Confidence level of intervals."""


@dataclass(frozen=True)
class Components:
    """Variance components of a score, of one image unit and one run; estimates may be below 0.

    Example:
        >>> from analysis import Components, detectable
        >>> round(detectable(Components(seed=0.006**2, unit=0.05**2, arm_unit=0.01**2, error=0.02**2), 5, 75), 3)
        0.014
    """

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
    folds: int = 1
    """Number of folds that both arms have; 1 where there is one split."""
    seed_variances: tuple[float, float] = (float("nan"), float("nan"))
    """Contributions of the arm's and of the reference's seeds to se²; where folds have one seed or one unit, half of
    what folds differ by beyond their units."""
    case_variance: float = float("nan")
    """Contribution of units to se²: the arms differ on some more than on others. The three sum to se²; those of folds
    are widened as it is."""

    @property
    def t(self) -> float:
        """The t statistic; its square is F with 1 and `df` degrees of freedom."""
        return self.estimate / self.se if self.se else float(np.sign(self.estimate)) * np.inf


def difference(
    matrix: ScoreMatrix,
    arm: str,
    reference: str,
    seeds: Seeds = "nested",
    freedom: Freedom | None = None,
    variances: Variances = "separate",
    overlap: Overlap = "corrected",
) -> Difference:
    """Test whether the expected scores of two arms are equal, for new images and new seeds; with folds, in new data.

    Args:
        matrix: scores in which every run of both arms has every unit, measured or filled in. A seed that wasn't tested
            in a fold is left out there.
        arm: name of the arm.
        reference: name of the arm it is compared with.
        seeds: `nested` if seeds of the arms are unrelated; `crossed` if runs of equal seed are two readings of one
            reader (other runs are left out).
        freedom: `cautious` (`analysis.stats.degrees_of_freedom`), the default but for pooled variances; `hillis` (see
            above), the default for these; or `satterthwaite` as in lmerTest, with equal results on balanced data of
            pooled variances: conservative if the variance among units is mostly error.
        variances: `separate` for each arm, or `pooled`, one for both, as in an analysis of variance.
        overlap: `corrected` if folds depend on each other by what they train on; `ignored` to take them for
            independent, as mixed models do.

    Returns:
        Difference, standard error, degrees of freedom, p-value, 95 % interval and variance components; NaN where an arm
        has one seed, in fewer than three folds, or there are too few units.

    Raises:
        ValueError: cells are missing.

    Example:
        >>> from analysis import difference, example_scores, score_matrices
        >>> matrix = next(matrix for _, _, matrix in score_matrices(example_scores()))
        >>> found = difference(matrix, "sme", "baseline")
        >>> round(found.estimate, 3), round(found.ci_low, 3), round(found.ci_high, 3), round(found.p, 4)
        (0.022, 0.01, 0.033, 0.0066)
    """
    arms = (crossed_readers if seeds == "crossed" else readers)(matrix, arm, reference)
    if seeds == "crossed":
        samples = [[replace(arms[0], values=arms[0].values - arms[1].values)]]
    else:
        samples = [[arms[0]], [arms[1]]] if variances == "separate" else [list(arms)]
    known = arms[0].known
    about = _About(
        arm,
        reference,
        (len(arms[0].values), len(arms[1].values)),
        len(set(matrix.units)),
        folds := len(set(matrix.fold[known])),
        widening(folds, matrix.of_folds) if overlap == "corrected" else 1.0,
    )
    if not known.any():
        return _unknown(about, float("nan"))
    changes = arms[0].by_unit - arms[1].by_unit
    estimate, cells = float(changes @ matrix.weights), fold_cells(matrix)
    if not testable(cells):
        return _unknown(about, estimate)
    # An image that an arm lacks has the arms' mean difference, which says nothing of how it varies.
    common = matrix.common(arm, reference)
    b, f_b = float(cells.variance(changes)) / common**2, case_freedom(matrix, cells, changes) * common
    parts = [part for sample in samples if (part := seed_part(matrix, cells, sample))]
    # With one seed in each fold, or one unit, seeds and units can't be told apart in what folds differ by.
    several, confounded = len(parts) == len(samples), about.folds == about.units > 1
    if not several or confounded:
        if about.folds < FEWEST_FOLDS:
            return _unknown(about, estimate)
        among, df = among_folds(matrix, changes, known)
        beyond = max(among - b, 0.0)
    if not several:
        return _tested(about, estimate, (beyond / 2, beyond / 2), b, df, None)
    # Nor has a score that is filled in an error of its own; others have more, with fewer of them in the mean.
    found = (1 - filled_share(arms, matrix.weights)) ** 2
    parts = [replace(part, error=part.error / found) for part in parts]
    error = sum(part.error for part in parts)
    excess = max(b - error, 0.0)
    ours, freedoms = [part.variance for part in parts], [part.freedom for part in parts]
    # Covariance by polarisation: it is of variances of sums and differences.
    shared = float(cells.variance(arms[0].by_unit + arms[1].by_unit) - cells.variance(changes)) / 4
    readings = 2 if seeds == "crossed" else 1  # A difference of two readings has twice a reading's variance.
    components = Components(
        float(np.mean([(part.variance - part.error) / part.runs for part in parts])) / readings,
        shared * matrix.size,
        (b - error) * matrix.size / 2,
        float(np.mean([part.error / part.scores for part in parts])) / readings,
    )
    if confounded:
        return _tested(about, estimate, (beyond / 2, beyond / 2), b, df, components)
    terms, freedom = np.array([*ours, excess]), freedom or ("cautious" if variances == "separate" else "hillis")
    if freedom == "cautious":
        df = float(cautious(terms, [*freedoms, f_b]))
    elif freedom == "hillis" or not excess:
        df = float(satterthwaite(terms, [*freedoms, f_b]))
    else:
        squares = np.array([*ours, b, error]) ** 2 / [*freedoms, f_b, sum(freedoms) * f_b / about.folds]
        df = float(terms.sum() ** 2 / squares.sum())
    if len(ours) == 1:
        share = [float(np.sum(matrix.weights[known] ** 2 / each.count[known])) for each in arms]
        ours = [ours[0] * each / sum(share) for each in share]
    return _tested(about, estimate, (ours[0], ours[1]), excess, df, components)


def widening(folds: int, of: int) -> float:
    """Factor of a difference's variance where `folds` of a study's folds are tested (see above); 1 for one split."""
    return 1 + folds / (of - 1) if of > 1 else 1.0


def testable(matrix: ScoreMatrix) -> bool:
    """True if each stratum has two units or more, so that their variance can be estimated."""
    return bool(len(matrix.units) > 1 and (matrix.effective > 1 + 1e-9).all())


@dataclass(frozen=True)
class _About:
    """Arms, seeds, units and folds of a comparison."""

    arm: str
    reference: str
    seeds: tuple[int, int]
    units: int
    folds: int
    wider: float


def _tested(
    about: _About,
    estimate: float,
    seeds: tuple[float, float],
    cases: float,
    df: float,
    components: Components | None,
) -> Difference:
    """The t test from the parts of the variance, before folds' dependence."""
    seeds, cases = (seeds[0] * about.wider, seeds[1] * about.wider), cases * about.wider
    variance = sum(seeds) + cases
    se, fixed = float(np.sqrt(variance)), (about.arm, about.reference, about.seeds, about.units, estimate)
    parts = components, about.folds, seeds, cases
    if variance <= 1e-24:  # float error of equal runs
        p = 1.0 if abs(estimate) < 1e-12 else 0.0
        return Difference(*fixed, 0.0, sum(about.seeds) - 2, p, estimate, estimate, *parts)
    p = float(2 * stats.t.sf(abs(estimate) / se, df))
    half = float(stats.t.ppf(0.5 + LEVEL / 2, df)) * se
    return Difference(*fixed, se, df, p, estimate - half, estimate + half, *parts)


def _unknown(about: _About, estimate: float) -> Difference:
    nan = float("nan")
    return Difference(
        about.arm, about.reference, about.seeds, about.units, estimate, nan, nan, nan, nan, nan, None, about.folds
    )


def seed_unit_variance(arms: Sequence[Floats], matrix: ScoreMatrix) -> float:
    """Sum over runs of the seed x unit variance of a run's mean, to be divided by the degrees of freedom.

    Args:
        arms: `(seeds, columns)` values of each.
        matrix: with the columns' weights.
    """
    return sum(float(matrix.variance(each - each.mean(axis=0)).sum()) for each in arms)
