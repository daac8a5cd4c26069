"""Does an arm help some subgroups more? The arm x subgroup interaction, and the spread of true differences.

In subgroup g, y = mu_ag + seed_aj + (seed x subgroup)_ajg + unit_k + (arm x unit)_ak + e_ajk: a run's seed moves all
subgroups, and each of them by itself; units lie in one subgroup. The differences of two arms in the subgroups have the
covariance

    sum_a (s_a² W_a + q_a² diag(W_a)) + diag(S_g² / n_g),    W_a = sum_f w_f w_f' / r_af,

with s_a² and q_a² the variances of seed and seed x subgroup of arm a, r_af its seeds in fold f, w_f the fold's shares
in the subgroups (`analysis.stats.seed_variance`), S_g² the variance over the n_g units of the difference of arms' means
over seeds. Without folds W_a is 1 / r_a throughout, so that s² is shared by all subgroups and falls out of what they
differ by; with folds it does so as far as they have the same shares in all subgroups. q_a² is the mean square of
run x subgroup (of means) within arm and fold less the share that units' errors have in it. Where folds are subgroups it
can't be told from s², and is the sum of both.

The test is Wald's F of G - 1 contrasts, scaled and with denominator degrees of freedom by Kenward & Roger's (1997,
Biometrics 53:983) moments, for a covariance that is linear in independent estimates. With two subgroups and no q² it is
Welch's t test between units' differences. As these moments take estimates for the truth, p is the largest over those
with one arm's mean square in turn as large as it plausibly is (`analysis.stats.degrees_of_freedom`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg, optimize, stats

from analysis.scores.score_matrix import Floats, ScoreMatrix
from analysis.stats.degrees_of_freedom import growth
from analysis.stats.mrmc import widening
from analysis.stats.seed_subgroup import SeedSubgroupPart, seed_subgroup_part
from analysis.stats.seed_variance import Readers, case_freedom, filled_share, fold_cells, in_common, readers_of, some
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
    """On new units and new seeds, of the model above: an arm's q² and s² are of all subgroups."""
    shrunken: float
    """Best linear unbiased prediction of the true difference: the more noise there is, the nearer the mean."""
    shrunken_se: float
    """Root mean square error of the prediction, components taken for known: 1.96 of it cover some 90 %, not 95."""


@dataclass(frozen=True)
class Interaction:
    """Arm x subgroup interaction: variation of the arms' difference among subgroups."""

    arm: str
    reference: str
    seeds: tuple[int, int]
    """Number of seeds of the arm and of the reference that all subgroups share."""
    f: float
    """The statistic. NaN, as the p-value, the spread, errors and predictions, where an arm has one seed (in each
    fold)."""
    df_num: int
    """Subgroups - 1."""
    df_den: float
    p: float
    mean: float
    """The true differences' mean, by inverse variances."""
    spread: float
    """The true differences' standard deviation among subgroups: what is left after removing the sampling noise."""
    seed: float
    """s², the variance among seeds that all subgroups share, mean of both arms'."""
    seed_subgroup: float
    """q², the variance of seed x subgroup, mean of both arms'."""
    differences: tuple[SubgroupDifference, ...]


