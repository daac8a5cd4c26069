"""Does an arm help some subgroups more? The arm x subgroup interaction, and the spread of true differences.

In subgroup g, y = mu_ag + seed_aj + (seed x subgroup)_ajg + unit_k + (arm x unit)_ak + e_ajk: a run's seed moves all
subgroups, and each of them by itself; units lie in one subgroup. The difference of two arms in subgroup g varies by

    h s² + v_g,    v_g = h q² + S_g² / n_g,    h = 1 / r1 + 1 / r2,

with s² and q² the variances of seed and seed x subgroup, S_g² the variance over the n_g units of the difference of
arms' means over seeds. h s² is shared by all subgroups, and falls out of what they differ by. q² is the mean square of
run x subgroup (of means) within arms less the share that units' errors have in it.

The test is Wald's F of G - 1 contrasts, scaled and with denominator degrees of freedom by Kenward & Roger's (1997,
Biometrics 53:983) moments, for a covariance that is linear in independent estimates q², S_1², ... With two subgroups
and no q² it is Welch's t test between units' differences; with q² alone, the analysis of variance's F of arm x subgroup
against run x subgroup.

Simulated at a nominal 5 %, 700 to 800 draws a regime, 2 to 7 subgroups of 10 to 75 units, 3 to 10 seeds, residual SD
0.01 or 0.02: 3.0 to 6.0 % false positives where seeds move subgroups by themselves (q 0.003 to 0.02) or arms units
(0.02), 4.7 % in the mean. Where neither does it is 2.5 to 4.1 %, as q² can't be estimated below 0, and with 5 to 10
units in all subgroups less.

q² is one for all subgroups: where it and the error grow with the number of units (q from 0 to 0.012, 10 to 75 units),
it is up to 9 % with 7 subgroups.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from analysis.scores.score_matrix import Floats, ScoreMatrix
from analysis.stats.mrmc import seed_unit_variance
from metaseg.schema import OVERALL

LEAST_UNITS = 5
"""A subgroup needs: with fewer than 4 degrees of freedom, a variance's estimate has no use as a weight."""


@dataclass(frozen=True)
class SubgroupDifference:
    """An arm minus another in a subgroup, by itself and drawn towards the others."""

    subgroup: str
    units: int
    estimate: float
    """Difference of mean scores."""
    se: float
    """On new units and new seeds, of the model above: q² and s² are of all subgroups."""
    shrunken: float
    """Best linear unbiased prediction of the true difference: the more noise there is, the nearer the mean."""
    shrunken_se: float
    """Root mean square error of the prediction, components taken for known: 1.96 of it cover some 90 %, not 95."""


@dataclass(frozen=True)
class Interaction:
    """How much an arm's difference from another differs among subgroups."""

    arm: str
    reference: str
    seeds: tuple[int, int]
    """Of the arm and of the reference, in all subgroups."""
    f: float
    """The statistic. NaN, as the p-value, the spread, errors and predictions, where an arm has one seed."""
    df_num: int
    """Subgroups - 1."""
    df_den: float
    p: float
    mean: float
    """The true differences' mean, by inverse variances."""
    spread: float
    """The true differences' standard deviation among subgroups: what is left after removing the sampling noise."""
    seed: float
    """s², the variance among seeds that all subgroups share."""
    seed_subgroup: float
    """q², the variance of seed x subgroup."""
    differences: tuple[SubgroupDifference, ...]


