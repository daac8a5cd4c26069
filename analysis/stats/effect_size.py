"""Effect size: standardised difference (Cohen's d) and probability of superiority."""

import numpy as np
from scipy import stats

from analysis.scores.score_matrix import Floats, ScoreMatrix
from analysis.stats.mrmc import Difference
from analysis.stats.seed_variance import readers


def standardised(difference: Difference) -> float:
    """Standardised effect size (Cohen's d) for one run of each arm on the same new unit.

    d = estimate / sqrt(2 (seed + arm_unit + error)), with the variance components of `analysis.stats.mrmc`, negative
    estimates taken as 0. The variance among units, which both arms share, isn't in it. If seeds are crossed, the two
    runs share their seed.

    Returns:
        NaN if the components can't be estimated; if scores don't vary, 0 for equal arms and infinity for others.

    Example:
        >>> from analysis import difference, example_scores, score_matrices, standardised
        >>> matrix = next(matrix for _, _, matrix in score_matrices(example_scores()))
        >>> round(standardised(difference(matrix, "sme", "baseline")), 2)
        0.67
    """
    parts = difference.components
    if parts is None:
        return float("nan")
    variance = 2 * sum(max(part, 0.0) for part in (parts.seed, parts.arm_unit, parts.error))
    if variance <= 1e-24:  # float error of equal runs
        return 0.0 if abs(difference.estimate) < 1e-12 else float(np.copysign(np.inf, difference.estimate))
    return float(difference.estimate / np.sqrt(variance))


def superiority(matrix: ScoreMatrix, arm: str, reference: str) -> float:
    """Probability of superiority: chance that a new run of the arm beats one of the reference on a new unit.

    Ties count half, and 0.5 says that neither wins. The estimate is Mann-Whitney's U of the two arms' seeds, divided by
    the number of pairs, averaged over units by their weights; pairs are of networks of one fold. If units are groups of
    images, it is about their means.

    Args:
        matrix: complete for both arms; one seed is enough.
        arm: name of the arm.
        reference: name of the arm it is compared with.

    Raises:
        ValueError: cells are missing.

    Example:
        >>> from analysis import example_scores, score_matrices, superiority
        >>> matrix = next(matrix for _, _, matrix in score_matrices(example_scores()))
        >>> round(superiority(matrix, "sme", "baseline"), 2)
        0.73
    """
    ours, theirs = readers(matrix, arm, reference)
    won = 0.0
    for fold in np.unique(matrix.fold[ours.known]):
        here = matrix.fold == fold
        both = [each.values[:, here][each.measured[:, here].any(axis=1)] for each in (ours, theirs)]
        won += float(_placements(*both)[0].mean(axis=0) @ matrix.weights[here])
    return won / float(matrix.weights[ours.known].sum()) if ours.known.any() else float("nan")


def _placements(ours: Floats, theirs: Floats) -> tuple[Floats, Floats]:
    """Share of the other arm's seeds that each score beats or, for the reference, is beaten by; `(seeds, units)`.

    By ranks within units: a score's rank among all, less its rank in its own arm, is how many of the other's it beats.
    """
    rounded = np.round(np.concatenate([ours, theirs]), 12)  # float error doesn't break ties
    ranks, count = stats.rankdata(rounded, axis=0), len(ours)
    wins = (ranks[:count] - stats.rankdata(rounded[:count], axis=0)) / len(theirs)
    losses = 1 - (ranks[count:] - stats.rankdata(rounded[count:], axis=0)) / count
    return wins, losses
