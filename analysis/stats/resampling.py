"""Bootstrap and permutation tests of two arms' difference, without assuming normally distributed scores.

They complement `analysis.stats.mrmc`, the primary test. Everything is vectorised over draws, in blocks of bounded
memory.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from math import comb, nan

import numpy as np
from numpy.random import Generator
from scipy import stats

from analysis.scores.score_matrix import Floats, ScoreMatrix
from analysis.stats.mrmc import LEVEL, difference
from metaseg.schema import Seeds

BCA_FROM = 10, 30
"""Seeds of each arm, and units, from which the interval is corrected for bias and acceleration (BCa)."""

BLOCK = 2**22
"""Numbers held at a time: 32 MiB."""

SHAPE = 4.0
"""Shape of the gamma weights: 4 gives the first three moments of the multinomial (Weng 1989, Ann Stat 17:705)."""


@dataclass(frozen=True)
class Interval:
    """95 % bootstrap confidence interval of a difference of mean scores."""

    low: float
    high: float
    se: float
    """Standard deviation of the draws."""
    method: str
    """bca, percentile, or none where an arm has one seed or there are too few units; the rest is NaN then."""


@dataclass(frozen=True)
class Permutation:
    """Result of a two-sided permutation test."""

    p: float
    """NaN, as `smallest`, where there is no test."""
    smallest: float
    """Smallest p-value that the design allows, whatever the scores, ties aside."""
    exact: bool
    """True if all relabellings were counted."""


def bootstrap(
    matrix: ScoreMatrix, arm: str, reference: str, generator: Generator, draws: int = 4999, seeds: Seeds = "nested"
) -> Interval:
    """95 % bootstrap confidence interval of an arm's difference on new units and new seeds.

    Seeds are resampled within arms, and units. The difference is taken as its mean, plus each arm's seed effects, plus
    the units' effects: the terms of first order. Each is reweighted by itself, a unit's weight being the same in both
    arms:

    - Few seeds need two corrections. A plain bootstrap of r seeds has a variance (r - 1) / r of what it should be:
      deviations are rescaled (Rao & Wu 1988, J Am Stat Assoc 83:231). And it has few distinct values: weights are
      continuous, gamma(4) over their sum, whose first three moments are about the multinomial's.
    - Resampling rows and columns of the table itself (the pigeonhole bootstrap; Owen 2007, Ann Appl Stat 1:386) counts
      the seed x unit variance three times: too wide by up to 1.7, with a coverage of 99-100 % where that variance
      dominates. Here it is counted once, within the seeds' effects, and the units' effects are shrunk to what they
      have beyond it, as in `analysis.stats.mrmc`: the draws have the variance of the split-plot test, with each arm's
      own variance among seeds.
    - Quantiles of a known variance are too near for an estimated one: their distance from the estimate is multiplied
      by t / z, with Welch's and Satterthwaite's degrees of freedom of the parts (Hesterberg 2015, Am Stat 69:371,
      widens percentile intervals to the same end).

    Where each arm has 10 seeds and there are 30 units, quantiles are BCa (Efron 1987, J Am Stat Assoc 82:171) with the
    acceleration of all first-order influences, of both arms' seeds and of units, which for a mean are the jackknife's.
    With fewer, skewness can't be estimated; correcting for it gained at most 1 % of coverage and cost up to 3 %:
    the interval is the percentile one.

    Coverage, simulated with 2, 3, 5 and 10 seeds an arm and 10, 30, 75 and 300 units, 400 times each (so +-2 %), image
    SD 0.05, arm x image 0.01, residual 0.02: 93-97 % with seed SD 0.003 and with 0.012. With seed SD 0.012 and all
    terms as skewed as an exponential, 91-98 %. It falls short where few images gain much and most nothing (a gain of
    skewness 2.8 in one arm, SD 0.03; 300 times): with 10 units 94, 89 and 87 % for 3, 5 and 10 seeds, with 30 units
    95, 94 and 90 %, with 75 units 96, 94 and 93 %. And with 3 seeds against 10 (10 and 75
    units, 300 times): 91-96 %. That 2 and 3 seeds are covered at all rests on t quantiles, hence on seeds' means being
    roughly normal: no resampling can learn their shape from so few. The sizes for BCa were chosen on these simulations.

    Args:
        matrix: complete for both arms.
        arm: its name.
        reference: the name of the other.
        generator: draws depend on nothing else.
        draws: how many.
        seeds: nested; or crossed, where a seed shared by both arms is one reader, resampled once for both.

    Raises:
        ValueError: cells are missing.
    """
    found = difference(matrix, arm, reference, seeds)
    if found.components is None:
        return Interval(nan, nan, nan, "none")
    readers, cases = _effects(matrix, arm, reference, seeds)
    squares = float(cases @ cases) / matrix.freedom
    share = max(2 * found.components.arm_unit, 0.0) / squares if squares > 0 else 0.0
    parts = [(each, len(each) - 1) for each in readers] + [(cases * np.sqrt(share), matrix.freedom)]
    variances = np.array([float(each @ each) / len(each) / freedom for each, freedom in parts])
    if variances.sum() <= 1e-24:  # float error of equal runs
        return Interval(found.estimate, found.estimate, 0.0, "percentile")
    freedom = variances.sum() ** 2 / np.sum(variances**2 / [freedom for _, freedom in parts])
    drawn = np.sum([_reweighted(each, freedom, generator, draws) for each, freedom in parts], axis=0)

    z = np.asarray(stats.norm.ppf([0.5 - LEVEL / 2, 0.5 + LEVEL / 2]))
    corrected = min(found.seeds) >= BCA_FROM[0] and found.units >= BCA_FROM[1]
    levels = stats.norm.cdf(_bca(z, drawn, [each for each, _ in parts]) if corrected else z)
    wider = stats.t.ppf(0.5 + LEVEL / 2, freedom) / z[1]
    low, high = found.estimate + wider * np.quantile(drawn, levels)
    return Interval(float(low), float(high), float(drawn.std(ddof=1)), "bca" if corrected else "percentile")


def permutation(matrix: ScoreMatrix, arm: str, reference: str, generator: Generator, draws: int = 9999) -> Permutation:
    """Permutation test that exchanges whole runs between the two arms.

    It is conditional on the test images: it asks whether other seeds could have made the difference *on these images*,
    not whether it holds on new ones. The other half is `sign_flip`. The variance that the joint test of
    `analysis.stats.mrmc` estimates is, in the mean, at least the larger of these two tests' and at most their sum.

    The statistic is Welch's |t| between the runs' means. For arms of equally many runs it orders relabellings as the
    plain difference does. For others the plain difference finds arms unequal that only spread unequally; studentised,
    it is exact where runs are exchangeable and right in the limit where just their means are equal (Janssen 1997, Stat
    Probab Lett 36:9; Chung & Romano 2013, Ann Stat 41:484).

    Args:
        matrix: complete for both arms.
        arm: its name.
        reference: the name of the other.
        generator: used where there are more relabellings than `draws`.
        draws: all relabellings are counted where they are no more than this; else p is (1 + b) / (1 + draws), b of
            `draws` random ones being as extreme (Phipson & Smyth 2010, Stat Appl Genet Mol Biol 9:39).

    Returns:
        With r seeds each, p is at least 2 / C(2 r, r): 0.33 for 2, 0.1 for 3, 0.029 for 4, 0.008 for 5 seeds.
        NaN where an arm has one seed.

    Raises:
        ValueError: cells are missing.
    """
    ours, theirs = pair(matrix, arm, reference)
    means = np.concatenate([ours @ matrix.weights, theirs @ matrix.weights])
    means -= means.mean()
    # Float error shouldn't decide ties.
    means = np.zeros(len(means)) if np.abs(means).max() < 1e-12 else means / np.abs(means).max()
    count, runs = len(ours), len(means)
    if min(count, runs - count) < 2:
        return Permutation(nan, nan, False)
    ways = comb(runs, count)
    exact = ways <= draws
    if exact:
        chosen = np.array(list(combinations(range(runs), count)))
    else:
        chosen = np.argsort(generator.random((draws, runs)), axis=1)[:, :count]
    own = np.zeros((len(chosen), runs))
    np.put_along_axis(own, chosen, 1.0, axis=1)
    observed = _welch(np.where(np.arange(runs) < count, 1.0, 0.0)[None], means)[0]
    extreme = int(np.sum(_welch(own, means) >= observed * (1 - 1e-9)))
    mirrored = 2 if 2 * count == runs else 1
    return _counted(extreme, exact, ways, mirrored, draws)


def sign_flip(matrix: ScoreMatrix, arm: str, reference: str, generator: Generator, draws: int = 9999) -> Permutation:
    """Sign-flip test of the units' differences, averaged over seeds.

    It is conditional on the networks: it asks whether *these* networks differ on new images, not whether networks of
    other seeds would. The other half is `permutation`. The statistic is the absolute mean; studentised it gives the
    same p, since flips leave the sum of squares as it is. Exact for differences that are symmetric around 0, of units
    that count equally; for units of unequal numbers of images it is right in the limit of many.

    Args:
        matrix: complete for both arms.
        arm: its name.
        reference: the name of the other.
        generator: used where there are more flips than `draws`, 2^units.
        draws: as for `permutation`.

    Returns:
        With n units, p is at least 2^(1 - n). NaN with one unit.

    Raises:
        ValueError: cells are missing.
    """
    ours, theirs = pair(matrix, arm, reference)
    changes = (ours.mean(axis=0) - theirs.mean(axis=0)) * matrix.weights * len(matrix.units)
    changes = np.where(np.abs(changes) < 1e-12, 0.0, changes)
    units = len(changes)
    if units < 2:
        return Permutation(nan, nan, False)
    ways = 2**units
    exact = ways <= draws
    limit = abs(changes.sum()) * (1 - 1e-9) - 1e-15

    def extreme(start: int, stop: int) -> int:
        if exact:
            flips = np.arange(start, stop)[:, None] >> np.arange(units) & 1
        else:
            flips = generator.integers(0, 2, (stop - start, units), dtype=np.int8)
        return int(np.sum(np.abs(changes.sum() - 2 * (flips @ changes)) >= limit))

    return _counted(_in_blocks(extreme, ways if exact else draws, units), exact, ways, 2, draws)


def pair(matrix: ScoreMatrix, arm: str, reference: str) -> tuple[Floats, Floats]:
    """`(seeds, units)` values of both arms.

    Raises:
        ValueError: cells are missing.
    """
    ours, theirs = matrix.of(arm), matrix.of(reference)
    if np.isnan(ours).any() or np.isnan(theirs).any():
        raise ValueError(f"{arm} or {reference} has no score of some unit; expected complete data")
    return ours, theirs


def _effects(matrix: ScoreMatrix, arm: str, reference: str, seeds: Seeds) -> tuple[list[Floats], Floats]:
    """Centred effects on the difference: of each sample of seeds, and of units."""
    ours, theirs = pair(matrix, arm, reference)
    if seeds == "crossed":
        keys = matrix.seeds_of(arm), matrix.seeds_of(reference)
        shared = sorted(set(keys[0]) & set(keys[1]))
        ours, theirs = ours[np.isin(keys[0], shared)], theirs[np.isin(keys[1], shared)]
        readers = [(ours - theirs) @ matrix.weights]
    else:
        readers = [ours @ matrix.weights, -theirs @ matrix.weights]
    # On the scale on which the mean of squares, over freedom, is the variance of the mean difference.
    moved = matrix.deviations(ours.mean(axis=0) - theirs.mean(axis=0))
    cases = moved * np.sqrt(matrix.freedom * len(moved))
    return [each - each.mean() for each in readers], cases - cases.mean()


def _reweighted(effects: Floats, freedom: float, generator: Generator, draws: int) -> Floats:
    """`(draws,)` weighted means of centred effects, with variance sum(effects²) / (freedom x their number)."""
    count, means = len(effects), np.empty(draws)
    rows = max(1, BLOCK // count)
    for start in range(0, draws, rows):
        weights = generator.standard_gamma(SHAPE, (min(rows, draws - start), count))
        means[start : start + rows] = weights @ effects / weights.sum(axis=1)
    # Weights over their sum are Dirichlet(4): the mean has variance sum(effects²) / (count (4 count + 1)).
    return means * float(np.sqrt((SHAPE * count + 1) / freedom))


def _bca(z: Floats, drawn: Floats, effects: list[Floats]) -> Floats:
    """Normal quantiles, moved for bias and acceleration (Efron 1987, equation 2.3; several samples)."""
    influence = np.concatenate([each / len(each) for each in effects])
    acceleration = np.sum(influence**3) / (6 * np.sum(influence**2) ** 1.5)
    below = (np.sum(drawn < 0) + 0.5 * np.sum(drawn == 0)) / len(drawn)
    moved: Floats = stats.norm.ppf(np.clip(below, 1 / len(drawn), 1 - 1 / len(drawn))) + z
    levels: Floats = moved - z + moved / (1 - acceleration * moved)
    return levels


def _welch(own: Floats, means: Floats) -> Floats:
    """|t| of runs' means, within -1 and 1, for each `(ways, runs)` choice: 1 for an arm's runs, 0 for the other's."""
    sides = own, 1 - own
    counts = [side.sum(axis=1) for side in sides]
    averages = [side @ means / count for side, count in zip(sides, counts, strict=True)]
    errors = [
        (side @ means**2 / count - average**2) / (count - 1)
        for side, count, average in zip(sides, counts, averages, strict=True)
    ]
    apart, error = np.abs(averages[0] - averages[1]), errors[0] + errors[1]
    error = np.where(error < 1e-12, 0.0, error)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic: Floats = np.where(apart < 1e-12, 0.0, apart / np.sqrt(error))
    return statistic


def _in_blocks(count: Callable[[int, int], int], draws: int, size: int) -> int:
    rows = max(1, BLOCK // size)
    return sum(count(start, min(start + rows, draws)) for start in range(0, draws, rows))


def _counted(extreme: int, exact: bool, ways: int, mirrored: int, draws: int) -> Permutation:
    if exact:
        return Permutation(extreme / ways, mirrored / ways, True)
    return Permutation((1 + extreme) / (1 + draws), max(1 / (1 + draws), mirrored / ways), False)
