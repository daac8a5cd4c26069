"""Bootstrap interval of two arms' difference, without assuming normally distributed scores.

It complements `analysis.stats.mrmc`, the primary test, as do permutations (`analysis.stats.permutation`). Everything is
vectorised over draws, in blocks of bounded memory.
"""

from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.random import Generator
from scipy import stats

from analysis.scores.score_matrix import Floats, ScoreMatrix
from analysis.stats.mrmc import LEVEL, difference
from analysis.stats.seed_variance import crossed_readers, fold_cells, means_by_fold, readers
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


def bootstrap(
    matrix: ScoreMatrix, arm: str, reference: str, generator: Generator, draws: int = 4999, seeds: Seeds = "nested"
) -> Interval:
    """95 % bootstrap confidence interval of an arm's difference on new units and new seeds.

    Seeds are resampled within arms (and folds), and units. The difference is taken as its mean, plus each arm's seed
    effects, plus the units' effects: the terms of first order. Each is reweighted by itself, a unit's weight being the
    same in both arms:

    - Few seeds need two corrections. A plain bootstrap of r seeds has a variance (r - 1) / r of what it should be:
      deviations are rescaled (Rao & Wu 1988, J Am Stat Assoc 83:231). And it has few distinct values: weights are
      continuous, gamma(4) over their sum, whose first three moments are about the multinomial's.
    - Resampling rows and columns of the table itself (the pigeonhole bootstrap; Owen 2007, Ann Appl Stat 1:386) counts
      the seed x unit variance three times: too wide by up to 1.7, with a coverage of 99-100 % where that variance
      dominates. Here it is counted once, within the seeds' effects, and the units' effects are shrunk to what they
      have beyond it: the draws have the variance of `analysis.stats.mrmc`.
    - Quantiles of a known variance are too near for an estimated one: their distance from the estimate is multiplied
      by t / z, with the degrees of freedom of the main test (Hesterberg 2015, Am Stat 69:371,
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
    variances = (*found.seed_variances, found.case_variance)
    if sum(variances) <= 1e-24:  # float error of equal runs
        return Interval(found.estimate, found.estimate, 0.0, "percentile")
    parts = _effects(matrix, arm, reference, seeds, variances)
    drawn = np.sum([_reweighted(each, freedom, generator, draws) for each, freedom in parts], axis=0)

    z = np.asarray(stats.norm.ppf([0.5 - LEVEL / 2, 0.5 + LEVEL / 2]))
    corrected = min(found.seeds) >= BCA_FROM[0] and found.units >= BCA_FROM[1]
    levels = stats.norm.cdf(_bca(z, drawn, [each for each, _ in parts]) if corrected else z)
    wider = stats.t.ppf(0.5 + LEVEL / 2, found.df) / z[1]
    low, high = found.estimate + wider * np.quantile(drawn, levels)
    return Interval(float(low), float(high), float(drawn.std(ddof=1)), "bca" if corrected else "percentile")


def _effects(
    matrix: ScoreMatrix, arm: str, reference: str, seeds: Seeds, variances: tuple[float, float, float]
) -> list[tuple[Floats, float]]:
    """Centred effects on the difference of each sample: seeds of an arm in a fold, units; and its degrees of freedom.

    Args:
        matrix: of scores.
        arm: its name.
        reference: the other's.
        seeds: their design.
        variances: what the seeds of both arms and the units contribute to the difference's variance.
    """
    arms = (crossed_readers if seeds == "crossed" else readers)(matrix, arm, reference)
    samples = means_by_fold(matrix, arms)
    if seeds == "crossed":
        groups = [([ours - theirs for ours, theirs in samples], variances[0] + variances[1])]
    else:
        groups = [([each[0] for each in samples], variances[0]), ([-each[1] for each in samples], variances[1])]
    cells = fold_cells(matrix)
    moved = cells.deviations(arms[0].by_unit - arms[1].by_unit)
    # On the scale on which the mean of squares, over freedom, is the variance of the mean difference.
    groups.append(([moved * np.sqrt(cells.freedom * len(moved))], variances[2]))
    parts = []
    for effects, variance in groups:
        centred = [each - each.mean() for each in effects if len(each) > 1]
        freedoms = [len(each) - 1.0 for each in centred] if effects is not groups[-1][0] else [cells.freedom]
        known = sum(float(each @ each) / len(each) / free for each, free in zip(centred, freedoms, strict=True))
        # Where units vary by errors alone nothing is left of them; a fold with one seed is as the others are.
        factor = np.sqrt(variance / known) if known > 0 else 0.0
        parts += [(each * factor, free) for each, free in zip(centred, freedoms, strict=True)]
    return parts


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