def interaction(matrices_by_subgroup: Mapping[str, ScoreMatrix], arm: str, reference: str) -> Interaction:
    """Test whether an arm's difference from another is equal in all subgroups.

    Runs are those with a score in all subgroups, seeds nested in arms. For the spread, true differences are draws from
    a distribution, as random slopes are; their variance is Paule & Mandel's (1982, J Res NBS 87:377).

    Args:
        matrices_by_subgroup: each class's subgroups, not the overall one, with their matrices; a number of a fold is of
            the same fold in all of them.
        arm: its name.
        reference: the name of the other.

    Raises:
        ValueError: fewer than 2 subgroups; one of them is `OVERALL`, has fewer than `LEAST_UNITS` units, missing cells
            or a unit of another one; no run of an arm has all subgroups.
    """
    names = tuple(matrices_by_subgroup)
    _check(matrices_by_subgroup)
    matrices = tuple(matrices_by_subgroup.values())
    arms = [_shared(matrices_by_subgroup, name) for name in (arm, reference)]
    ours, theirs = zip(*(in_common(a, b) for a, b in zip(*arms, strict=True)), strict=True)
    counts = len(ours[0].values), len(theirs[0].values)
    units = np.array([len(matrix.units) for matrix in matrices])
    changes = [a.by_unit - b.by_unit for a, b in zip(ours, theirs, strict=True)]
    estimates = np.array([change @ matrix.weights for change, matrix in zip(changes, matrices, strict=True)])
    filled = np.array(
        [filled_share(each, matrix.weights) for *each, matrix in zip(ours, theirs, matrices, strict=True)]
    )
    parts = [seed_subgroup_part(matrices, each, filled) for each in (ours, theirs)]
    if (first := parts[0]) is None or (second := parts[1]) is None:
        nan = float("nan")
        alone = tuple(
            SubgroupDifference(name, int(n), float(each), nan, nan, nan)
            for name, n, each in zip(names, units, estimates, strict=True)
        )
        return Interaction(arm, reference, counts, nan, len(names) - 1, nan, nan, nan, nan, nan, nan, alone)
    cases = _cases(matrices, changes, [matrix.common(arm, reference) for matrix in matrices])
    covariance = first.covariance() + second.covariance() + np.diag(cases.variances)
    # Folds depend on each other: the covariance is wider, which for F is as if the estimates were smaller.
    tested = np.unique(np.concatenate([matrix.fold for matrix in matrices]))
    wider = widening(len(tested), max(len(tested), *(matrix.of_folds for matrix in matrices)))
    f, df_den, p = _wald(estimates / np.sqrt(wider), covariance, (first, second), cases)
    covariance *= wider
    spread = _spread(estimates, covariance)
    mean, shrunken, errors = _shrink(estimates, covariance, spread)
    columns = np.stack([estimates, np.sqrt(np.diag(covariance)), shrunken, errors], axis=1)
    differences = tuple(
        SubgroupDifference(name, int(n), *row) for name, n, row in zip(names, units, columns.tolist(), strict=True)
    )
    return Interaction(
        arm, reference, counts, f, len(names) - 1, df_den, p, mean, float(np.sqrt(spread)),
        (first.seed + second.seed) / 2, (first.seed_subgroup + second.seed_subgroup) / 2, differences,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Cases:
    """Variances of subgroups' differences on new units, S_g² / n_g, with the variances of these estimates."""

    variances: Floats
    uncertainty: Floats


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


def _shared(matrices: Mapping[str, ScoreMatrix], arm: str) -> list[Readers]:
    """An arm's seeds that all subgroups have, in each of them."""
    seeds = {subgroup: matrix.seeds_of(arm) if arm in matrix.arms else () for subgroup, matrix in matrices.items()}
    shared = sorted(set.intersection(*(set(each) for each in seeds.values())))
    if not shared:
        raise ValueError(f"no run of {arm} has all subgroups: seeds are {seeds}")
    values = []
    for subgroup, matrix in matrices.items():
        rows = [seeds[subgroup].index(seed) for seed in shared]
        if np.isnan(matrix.of(arm)[rows]).any():
            raise ValueError(f"{arm} has no score of some unit of {subgroup}; expected complete data")
        values.append(some(readers_of(matrix, arm), rows))
    return values


def _cases(matrices: Sequence[ScoreMatrix], changes: Sequence[Floats], common: Sequence[float]) -> _Cases:
    variances, freedom = [], []
    for matrix, change, share in zip(matrices, changes, common, strict=True):
        cells = fold_cells(matrix)
        # Scores that are filled in don't vary (`analysis.stats.mrmc`).
        variances.append(float(cells.variance(change)) / share**2)
        freedom.append(case_freedom(matrix, cells, change) * share)
    found = np.array(variances)
    return _Cases(found, 2 * found**2 / np.array(freedom))


def _wald(
    estimates: Floats, covariance: Floats, arms: tuple[SeedSubgroupPart, SeedSubgroupPart], cases: _Cases
) -> tuple[float, float, float]:
    """F, its denominator's freedom and p, which is the largest over plausible variances of the two arms."""
    if np.diag(covariance).max() <= 1e-24:  # float error of equal runs
        equal = bool(np.ptp(estimates) < 1e-12)
        return (0.0 if equal else float("inf")), float("inf"), float(equal)
    statistic = float(estimates @ _precision(covariance) @ estimates) / (len(estimates) - 1)
    grown = [arm.grown(growth(arm.freedom)) for arm in arms]
    found = []
    for first, second in (arms, (grown[0], arms[1]), (arms[0], grown[1])):
        scale, df = _reference((first, second), cases)
        found.append((scale * statistic, df, float(stats.f.sf(scale * statistic, len(estimates) - 1, df))))
    return max(found, key=lambda each: each[2])


def _reference(arms: tuple[SeedSubgroupPart, SeedSubgroupPart], cases: _Cases) -> tuple[float, float]:
    """Scale factor and denominator's freedom: Kenward & Roger's moments of d' (L C L')^-1 d / l, l = G - 1."""
    contrasts = len(cases.variances) - 1
    precision = _precision(sum((arm.covariance() for arm in arms), np.diag(cases.variances)))
    # The mean squares of arms have those of errors in them; those of units are independent of them.
    parts = [part for arm in arms for part in arm.terms()]
    moved = [(uncertainty, precision @ matrix) for uncertainty, matrix in parts]
    diagonal = np.diag(precision)
    a1 = sum(size * np.trace(each) ** 2 for size, each in moved) + float(cases.uncertainty @ diagonal**2)
    a2 = sum(size * np.sum(each * each.T) for size, each in moved) + float(cases.uncertainty @ diagonal**2)
    scale, df = _kenward_roger(float(a1), float(a2), contrasts)
    if a2 >= contrasts or not df > 2:
        # Too few units and seeds for these moments: as if the covariance had what freedom its estimate has.
        return 1.0, max(2 * contrasts / float(a2), 1.0)
    return scale, df


def _precision(covariance: Floats) -> Floats:
    """L'(L C L')^-1 L of any G - 1 contrasts L: what all subgroups share has no part in it."""
    size = len(covariance)
    contrasts = linalg.helmert(size)
    inside = contrasts @ covariance @ contrasts.T
    floor = 1e-9 * np.diag(inside).max() * np.eye(size - 1)
    return np.asarray(contrasts.T @ np.linalg.inv(inside + floor) @ contrasts)


def _kenward_roger(a1: float, a2: float, contrasts: int) -> tuple[float, float]:
    """Scale factor and denominator degrees of freedom of F (Kenward & Roger); variable names follow the paper."""
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


def _spread(estimates: Floats, covariance: Floats) -> float:
    """The variance of true differences: with it, their weighted sum of squares is what G - 1 degrees expect."""
    noise = float(np.diag(covariance).max())

    def excess(variance: float) -> float:
        precision = _precision(covariance + variance * np.eye(len(estimates)))
        return float(estimates @ precision @ estimates) - (len(estimates) - 1)

    least = 1e-9 * max(noise, 1e-24)
    if excess(least) <= 0:
        return 0.0
    most = float(np.sum((estimates - estimates.mean()) ** 2)) + least
    return float(optimize.brentq(excess, least, most, xtol=1e-18))


def _shrink(estimates: Floats, covariance: Floats, spread: float) -> tuple[float, Floats, Floats]:
    """The mean, the predictions and the roots of their mean squared errors (Henderson 1975, Biometrics 31:423)."""
    ones, size = np.ones(len(estimates)), len(estimates)
    floor = 1e-9 * max(float(np.diag(covariance).max()), 1e-15)
    inverse = np.linalg.inv(covariance + max(spread, floor) * np.eye(size))
    variance = 1 / float(ones @ inverse @ ones)
    mean = variance * float(ones @ inverse @ estimates)
    gain = spread * inverse
    left = ones - gain @ ones
    errors = np.diag(spread * (np.eye(size) - gain) + variance * np.outer(left, left))
    return mean, mean + gain @ (estimates - mean), np.sqrt(np.maximum(errors, 0.0))
