"""How large is a difference? In units of the spread of scores, and as the chance that an arm wins."""

import numpy as np
from scipy import stats

from analysis.layout import Floats, Layout
from analysis.mrmc import Difference
from analysis.resampling import pair


def standardised(difference: Difference) -> float:
    """A difference over the standard deviation of the difference of two new runs on one new unit.

    d = estimate / sqrt(2 (seed + arm_unit + error)), with the components of `analysis.mrmc`, taken as 0 where their
    estimates are negative: Cohen's d for a pair of single scores, one of a new run of each arm. That units are
    harder or easier for both isn't in it. Of crossed seeds, the two runs share their seed.

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


def superiority(layout: Layout, arm: str, reference: str) -> float:
    """Chance that a new run of the arm scores above a new run of the reference on a new unit; ties count half.

    Mean over units of Mann-Whitney's U of the two arms' seeds, over the number of pairs. 0.5 says that neither wins.
    Exact for units that count equally: a unit's value is moved towards the run's mean where it has few images
    (`analysis.layout.Layout`).

    Args:
        layout: complete for both arms; one seed is enough.
        arm: its name.
        reference: the name of the other.

    Raises:
        ValueError: cells are missing.
    """
    return float(_placements(*pair(layout, arm, reference))[0].mean())


def superiority_error(layout: Layout, arm: str, reference: str) -> float:
    """Standard error of `superiority` on new units and new seeds, from the first-order terms of the U-statistic.

    As for the difference (`analysis.mrmc`): an arm's seeds vary by their mean share of wins, units by theirs beyond
    what seed x unit errors explain, V = s1² / r1 + s2² / r2 + max(D - e1² / r1 - e2² / r2, 0) / U. A share of wins
    near 0 or 1 isn't normal: don't take 1.96 of these as an interval there.

    Returns:
        NaN where an arm has one seed or there are too few units.

    Raises:
        ValueError: cells are missing.
    """
    sides = _placements(*pair(layout, arm, reference))
    freedom, units = layout.freedom, len(layout.units)
    if min(len(side) for side in sides) < 2 or freedom < 1:
        return float("nan")
    seeds, errors = 0.0, 0.0
    for side in sides:
        count, by_seed = len(side), side.mean(axis=1, keepdims=True)
        left = side - by_seed - side.mean(axis=0) + side.mean()
        seeds += float(by_seed.var(ddof=1)) / count
        errors += float((left**2).sum()) / ((count - 1) * freedom) / count
    by_unit = sides[0].mean(axis=0)
    among = float(((by_unit - by_unit.mean()) ** 2).sum()) / freedom
    return float(np.sqrt(seeds + max(among - errors, 0.0) / units))


def _placements(ours: Floats, theirs: Floats) -> tuple[Floats, Floats]:
    """Share of the other arm's seeds that each score beats or, for the reference, is beaten by; `(seeds, units)`.

    By ranks within units: a score's rank among all, less its rank in its own arm, is how many of the other's it beats.
    """
    rounded = np.round(np.concatenate([ours, theirs]), 12)  # float error doesn't break ties
    ranks, count = stats.rankdata(rounded, axis=0), len(ours)
    wins = (ranks[:count] - stats.rankdata(rounded[:count], axis=0)) / len(theirs)
    losses = 1 - (ranks[count:] - stats.rankdata(rounded[count:], axis=0)) / count
    return wins, losses
