"""Equivalence of two arms: two one-sided tests (TOST) against a margin that was declared beforehand."""

import math
from dataclasses import dataclass

from scipy import stats

from analysis.stats.mrmc import Difference
from metaseg.schema import ALPHA


@dataclass(frozen=True)
class Equivalence:
    """The claim that a difference lies within a margin of 0, on new units and new seeds."""

    p: float
    """TOST p-value: the larger of the two one-sided p-values.

    Below 0.05 the arms are equivalent at the 5 % level; that is the case exactly where the interval lies within the
    margin. NaN if there is no test."""
    margin: float
    low: float
    """90 % confidence interval of the difference, `low` to `high`."""
    high: float


def equivalence(difference: Difference, margin: float) -> Equivalence:
    """Test whether two arms differ by less than a margin (TOST; Schuirmann 1987, J Pharmacokinet Biopharm 15:657).

    The null hypothesis is that the expected difference is -margin or less, or +margin or more. A difference that isn't
    significant is no evidence that the arms are equal; a small p-value of this test is.

    Args:
        difference: result of `analysis.stats.mrmc.difference`.
        margin: differences below it don't matter; in the unit of the score, declared beforehand.

    Raises:
        ValueError: the margin isn't a finite number above 0.

    Example:
        >>> from analysis import difference, equivalence, example_scores, score_matrices
        >>> matrix = next(matrix for _, _, matrix in score_matrices(example_scores()))
        >>> found = equivalence(difference(matrix, "sme", "baseline"), margin=0.05)
        >>> found.p < 0.01, round(found.low, 3), round(found.high, 3)
        (True, 0.013, 0.03)
    """
    if not (math.isfinite(margin) and margin > 0):
        raise ValueError(f"margin {margin} of {difference.arm} against {difference.reference}; expected it above 0")
    estimate, se, df = difference.estimate, difference.se, difference.df
    if math.isnan(se):
        return Equivalence(math.nan, margin, math.nan, math.nan)
    if se == 0:  # all runs equal on all units
        return Equivalence(0.0 if abs(estimate) < margin else 1.0, margin, estimate, estimate)
    # The two tests' larger p is that of the nearer end of the margin.
    p = float(stats.t.sf((margin - abs(estimate)) / se, df))
    half = float(stats.t.ppf(1 - ALPHA, df)) * se
    return Equivalence(p, margin, estimate - half, estimate + half)
