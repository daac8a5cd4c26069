"""A mixed model by REML: the comparison of `analysis.stats.mrmc` by another method, also where runs lack some units.

Reports don't use it: it weighs units of unequal size equally, and where a component reaches 0 its degrees of freedom
jump. It is an independent check, and what R's lme4 is compared with.

y[i, j, k] = mu + arm_i + unit_k + (arm x unit)_ik + seed_ij + e_ijk: only the arm is fixed. With R runs, the covariance
of all scores is that of a unit's scores, a block of R x R for each unit, plus the seed's variance times S S', S the
indicators of runs. So the restricted likelihood (Patterson & Thompson 1971, Biometrika 58:545), its gradient and its
Hessian are made of sums over units of R x R matrices: the time grows with units, not with their cube.

Degrees of freedom are Satterthwaite's as lmerTest has them (Kuznetsova et al. 2017, J Stat Softw 82(13)): 2 V² /
(g' A g) with V the variance of the estimate, g its gradient by the components and A twice the inverse of the deviance's
Hessian. On complete data with as many seeds in both arms and positive components this is `difference(...,
freedom="satterthwaite", variances="pooled", overlap="ignored")`; other numbers of seeds are weighed a little
differently. A component whose best value is 0 is left out of g and A, as if the model didn't have it.

With folds, arms have a mean in each and seeds are others in each, (arm x fold x seed): folds share nothing but the
variances, so that the likelihood is the product of theirs. The estimate is the mean of theirs by number of units.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from analysis.scores.score_matrix import Floats, ScoreMatrix
from analysis.stats.mrmc import LEVEL, Components, Difference

SIZE = 4_000_000
"""Most units times squared runs, as 40 000 units of 5 runs an arm: some 3 s and 1 GB."""

NAMES = ("seed", "unit", "arm x unit", "error")
ERROR = 3
"""Place of the error's variance among the four."""
LOWEST = 1e-9
"""Share of the error's variance in the data's below which there is no error to speak of."""
CONVERGED = 1e-11
"""Smallest expected decrease of the deviance for which another step is taken."""
CONFOUNDED = 1e-8
"""Smallest eigenvalue of the information, scaled to a unit diagonal, at which components can be told apart."""


@dataclass(frozen=True, eq=False)
class Fit:
    """The restricted likelihood at given variances, in the order of `NAMES`."""

    deviance: float
    """-2 log likelihood, but for a constant."""
    gradient: Floats
    """`(4,)` its derivatives by the variances."""
    hessian: Floats
    """`(4, 4)`"""
    information: Floats
    """`(4, 4)` expected Hessian."""
    estimate: float
    """The first arm's mean minus the second's, by generalised least squares."""
    variance: float
    """Variance of the estimate."""
    slope: Floats
    """`(4,)` the variance's derivatives."""


def mixed_difference(matrix: ScoreMatrix, arm: str, reference: str) -> Difference:
    """Test whether two arms' expected scores are equal, where cells may be missing at random.

    Seeds are nested in arms, and in folds where there are several. Units count equally, also where they are groups of
    unequal numbers of images. Runs and units without any score are left out. As with `difference`, there is no test,
    only an estimate, where an arm has one seed (in each fold) or there is one unit.

    Args:
        matrix: of which NaN are missing cells.
        arm: its name.
        reference: the name of the other.

    Raises:
        ValueError: an arm has no score, in all or in a fold; units lie in strata; data are larger than `SIZE`; runs
            differ in nothing but their means, so that there is no error to estimate; cells are too sparse to tell the
            components apart.
    """
    if (strata := len(matrix.effective)) > 1:
        raise ValueError(f"units lie in {strata} strata; expected one, as the mixed model has no strata")
    values = np.concatenate([matrix.of(arm), matrix.of(reference)])
    first = np.arange(len(values)) < len(matrix.of(arm))
    found = ~np.isnan(values)
    runs, units = found.any(axis=1), found.any(axis=0)
    values, found, first = values[runs][:, units], found[runs][:, units], first[runs]
    counts = int(first.sum()), int((~first).sum())
    if min(counts) == 0:
        raise ValueError(f"{arm} has {counts[0]} runs with scores, {reference} {counts[1]}; expected at least 1")
    if found.shape[1] * len(first) ** 2 > SIZE:
        raise ValueError(
            f"{found.shape[1]} units of {len(first)} runs; expected at most {SIZE // len(first) ** 2} units "
            "for a mixed model of as many runs"
        )
    centre = np.nanmean(values)
    y, arms = np.where(found, values - centre, 0.0).T, np.stack([first, ~first], axis=1).astype(np.float64)
    what, folds = f"{arm} and {reference}", [matrix.fold[units] == fold for fold in np.unique(matrix.fold[units])]
    seeds = np.array([[found[rows][:, here].any(axis=1).sum() for rows in (first, ~first)] for here in folds])
    if not seeds.all():
        raise ValueError(f"an arm of {what} has no score in some fold; expected both arms in all {len(folds)}")
    if (seeds < 2).all(axis=0).any() or found.shape[1] < 2:
        means = [float(values[rows][found[rows]].mean()) for rows in (first, ~first)]
        nan = float("nan")
        difference = means[0] - means[1]
        return Difference(arm, reference, counts, found.shape[1], difference, nan, nan, nan, nan, nan, None, len(folds))
    scale = float(np.sqrt((y**2).sum() / found.sum()))
    if scale <= 1e-12:
        raise ValueError(f"all scores of {arm} and {reference} are equal; expected an error to estimate")
    parts = [(y[here] / scale, found.T[here].astype(np.float64), arms) for here in folds]
    variances, fit = _maximise(parts, what)
    free = variances > 0
    spread = float(fit.slope[free] @ np.linalg.solve(_curvature(fit, free, what), fit.slope[free]))
    df = fit.variance**2 / spread
    estimate, se = fit.estimate * scale, float(np.sqrt(fit.variance)) * scale
    half = float(stats.t.ppf(0.5 + LEVEL / 2, df)) * se
    p = float(2 * stats.t.sf(abs(estimate) / se, df))
    components = Components(*(float(each) for each in variances * scale**2))
    return Difference(
        arm, reference, counts, found.shape[1], estimate, se, df, p, estimate - half, estimate + half, components,
        len(folds),
    )  # fmt: skip


