"""Expected variance of a planned difference, and what a test will estimate of it.

With the components of `analysis.stats.mrmc` (s² among seeds, a² arm x unit, e² the rest), K folds with r seeds each and
U units in all, the variance of two arms' difference is expected to be

    V = A1 + A2 + B,    A = (s² + e² K / U) / (K r),    B = 2 a² / U,

for K > 1 all times 1 + K / (K - 1), since folds depend on each other (`analysis.stats.mrmc`), with K (r - 1) degrees
of freedom of each A, and U - K of B, or U - 1 where folds have a single unit. One split
is K = 1, and U its test units. The arms can differ in s² and e², and in r. Where seeds are crossed there is one A,
twice as large, with K (r - 1). With one seed in each of three folds or more there is no estimate of A: V is then
estimated by how the folds differ, with K - 1. So it is where each fold is one unit.

Where scores are normal, the estimates of A1, A2 and B are chi-squared and independent of the estimated difference. What
the test makes of them, its standard error and degrees of freedom, is taken at `POINTS` points that fill the space of
these estimates evenly (Sobol 1967); chances are means over the points.

Folds are as large as each other here, and networks of all folds vary by their seeds as those of the pilot do, although
the more folds, the more images they train on.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats
from scipy.stats import qmc

from analysis.scores.score_matrix import Floats
from analysis.stats.degrees_of_freedom import cautious
from analysis.stats.mrmc import FEWEST_FOLDS, Components, widening

Pilot = Components | tuple[Components, Components]
"""Variance components of a pilot; a pair, the arm's and the reference's, where seeds and errors of the two differ."""

MANY = 1e6
"""Degrees of freedom of any number of seeds."""
POINTS = 1024


@dataclass(frozen=True)
class Design:
    """Expected variance of a difference, by its terms."""

    seeds: tuple[float, ...]
    """Variance of each arm's seeds, or of pairs."""
    units: float
    error: float
    """Part of the terms of seeds that is the errors' (seed x unit): the units' mean square has it, too."""
    seed_freedoms: tuple[float, ...]
    unit_freedom: float
    """0 where each fold is one unit."""
    alone: int = 0
    """Number of folds where each has one seed or one unit, else 0."""

    @property
    def variance(self) -> float:
        """V."""
        return sum(self.seeds) + self.units

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the test where all is estimated as expected."""
        if self.alone:
            return self.alone - 1
        if not self.variance:
            return sum(self.seed_freedoms)
        # Shares are far from the smallest floats even where variances aren't.
        share = np.array([*self.seeds, self.units]) / self.variance
        return float(cautious(share, (*self.seed_freedoms, self.unit_freedom)))

    def estimates(self) -> tuple[Floats, Floats]:
        """`(POINTS,)` standard errors, in units of the true one, and degrees of freedom that the test may find."""
        return _estimates(self)


@lru_cache(maxsize=256)
def _estimates(design: Design) -> tuple[Floats, Floats]:
    share = np.array([*design.seeds, design.units + design.error]) / (design.variance or 1.0)
    error = design.error / (design.variance or 1.0)
    if design.alone:
        among = _scaled(0, design.alone - 1)
        if design.unit_freedom:
            among = np.maximum(among, share[-1] * _scaled(1, design.unit_freedom))
        return np.sqrt(among), np.full(POINTS, design.alone - 1.0)
    freedoms = (*design.seed_freedoms, design.unit_freedom)
    parts = share * np.stack([_scaled(place, freedom) for place, freedom in enumerate(freedoms)], axis=-1)
    parts[:, -1] = np.maximum(parts[:, -1] - error, 0.0)
    return np.sqrt(parts.sum(axis=-1)), cautious(parts, freedoms)


@lru_cache(maxsize=512)
def _scaled(place: int, freedom: float) -> Floats:
    """`(POINTS,)` estimates of a variance of 1 with so many degrees of freedom."""
    return np.asarray(stats.chi2.ppf(_points()[:, place], freedom) / freedom)


@lru_cache(maxsize=1)
def _points() -> Floats:
    return np.asarray(qmc.Sobol(3, rng=np.random.default_rng(0)).random(POINTS))


def expected(
    pilot: Pilot,
    seeds: float,
    units: float,
    *,
    reference_seeds: float | None = None,
    folds: int = 1,
    crossed: bool = False,
) -> Design:
    """Compute the expected variance of a design.

    Args:
        pilot: variance components; those below 0 count as 0.
        seeds: an arm and fold: 2 or more, or 1 in three folds or more; infinity is the limit of many.
        units: that are tested, in all folds together.
        reference_seeds: of the reference, if not as many.
        folds: 1 is one split.
        crossed: whether seeds are crossed, `pilot` being of a test of pairs.

    Raises:
        ValueError: too few seeds, fewer than two units, or than folds.
    """
    counts = (seeds, seeds if reference_seeds is None else reference_seeds)
    if folds < 1:
        raise ValueError(f"folds: {folds:g}; expected 1 or more")
    if not (min(counts) >= 2 or (min(counts) >= 1 and folds >= FEWEST_FOLDS)):
        raise ValueError(
            f"seeds an arm: {min(counts):g}; expected 2 or more, or 1 in each of {FEWEST_FOLDS} folds or more"
        )
    if not units >= max(folds, 2):
        raise ValueError(f"units: {units:g}; expected {max(folds, 2)} or more")
    arms = pilot if isinstance(pilot, tuple) else (pilot, pilot)
    errors = [max(arm.error, 0.0) / units / count for arm, count in zip(arms, counts, strict=True)]
    by_seeds = [
        max(arm.seed, 0.0) / (folds * count) + error for arm, count, error in zip(arms, counts, errors, strict=True)
    ]
    by_units = sum(max(arm.arm_unit, 0.0) for arm in arms) / units
    spare = [min(folds * (count - 1), MANY) for count in counts]
    if crossed:
        by_seeds, spare = [sum(by_seeds)], spare[:1]
    one_out = folds >= FEWEST_FOLDS and units <= folds
    wider = widening(folds, folds)
    return Design(
        tuple(wider * each for each in by_seeds),
        wider * by_units,
        wider * sum(errors),
        tuple(spare),
        0.0 if one_out else units - folds if units >= 2 * folds else units - 1,
        folds if one_out or min(counts) < 2 else 0,
    )
