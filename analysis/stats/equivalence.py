"""Is an arm as good as another? Two one-sided tests against a margin that was declared beforehand."""

import math
from dataclasses import dataclass

from scipy import stats

from analysis.stats.mrmc import Difference
from metaseg.schema import ALPHA


@dataclass(frozen=True)
class Equivalence:
    """The claim that a difference lies within a margin of 0, on new units and new seeds."""

    p: float
    """Of the two one-sided tests the larger: the arms are equivalent at 5 % where it is below 0.05, which is where the
    interval lies within the margin. NaN where there is no test."""
    margin: float
    low: float
    """90 % interval of the difference."""
    high: float


def equivalence(difference: Difference, margin: float) -> Equivalence:
    """Test whether two arms differ by less than a margin (TOST; Schuirmann 1987, J Pharmacokinet Biopharm 15:657).

    The null hypothesis is that the expected difference is -margin or less, or +margin or more. That a difference isn't
    significant is no evidence of it being small; this is.

    Args:
        difference: with its standard error on new units and new seeds, and degrees of freedom.
        margin: the largest difference that wouldn't matter, in the score's unit; declared before looking.

    Raises:
        ValueError: the margin isn't a finite number above 0.
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