def likelihood(y: Floats, found: Floats, arms: Floats, variances: Floats) -> Fit:
    """The restricted likelihood of U units and R runs.

    With P the projection in y'Py and V_i the derivatives of the covariance, the gradient is tr(P V_i) - y'P V_i P y and
    the Hessian 2 y'P V_i P V_j P y - tr(P V_i P V_j) (Searle, Casella & McCulloch 1992, Variance Components, 6.6). Here
    P = A - A S K S'A with A the units' inverse blocks, and T = S'A S is their sum.

    Args:
        y: `(U, R)` scores, 0 where missing.
        found: `(U, R)` 1, or 0 where missing.
        arms: `(R, 2)` 1 where the run is of the arm.
        variances: `(4,)`, the error's above 0.
    """
    seed, unit, arm_unit, error = variances
    identity = np.eye(len(arms))
    parts = [np.ones_like(identity), arms @ arms.T, identity]
    # Units that lack the same runs share a block: few differ, mostly.
    patterns, of, count = np.unique(found, axis=0, return_inverse=True, return_counts=True)
    both = patterns[:, :, None] * patterns[:, None, :]
    block = np.where(both > 0, unit * parts[0] + arm_unit * parts[1] + error * parts[2], identity)
    inverse = np.linalg.inv(block) * both
    total = _sum(inverse, count)
    shrunk = np.linalg.inv(identity + seed * total)
    precision = arms.T @ total @ shrunk @ arms
    covariance = np.linalg.inv(precision)
    inner = seed * shrunk + shrunk @ arms @ covariance @ arms.T @ shrunk

    weighted = _times(inverse[of], y)
    sums = weighted.sum(axis=0)
    residual = weighted - (inverse @ (inner @ sums))[of]
    logarithms = [np.linalg.slogdet(each)[1] for each in (block, identity + seed * total, precision)]
    squares = (y * weighted).sum() - sums @ inner @ sums
    deviance = float(count @ logarithms[0] + logarithms[1] + logarithms[2] + squares)

    # Of the unit's, the arm x unit's and the error's variance: A V_i by block, and S'A V_i A S.
    by_block = [inverse @ part for part in parts]
    middles = [_sum(each @ inverse, count) for each in by_block]
    rest = identity - total @ inner
    seen = rest @ total
    traces = [float(np.trace(seen))]
    traces += [float(np.trace(_sum(a, count)) - np.sum(inner * m)) for a, m in zip(by_block, middles, strict=True)]
    moved = [np.broadcast_to(residual.sum(axis=0), residual.shape), *(residual @ part for part in parts)]
    gradient = np.array(traces) - np.array([float((residual * each).sum()) for each in moved])

    pulled = [_times(inverse[of], each) for each in moved]
    ends = np.stack([each.sum(axis=0) for each in pulled])
    quadratic = np.array([[float((a * b).sum()) for b in pulled] for a in moved]) - ends @ inner @ ends.T
    products = np.empty((4, 4))
    products[0, 0] = np.sum(seen**2)
    for i, (a, m) in enumerate(zip(by_block, middles, strict=True), 1):
        products[0, i] = products[i, 0] = np.sum((rest @ m) * rest)
        for j, (b, o) in enumerate(zip(by_block, middles, strict=True), 1):
            product = a @ b
            crossed = np.sum(inner * _sum(product @ inverse, count).T)
            products[i, j] = np.trace(_sum(product, count)) - 2 * crossed + np.trace(inner @ m @ inner @ o)

    contrast = np.array([1.0, -1.0])
    weights = (inverse @ (shrunk @ arms @ covariance @ contrast))[of]
    slope = [float((weights.sum(axis=0) ** 2).sum())] + [float(((weights @ part) * weights).sum()) for part in parts]
    return Fit(
        deviance, gradient, 2 * quadratic - products, products, float(contrast @ covariance @ arms.T @ shrunk @ sums),
        float(contrast @ covariance @ contrast), np.array(slope),
    )  # fmt: skip


