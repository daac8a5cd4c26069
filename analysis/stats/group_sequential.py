"""Group-sequential boundaries: how small p must be at each look so that all looks together err at the stated level.

An estimate at looks k = 1 .. K, with information I_k = 1 / V_k, has independent increments in information: its
statistic Z_k sqrt(I_k) is a Brownian motion at time I_k (Jennison & Turnbull 2000, Group Sequential Methods,
chapter 11). At information fraction t = I_k / I_K the looks up to k may have spent so much of a two-sided level alpha
(Lan & DeMets 1983, Biometrika 70:659):

    spent(t) = 4 (1 - Phi(z / sqrt(t))),    z the upper alpha / 4 quantile,

which is next to nothing at first, as O'Brien and Fleming's (1979, Biometrics 35:549) boundary spends it. The boundary
at look k is what spends the rest of spent(t_k), found by integrating over the paths that crossed none before (Armitage,
McPherson & Rowe 1969, J R Stat Soc A 132:235).

Boundaries are two-sided and symmetric; one at level 2 alpha is, on one side, one of level alpha: the chance to cross it
there after having crossed the other side is below 1e-6 for alpha up to 0.05.
"""

from math import sqrt

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

Floats = npt.NDArray[np.float64]

MOST = 0.6
"""Largest level at which boundaries are nested: what is found at a level is found at every larger one."""

SMALLEST = 1e-12
"""Smallest sequential p-value that is told from 0."""

NODES = 60
"""Nodes of the integration over half of a symmetric density."""

LEAST_STEP = 0.01
"""Information of two looks is taken to differ by this share at least, so that nodes resolve its increments. Where it
differs by less, the boundary is a little too high."""

FARTHEST = 8.0
"""A boundary of which nothing is left to spend, as a standard normal deviate: a chance of 1e-15."""

BISECTIONS, NEWTONS = 10, 4
"""Steps that find a boundary, to about 1e-12."""


def spent(fractions: npt.ArrayLike, alpha: npt.ArrayLike) -> Floats:
    """The part of a two-sided level that looks up to an information fraction may have spent.

    Args:
        fractions: 0..1. Broadcast with `alpha`.
        alpha: two-sided level, 0..1.

    Example:
        >>> spent([0.2, 0.6, 1.0], 0.05).round(5).tolist()
        [0.0, 0.00762, 0.05]
    """
    t, level = np.broadcast_arrays(np.asarray(fractions, np.float64), np.asarray(alpha, np.float64))
    with np.errstate(divide="ignore"):
        return np.asarray(4 * special.ndtr(special.ndtri(level / 4) / np.sqrt(t)))


def nominal_levels(fractions: npt.ArrayLike, alpha: npt.ArrayLike, information: npt.ArrayLike | None = None) -> Floats:
    """Two-sided levels of the single looks: a p-value at or below its look's level is a finding at level `alpha`.

    Args:
        fractions: `(..., looks)` of which `spent` tells what may be spent; ascending, 0..1. Levels of a look don't
            depend on later ones.
        alpha: `(...)` two-sided level of all looks together.
        information: `(..., looks)` of looks, on any scale, above 0, where it isn't in proportion to `fractions`: tells
            how estimates of different looks are correlated.

    Returns:
        `(..., looks)`

    Raises:
        ValueError: fractions outside 0..1, or that fall, or information that isn't above 0 or falls.

    Example:
        Of five equally spaced looks, as in Lan and DeMets' tables: |z| above 4.877, 3.357, 2.680, 2.290, 2.031.

        >>> from scipy import stats
        >>> stats.norm.isf(nominal_levels([0.2, 0.4, 0.6, 0.8, 1.0], 0.05) / 2).round(3).tolist()
        [4.877, 3.357, 2.68, 2.29, 2.031]
    """
    t = np.asarray(fractions, np.float64)
    if not ((t > 0) & (t <= 1)).all() or (np.diff(t, axis=-1) < 0).any():
        raise ValueError(f"information fractions are {t.tolist()}; expected 0 to 1, ascending")
    known = t if information is None else np.broadcast_to(np.asarray(information, np.float64), t.shape)
    if not (known > 0).all() or (np.diff(known, axis=-1) < 0).any():
        raise ValueError(f"information is {known.tolist()}; expected it above 0, ascending")
    level = np.broadcast_to(np.asarray(alpha, np.float64), t.shape[:-1])
    spending = np.diff(spent(t, level[..., None]), axis=-1, prepend=0.0)
    ends = np.empty(t.shape)
    ends[..., 0] = np.minimum(-special.ndtri(spending[..., 0] / 2), FARTHEST)
    time = known[..., 0]
    nodes, weights = _nodes(ends[..., 0] * np.sqrt(time))
    mass = weights * 2 * _normal(nodes / np.sqrt(time)[..., None]) / np.sqrt(time)[..., None]
    for look in range(1, t.shape[-1]):
        later = np.maximum(known[..., look], time * (1 + LEAST_STEP))
        step, scale = np.sqrt(later - time)[..., None], np.sqrt(later)
        ends[..., look] = _end(nodes / step, mass, spending[..., look], scale / step[..., 0])
        if look + 1 < t.shape[-1]:
            to, weights = _nodes(ends[..., look] * scale)
            nodes, mass, time = to, weights * _moved(nodes, mass, to, step), later
    return np.asarray(2 * special.ndtr(-ends))


