"""Effect size: standardised difference (Cohen's d) and probability of superiority."""

import numpy as np
from scipy import stats

from analysis.scores.score_matrix import Floats, ScoreMatrix
from analysis.stats.mrmc import Difference
from analysis.stats.resampling import pair


def standardised(difference: Difference) -> float:
    """Standardised effect size (Cohen's d) for one run of each arm on the same new unit.

    d = estimate / sqrt(2 (seed + arm_unit + error)), with the components of `analysis.stats.mrmc`, taken as 0 where
    their estimates are negative. Differences in difficulty that both arms share don't enter. With crossed seeds, the
    two runs share their seed.

    Returns:
        NaN where components can't be estimated; infinite where scores don't vary, 0 where they don't differ either.
    """
    parts = difference.components
    if parts is None:
        return float("nan")
    variance = 2 * sum(max(part, 0.0) for part in (parts.seed, parts.arm_unit, parts.error))
    if variance <= 1e-24:  # float error of equal runs
        return 0.0 if abs(difference.estimate) < 1e-12 else float(np.copysign(np.inf, difference.estimate))
    return float(difference.estimate / np.sqrt(variance))


def superiority(matrix: ScoreMatrix, arm: str, reference: str) -> float:
    """Probability that a new run of the arm scores above a new run of the reference on a new unit; ties count half.

    Mean over units, by their weights, of Mann-Whitney's U of the two arms' seeds, over the number of pairs. 0.5 says
    that neither wins. Where units are groups of images, it is about their means.

    Args:
        matrix: complete for both arms; one seed is enough.
        arm: its name.
        reference: the name of the other.

    Raises:
        ValueError: cells are missing.
    """
    return float(_placements(*pair(matrix, arm, reference))[0].mean(axis=0) @ matrix.weights)


def _placements(ours: Floats, theirs: Floats) -> tuple[Floats, Floats]:
    """Share of the other arm's seeds that each score beats or, for the reference, is beaten by; `(seeds, units)`.

    By ranks within units: a score's rank among all, less its rank in its own arm, is how many of the other's it beats.
    """
    rounded = np.round(np.concatenate([ours, theirs]), 12)  # float error doesn't break ties
    ranks, count = stats.rankdata(rounded, axis=0), len(ours)
    wins = (ranks[:count] - stats.rankdata(rounded[:count], axis=0)) / len(theirs)
    losses = 1 - (ranks[count:] - stats.rankdata(rounded[count:], axis=0)) / count
    return wins, losses