def _of_folds(parts: Sequence[tuple[Floats, Floats, Floats]], variances: Floats) -> Fit:
    """The likelihood of folds, each with its scores, which of them are found, and runs' arms."""
    total = sum(len(y) for y, _, _ in parts)
    fits = []
    for y, found, arms in parts:
        runs = found.any(axis=0)
        fits.append((len(y) / total, likelihood(y[:, runs], found[:, runs], arms[runs], variances)))
    return Fit(
        sum(fit.deviance for _, fit in fits),
        np.sum([fit.gradient for _, fit in fits], axis=0),
        np.sum([fit.hessian for _, fit in fits], axis=0),
        np.sum([fit.information for _, fit in fits], axis=0),
        sum(share * fit.estimate for share, fit in fits),
        sum(share**2 * fit.variance for share, fit in fits),
        np.sum([share**2 * fit.slope for share, fit in fits], axis=0),
    )


def _maximise(parts: Sequence[tuple[Floats, Floats, Floats]], what: str) -> tuple[Floats, Fit]:
    """The best variances, and the likelihood there; scores of `_of_folds` have a mean square of 1.

    Steps are Newton's where the Hessian allows it, else Fisher's, halved until the deviance falls; none leads below 0.
    """
    variances = np.array([0.05, 0.5, 0.1, 0.3])
    fit = _of_folds(parts, variances)
    for _ in range(200):
        step = _step(fit, variances, what)
        if fit.gradient @ step < CONVERGED:
            return variances, fit
        length = 1.0
        while length > 1e-9:
            moved = np.maximum(variances - length * step, 0.0)
            moved[ERROR] = max(moved[ERROR], 0.1 * variances[ERROR])
            after = _of_folds(parts, moved)
            if after.deviance <= fit.deviance + CONVERGED:
                break
            length /= 2
        variances, fit = moved, after
        if variances[ERROR] < LOWEST:
            raise ValueError(f"runs of {what} differ in nothing but their means; expected an error to estimate")
    raise ValueError(f"the mixed model of {what} does not converge: variances {variances}, gradient {fit.gradient}")


def _step(fit: Fit, variances: Floats, what: str) -> Floats:
    """Step to subtract from the variances, leaving out those at 0 that would fall further."""
    free = (variances > 0) | (fit.gradient < 0)
    while True:
        step = np.zeros(4)
        step[free] = np.linalg.solve(_curvature(fit, free, what), fit.gradient[free])
        falling = free & (variances == 0) & (step > 0)
        if not falling.any():
            return step
        free &= ~falling


def _curvature(fit: Fit, free: npt.NDArray[np.bool_], what: str) -> Floats:
    """The Hessian by some of the variances, or what is expected of it where the deviance isn't convex."""
    at = np.ix_(free, free)
    size = np.sqrt(np.diag(fit.information)[free])
    if np.linalg.eigvalsh(fit.information[at] / np.outer(size, size))[0] < CONFOUNDED:
        names = ", ".join(name for name, here in zip(NAMES, free, strict=True) if here)
        raise ValueError(f"cells of {what} are too sparse to tell the variances apart of: {names}")
    scaled = fit.hessian[at] / np.outer(size, size)
    chosen: Floats = fit.hessian[at] if np.linalg.eigvalsh(scaled)[0] > CONFOUNDED else fit.information[at]
    return chosen


def _times(blocks: Floats, vectors: Floats) -> Floats:
    product: Floats = np.einsum("krs,ks->kr", blocks, vectors)
    return product


def _sum(blocks: Floats, count: npt.NDArray[np.int64]) -> Floats:
    """Over units, of a block for each pattern."""
    total: Floats = np.tensordot(count.astype(np.float64), blocks, 1)
    return total