def _nodes(end: Floats) -> tuple[Floats, Floats]:
    """Gauss-Legendre nodes and weights on 0 to `end`, `(..., NODES)`."""
    x, weights = np.polynomial.legendre.leggauss(NODES)
    return end[..., None] * (x + 1) / 2, end[..., None] * weights / 2


def _normal(z: Floats) -> Floats:
    return np.asarray(np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi))


def _moved(nodes: Floats, mass: Floats, to: Floats, step: Floats) -> Floats:
    """Density of |B| at `to`, one increment of SD `step` after it had `mass` at nodes."""
    near, far = ((to[..., :, None] + sign * nodes[..., None, :]) / step[..., None] for sign in (-1, 1))
    return np.asarray(((_normal(near) + _normal(far)) * mass[..., None, :]).sum(axis=-1) / step)


def _end(at: Floats, mass: Floats, spending: Floats, scale: Floats) -> Floats:
    """The standardised end that is crossed with chance `spending`.

    Args:
        at: where |B| was, in increments' SDs.
        mass: of these places.
        spending: the chance that is left to this look.
        scale: SD of B in increments' SDs.
    """
    low, high = np.zeros(scale.shape), np.full(scale.shape, FARTHEST)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        end = (middle * scale)[..., None]
        crossed = ((special.ndtr(at - end) + special.ndtr(-at - end)) * mass).sum(axis=-1)
        low, high = np.where(crossed > spending, middle, low), np.where(crossed > spending, high, middle)
    middle = low  # from where Newton's steps in the logarithm don't overshoot
    for _ in range(NEWTONS):
        end = (middle * scale)[..., None]
        crossed = ((special.ndtr(at - end) + special.ndtr(-at - end)) * mass).sum(axis=-1)
        slope = -scale * ((_normal(at - end) + _normal(at + end)) * mass).sum(axis=-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            step = np.log(spending / crossed) * crossed / slope
        middle = np.clip(np.where(np.isfinite(step), middle + step, high), low, high)
    return np.asarray(middle)


def sequential_p(fractions: npt.ArrayLike, p: npt.ArrayLike, information: npt.ArrayLike | None = None) -> float:
    """The smallest level at which one of the looks so far would have been a finding.

    It is the sequential p-value of Liu and Anderson (2008, J Am Stat Assoc 103:1660), which holds whatever the reason
    to stop, and never rises from look to look.

    Args:
        fractions: `(looks,)` of the looks so far, as in `nominal_levels`.
        p: `(looks,)` two-sided p-values at them.
        information: `(looks,)`, as in `nominal_levels`.

    Returns:
        1 where it is above `MOST`, `SMALLEST` where it is below.

    Example:
        >>> round(sequential_p([0.2, 0.4], [0.3, 0.0001]), 3), round(sequential_p([1.0], [0.03]), 3)
        (0.021, 0.03)
    """
    t, values = np.asarray(fractions, np.float64), np.asarray(p, np.float64)
    known = t if information is None else np.asarray(information, np.float64)
    values = np.maximum(values, SMALLEST)

    def excess(log_alpha: float) -> float:
        return float(np.max(np.log(nominal_levels(t, np.exp(log_alpha), known)) - np.log(values)))

    low, high = np.log(SMALLEST), np.log(MOST)
    if excess(high) < 0:
        return 1.0
    return float(np.exp(optimize.brentq(excess, low, high, xtol=1e-7))) if excess(low) < 0 else SMALLEST


def chance_to_decide(estimate: float, now: float, then: float, margin: float, alpha: float) -> float:
    """Chance that a look at which the variance is `then` shows a difference, or that there is none beyond the margin.

    Its estimate is about normal around the present one, with variance `now` less `then`, if nothing else is known.
    Tests are taken for those of one look with known variance, which they can't be better than.
    """
    spread, se = sqrt(max(now - then, 0.0)) + 1e-12, sqrt(then)
    differs, equal = special.ndtri(1 - alpha / 2) * se, margin - special.ndtri(1 - alpha) * se
    chance = special.ndtr((-differs - estimate) / spread) + special.ndtr((estimate - differs) / spread)
    if equal > 0:
        inside = min(equal, differs)  # beyond it the arms differ, which is counted
        chance += special.ndtr((inside - estimate) / spread) - special.ndtr((-inside - estimate) / spread)
    return float(min(chance, 1.0))