def interaction(matrices_by_subgroup: Mapping[str, ScoreMatrix], arm: str, reference: str) -> Interaction:
    """Test whether an arm's difference from another is equal in all subgroups.

    Runs are those with a score in all subgroups, seeds nested in arms. For the spread, true differences are draws from
    a distribution, as random slopes are; their variance is Paule & Mandel's (1982, J Res NBS 87:377).

    Args:
        matrices_by_subgroup: each class's subgroups, not the overall one, with their matrices.
        arm: its name.
        reference: the name of the other.

    Raises:
        ValueError: fewer than 2 subgroups; one of them is `OVERALL`, has fewer than `LEAST_UNITS` units, missing cells
            or a unit of another one; no run of an arm has all subgroups.
    """
    names = tuple(matrices_by_subgroup)
    _check(matrices_by_subgroup)
    matrices = tuple(matrices_by_subgroup.values())
    ours, theirs = (_shared(matrices_by_subgroup, name) for name in (arm, reference))
    counts = len(ours[0]), len(theirs[0])
    units = np.array([each.shape[1] for each in ours])
    changes = [a.mean(axis=0) - b.mean(axis=0) for a, b in zip(ours, theirs, strict=True)]
    estimates = np.array([change @ matrix.weights for change, matrix in zip(changes, matrices, strict=True)])
    if min(counts) < 2:
        nan = float("nan")
        alone = tuple(
            SubgroupDifference(name, int(n), float(each), nan, nan, nan)
            for name, n, each in zip(names, units, estimates, strict=True)
        )
        return Interaction(arm, reference, counts, nan, len(names) - 1, nan, nan, nan, nan, nan, nan, alone)
    h = 1 / counts[0] + 1 / counts[1]
    common = np.array([matrix.common(arm, reference) for matrix in matrices])
    filled = np.array([matrix.filled_share(arm, reference) for matrix in matrices])
    variances = _variances(ours, theirs, matrices, common, filled)
    noise = h * variances.seed_subgroup + variances.units
    f, df_den, p = _wald(estimates, noise, variances, h)
    spread = _spread(estimates, noise)
    mean, shrunken, errors = _shrink(estimates, noise, h * variances.seed, spread)
    columns = np.stack([estimates, np.sqrt(noise + h * variances.seed), shrunken, errors], axis=1)
    differences = tuple(
        SubgroupDifference(name, int(n), *row) for name, n, row in zip(names, units, columns.tolist(), strict=True)
    )
    return Interaction(
        arm, reference, counts, f, len(names) - 1, df_den, p, mean, float(np.sqrt(spread)), variances.seed,
        variances.seed_subgroup, differences,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Variances:
    """What the covariance of differences is made of, with the variances of these estimates."""

    seed: float
    seed_subgroup: float
    seed_subgroup_variance: float
    units: Floats
    """`(G,)` S_g² / n_g."""
    units_variance: Floats
    """`(G,)`"""


def _check(matrices: Mapping[str, ScoreMatrix]) -> None:
    if len(matrices) < 2 or OVERALL in matrices:
        raise ValueError(f"subgroups are {list(matrices)}; expected 2 or more, without {OVERALL}")
    of: dict[str, str] = {}
    for subgroup, matrix in matrices.items():
        if matrix.size < LEAST_UNITS:
            raise ValueError(f"{subgroup} has {matrix.size:.3g} units; expected {LEAST_UNITS}, or leave it out")
        for unit in matrix.units:
            if unit in of:
                raise ValueError(f"unit {unit} is in {of[unit]} and in {subgroup}; expected units of one subgroup")
            of[unit] = subgroup


def _shared(matrices: Mapping[str, ScoreMatrix], arm: str) -> list[Floats]:
    """`(seeds, units)` values of each subgroup, of an arm's seeds that all have."""
    seeds = {subgroup: matrix.seeds_of(arm) if arm in matrix.arms else () for subgroup, matrix in matrices.items()}
    shared = sorted(set.intersection(*(set(each) for each in seeds.values())))
    if not shared:
        raise ValueError(f"no run of {arm} has all subgroups: seeds are {seeds}")
    values = []
    for subgroup, matrix in matrices.items():
        rows = matrix.of(arm)[[seeds[subgroup].index(seed) for seed in shared]]
        if np.isnan(rows).any():
            raise ValueError(f"{arm} has no score of some unit of {subgroup}; expected complete data")
        values.append(rows)
    return values


def _variances(
    ours: list[Floats], theirs: list[Floats], matrices: Sequence[ScoreMatrix], common: Floats, filled: Floats
) -> _Variances:
    """From values of each subgroup, `(seeds, units)`; scores that are filled in don't vary (`analysis.stats.mrmc`)."""
    subgroups = len(ours)
    freedom = np.array([matrix.freedom for matrix in matrices]) * common
    f_runs = len(ours[0]) + len(theirs[0]) - 2
    # (runs, G) means, centred within arms: their covariance is s² J + q² I + diag(errors).
    means = [
        np.stack([each @ matrix.weights for each, matrix in zip(arm, matrices, strict=True)], axis=1)
        for arm in (ours, theirs)
    ]
    centred = np.concatenate([each - each.mean(axis=0) for each in means])
    covariance = centred.T @ centred / f_runs
    apart = np.eye(subgroups) - 1 / subgroups
    square = float(np.sum(apart * covariance)) / (subgroups - 1)
    pairs = list(zip(ours, theirs, matrices, strict=True))
    errors = np.array([seed_unit_variance([a, b], each) for a, b, each in pairs]) / f_runs / (1 - filled) ** 2
    q = max(square - float(errors.mean()), 0.0)
    inside = apart @ np.diag(q + errors)
    square_variance = 2 * float(np.sum(inside * inside.T)) / (f_runs * (subgroups - 1) ** 2)
    errors_variance = 2 * errors**2 / (f_runs * freedom) / subgroups**2
    shared = float((covariance.sum() - np.trace(covariance)) / (subgroups * (subgroups - 1)))
    by_unit = np.array([float(each.variance(a.mean(axis=0) - b.mean(axis=0))) for a, b, each in pairs]) / common**2
    return _Variances(
        max(shared, 0.0), q, square_variance + float(errors_variance.sum()) if q else 0.0, by_unit,
        2 * by_unit**2 / freedom,
    )  # fmt: skip


def _wald(estimates: Floats, noise: Floats, variances: _Variances, h: float) -> tuple[float, float, float]:
    """F, its denominator's freedom and p: Kenward & Roger's moments of d' (L C L')^-1 d / l, l = G - 1."""
    contrasts = len(estimates) - 1
    if noise.max() <= 1e-24:  # float error of equal runs
        equal = bool(np.ptp(estimates) < 1e-12)
        return (0.0 if equal else float("inf")), float("inf"), float(equal)
    weights = 1 / np.maximum(noise, 1e-9 * noise.max())
    # L'(L C L')^-1 L of any G - 1 contrasts L; C is h q² I + diag(units).
    precision = np.diag(weights) - np.outer(weights, weights) / weights.sum()
    statistic = float(estimates @ precision @ estimates) / contrasts
    of = np.concatenate([[variances.seed_subgroup_variance], variances.units_variance])
    firsts = np.concatenate([[h * np.trace(precision)], np.diag(precision)])
    seconds = np.concatenate([[h**2 * np.sum(precision**2)], np.diag(precision) ** 2])
    # The estimate of q² has errors' mean squares in it; those of S_g² are independent of them.
    a1, a2 = float(of @ firsts**2), float(of @ seconds)
    scale, df = _kenward_roger(a1, a2, contrasts)
    if a2 >= contrasts or not df > 2:
        # Too few units and seeds for these moments: as if the covariance had what freedom its estimate has.
        scale, df = 1.0, max(2 * contrasts / a2, 1.0)
    return scale * statistic, df, float(stats.f.sf(scale * statistic, contrasts, df))


def _kenward_roger(a1: float, a2: float, contrasts: int) -> tuple[float, float]:
    """What to multiply F by, and its denominator's freedom: the names are theirs."""
    if contrasts == 1:  # the limit of what follows, which is 0 / 0 at 2 degrees of freedom
        return 1.0, 2 / a2
    b = (a1 + 6 * a2) / (2 * contrasts)
    g = ((contrasts + 1) * a1 - (contrasts + 4) * a2) / ((contrasts + 2) * a2)
    below = 3 * contrasts + 2 * (1 - g)
    c1, c2, c3 = g / below, (contrasts - g) / below, (contrasts + 2 - g) / below
    expected = 1 / (1 - a2 / contrasts)
    variance = 2 / contrasts * (1 + c1 * b) / ((1 - c2 * b) ** 2 * (1 - c3 * b))
    ratio = variance / (2 * expected**2)
    df = 4 + (contrasts + 2) / (contrasts * ratio - 1)
    return df / (expected * (df - 2)), df


def _spread(estimates: Floats, noise: Floats) -> float:
    """The variance of true differences: with it, their weighted sum of squares is what G - 1 degrees expect."""

    def excess(variance: float) -> float:
        weights = 1 / (noise + variance)
        mean = float(weights @ estimates) / float(weights.sum())
        return float(weights @ (estimates - mean) ** 2) - (len(estimates) - 1)

    least = 1e-9 * max(float(noise.max()), 1e-24)
    if excess(least) <= 0:
        return 0.0
    most = float(np.sum((estimates - estimates.mean()) ** 2)) + least
    return float(optimize.brentq(excess, least, most, xtol=1e-18))


def _shrink(estimates: Floats, noise: Floats, shared: float, spread: float) -> tuple[float, Floats, Floats]:
    """The mean, the predictions and the roots of their mean squared errors (Henderson 1975, Biometrics 31:423)."""
    ones, size = np.ones(len(estimates)), len(estimates)
    floor = 1e-9 * max(float(noise.max()), shared, 1e-15)
    inverse = np.linalg.inv(np.diag(np.maximum(noise + spread, floor)) + shared)
    variance = 1 / float(ones @ inverse @ ones)
    mean = variance * float(ones @ inverse @ estimates)
    gain = spread * inverse
    left = ones - gain @ ones
    errors = np.diag(spread * (np.eye(size) - gain) + variance * np.outer(left, left))
    return mean, mean + gain @ (estimates - mean), np.sqrt(np.maximum(errors, 0.0))
