"""Degrees of freedom of a sum of estimated variances, and how to be cautious about them.

Satterthwaite's (1946, Biometrics Bull 2:110) are V² / sum(part² / f) for V = sum(part), with estimates in place of the
parts. That fails where parts of few degrees of freedom matter: by chance such a part is estimated too low, its share in
V falls, and the degrees of freedom rise just when V is too low and t too large. Two arms of 10 and 3 seeds are called
different in up to 7.7 % of draws at a nominal 5 %, and those of 10 and 2 seeds in 13 %.

The cautious degrees of freedom are the fewest over plausible shares: each part in turn is taken as what it would be had
it been underestimated at its q-quantile, that is times f / chi2(q; f), and V itself stays. The fewer degrees of freedom
a part has, the lower is its q: 0.45 - 0.2 / f. This rule was chosen by simulation: false positives stay at 6 % or below
for any ratio of the arms' SDs and 2 to 50 seeds (`docs/results/calibration/unlike_seeds.md`).
"""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from analysis.scores.score_matrix import Floats

QUANTILE, FEW = 0.45, 0.2


def satterthwaite(parts: Floats, freedoms: Sequence[float]) -> Floats:
    """Degrees of freedom of the sum of `(..., n)` parts that have `freedoms`; `(...)`, NaN where all are 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(parts.sum(axis=-1) ** 2 / (parts**2 / np.asarray(freedoms)).sum(axis=-1))


def cautious(parts: Floats, freedoms: Sequence[float]) -> Floats:
    """The fewest degrees of freedom over shares of the parts that are plausible.

    Args:
        parts: `(..., n)` variances of independent terms: of the seeds of one arm or two, and of units.
        freedoms: of the n.

    Returns:
        `(...)`

    Example:
        >>> parts = np.array([4.0, 4.0, 2.0])
        >>> satterthwaite(parts, [2, 2, 74]).round(2), cautious(parts, [2, 2, 74]).round(2)
        (np.float64(6.23), np.float64(4.57))
    """
    fewest = satterthwaite(parts, freedoms)
    for place, freedom in enumerate(freedoms):
        grown = parts.copy()
        grown[..., place] *= growth(freedom)
        fewest = np.fmin(fewest, satterthwaite(grown, freedoms))
    return fewest


def growth(freedom: float) -> float:
    """Factor by which a part may plausibly exceed its estimate."""
    quantile = max(QUANTILE - FEW / freedom, 0.0)
    # Between units of very unequal size less than one degree of freedom is left.
    return max(freedom / max(float(stats.chi2.ppf(quantile, freedom)), 1e-3 * freedom), 1.0)
