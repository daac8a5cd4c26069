"""Expected variance of a planned difference: from variance components to the terms of V and their degrees of freedom.

With the components of `analysis.stats.mrmc` (s² among seeds, a² arm x unit, e² the rest), K folds with r seeds each and
U units in all, the variance of two arms' difference is expected to be

    V = A1 + A2 + B,    A = (s² + e² K / U) / (K r),    B = 2 a² / U,

with K (r - 1) degrees of freedom of each A, and U - K of B. One split is K = 1, and U its test units. The arms can
differ in s² and e², and in r. Where seeds are crossed there is one A, twice as large, with K (r - 1). With one seed in
each of three folds or more there is no estimate of A: V is then estimated by how the folds differ, with K - 1.

Folds are as large as each other here, and networks of all folds vary by their seeds as those of the pilot do, although
the more folds, the more images they train on.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.scores.score_matrix import Floats
from analysis.stats.freedom import cautious, satterthwaite
from analysis.stats.mrmc import FEWEST_FOLDS, Components

Pilot = Components | tuple[Components, Components]
"""Variance components of a pilot; a pair, the arm's and the reference's, where seeds and errors of the two differ."""

MANY = 1e6
"""Degrees of freedom of any number of seeds."""


@dataclass(frozen=True)
class Expected:
    """Expected variance of a difference, of one design or of an array of designs."""

    parts: Floats
    """`(..., n)` independent terms of the variance."""
    freedoms: Floats
    """`(..., n)` their degrees of freedom."""

    @property
    def variance(self) -> Floats:
        """`(...)`"""
        return np.asarray(self.parts.sum(axis=-1))

    @property
    def freedom(self) -> Floats:
        """`(...)` degrees of freedom of the estimated variance, by Satterthwaite."""
        return satterthwaite(self._share, self.freedoms)

    @property
    def tested_freedom(self) -> Floats:
        """`(...)` degrees of freedom that the test works with; fewer, as it is cautious about arms of unlike seeds."""
        share, freedoms = np.broadcast_arrays(self._share, self.freedoms)
        if share.shape[-1] < 3:
            return self.freedom
        # Designs of equal degrees of freedom at once. How many fewer they are hardly changes where there are many: in
        # steps of two digits.
        step = 10.0 ** np.maximum(np.floor(np.log10(freedoms)) - 1, 0)
        rows, of_row = np.unique((np.round(freedoms / step) * step).reshape(-1, 3), axis=0, return_inverse=True)
        flat, fewer = share.reshape(-1, 3), np.empty(len(of_row))
        for place, row in enumerate(rows):
            here = of_row == place
            fewer[here] = cautious(flat[here], row.tolist()) / satterthwaite(flat[here], row.tolist())
        return self.freedom * fewer.reshape(share.shape[:-1])

    @property
    def _share(self) -> Floats:
        """Shares of the terms, which are far from the smallest floats even where variances aren't."""
        total = self.variance[..., None]
        equal = np.where(np.arange(self.parts.shape[-1]) < self.parts.shape[-1] - 1, 1.0, 0.0)
        return np.divide(self.parts, total, out=np.broadcast_to(equal, self.parts.shape).copy(), where=total > 0)


def expected(
    pilot: Pilot,
    seeds: npt.ArrayLike,
    units: npt.ArrayLike,
    *,
    reference_seeds: npt.ArrayLike | None = None,
    folds: npt.ArrayLike = 1,
    crossed: bool = False,
) -> Expected:
    """What a design's variance is expected to be, all arguments but the pilot being broadcast.

    Args:
        pilot: variance components; those below 0 count as 0.
        seeds: an arm and fold: 2 or more, or 1 in three folds or more; infinity is the limit of many.
        units: that are tested, in all folds together.
        reference_seeds: of the reference, if not as many.
        folds: 1 is one split.
        crossed: whether seeds are crossed, `pilot` being of a test of pairs.

    Raises:
        ValueError: too few seeds, fewer than two units in a fold.
    """
    r, k, n = (np.asarray(each, dtype=np.float64) for each in (seeds, folds, units))
    others = r if reference_seeds is None else np.asarray(reference_seeds, dtype=np.float64)
    r, others, k, n = np.broadcast_arrays(r, others, k, n)
    _check(r, others, k, n)
    arms = pilot if isinstance(pilot, tuple) else (pilot, pilot)
    by_seeds = [
        (max(arm.seed, 0.0) + max(arm.error, 0.0) * k / n) / (k * count)
        for arm, count in zip(arms, (r, others), strict=True)
    ]
    by_units = sum(max(arm.arm_unit, 0.0) for arm in arms) / n
    spare = [np.minimum(k * (count - 1), MANY) for count in (r, others)]
    if crossed:
        by_seeds, spare = [by_seeds[0] + by_seeds[1]], [spare[0]]
    # One seed in each fold: one estimate of all terms together, which are put under the first.
    alone = np.minimum(r, others) < 2
    terms = [*by_seeds, by_units]
    terms[0], terms[1:] = np.where(alone, np.sum(terms, axis=0), terms[0]), [np.where(alone, 0, t) for t in terms[1:]]
    freedoms = [np.where(alone, k - 1, each) for each in spare]
    return Expected(np.stack(terms, axis=-1), np.stack([*freedoms, n - k], axis=-1))


def _check(seeds: Floats, others: Floats, folds: Floats, units: Floats) -> None:
    fewest = np.minimum(seeds, others)
    if not (folds >= 1).all():
        raise ValueError(f"folds: {folds.min():g}; expected 1 or more")
    if not ((fewest >= 2) | ((fewest >= 1) & (folds >= FEWEST_FOLDS))).all():
        raise ValueError(
            f"seeds an arm: {fewest.min():g}; expected 2 or more, or 1 in each of {FEWEST_FOLDS} folds or more"
        )
    if not (units >= 2 * folds).all():
        raise ValueError(f"units: {units.min():g}; expected 2 or more in each fold")
