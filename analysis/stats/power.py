"""What more seeds or units would buy: from a pilot's variance components to power, and the difference that is found.

With the components of `analysis.stats.mrmc` (s² among seeds, a² arm x unit, e² the rest), r seeds an arm and U units,
the expected variance of an arm's difference from another, and the degrees of freedom of its test, are

    V = A + B,    A = 2 / r (s² + e² / U),    B = 2 a² / U,    df = V² / (A² / (2 (r - 1)) + B² / (U - 1)),

and the test statistic of a true difference d has about a noncentral t distribution with df degrees of freedom and
noncentrality d / sqrt(V) (Hillis, Obuchowski, Berbaum 2011, Acad Radiol 18:129). Seeds lower A, and only units lower B:
where B alone is too large, no number of seeds will do.

A pilot's components are estimates: of few seeds, rough ones. Those below 0 count as 0. The test's own df are estimated
from its data, these are of expected values: at three seeds, and even more at two, power read here is a little off.
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import optimize, stats

from analysis.scores.score_matrix import Floats
from analysis.stats.mrmc import Components
from metaseg.schema import ALPHA

Counts = npt.NDArray[np.int64]

POWER = 0.8
"""The chance of finding a difference that designs are asked for."""
MOST_SEEDS = 100
"""An arm; more are called out of reach."""
MOST_UNITS = 10_000
MANY_SEEDS = 10
"""An arm, for which `plan` tells how many units would do."""


def expected_se(components: Components, seeds: npt.ArrayLike, units: npt.ArrayLike) -> Floats:
    """Standard error of the difference of two arms on new units and new seeds.

    Args:
        components: of a pilot.
        seeds: an arm, 2 or more; infinity is the limit of many.
        units: 2 or more. Broadcast with `seeds`.

    Returns:
        An array of the shape of both.

    Raises:
        ValueError: fewer than two seeds or units.
    """
    by_seeds, by_units = _variances(components, seeds, units)
    return np.sqrt(by_seeds + by_units)


def power(
    components: Components, seeds: npt.ArrayLike, units: npt.ArrayLike, effect: npt.ArrayLike, alpha: float = ALPHA
) -> Floats:
    """Chance, in 0..1, that p < alpha where the expected scores differ by `effect`, of either sign.

    It needn't grow with units where seeds are few: the fewer units, the more of the test's df come from units. Other
    arguments, returns and raises as of `expected_se`.
    """
    by_seeds, by_units = _variances(components, seeds, units)
    variance = by_seeds + by_units
    df = _freedom(by_seeds, by_units, seeds, units)
    effect = np.abs(np.asarray(effect, dtype=np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = np.where(variance > 0, effect / np.sqrt(variance), np.where(effect > 0, np.inf, 0.0))
    return _found(shift, df, alpha)


def detectable(components: Components, seeds: float, units: float, power: float = POWER, alpha: float = ALPHA) -> float:
    """The smallest difference that p < alpha finds with chance `power`, in units of the score.

    Raises:
        ValueError: as `expected_se`; or power isn't between alpha and 1.
    """
    if not alpha < power < 1:
        raise ValueError(f"power is {power}; expected a value between alpha, {alpha}, and 1")
    by_seeds, by_units = _variances(components, seeds, units)
    if not by_seeds + by_units:
        return 0.0
    df = _freedom(by_seeds, by_units, seeds, units)
    top = 1.0
    while _found(np.array(top), df, alpha) < power:
        top *= 2
    shift = optimize.brentq(lambda x: float(_found(np.array(x), df, alpha)) - power, 0.0, top)
    return float(shift * np.sqrt(by_seeds + by_units))


def seeds_needed(
    components: Components, effect: float, units: int, power: float = POWER, alpha: float = ALPHA
) -> int | None:
    """The least number of seeds an arm that finds `effect` with chance `power` on so many units.

    None where `MOST_SEEDS` don't.
    """
    return _first(np.arange(2, MOST_SEEDS + 1), lambda seeds: _power(components, seeds, units, effect, alpha) >= power)


def units_needed(
    components: Components, effect: float, seeds: int, power: float = POWER, alpha: float = ALPHA
) -> int | None:
    """The least number of units on which so many seeds an arm find `effect` with chance `power`.

    None where `MOST_UNITS` don't.
    """
    return _first(np.arange(2, MOST_UNITS + 1), lambda units: _power(components, seeds, units, effect, alpha) >= power)


def power_table(
    components: Components, seeds: tuple[int, ...] = (2, 3, 5, 10, 20), units: tuple[int, ...] = (30, 75, 300)
) -> pd.DataFrame:
    """Designs beside each other.

    Returns:
        A row for each number of units and seeds, with columns units, seeds (an arm), se, df and detectable: the
        difference found with chance 0.8 at p < 0.05, in units of the score.
    """
    designs = pd.MultiIndex.from_product([units, seeds], names=["units", "seeds"]).to_frame(index=False)
    r, n = designs["seeds"].to_numpy(), designs["units"].to_numpy()
    return designs.assign(
        se=expected_se(components, r, n),
        df=_freedom(*_variances(components, r, n), r, n),
        detectable=[detectable(components, *design) for design in zip(r, n, strict=True)],
    )


def plan(components: Components, effect: float, seeds: int, units: int, noun: str = "images") -> str:
    """What a design finds, and what would find `effect`, in plain sentences.

    Args:
        components: of a pilot.
        effect: the difference that is looked for, in units of the score; its sign doesn't matter.
        seeds: an arm; one is allowed here.
        units: 2 or more.
        noun: what units are called.
    """
    effect = abs(effect)
    if seeds < 2:
        sentences = [
            f"With one seed an arm significance is out of reach: no number of {noun} tells a difference between arms "
            "from one between seeds."
        ]
    else:
        least = detectable(components, seeds, units)
        sentences = [
            f"With {seeds} seeds an arm and {units} {noun}, a difference of {_up(least)} or more is found 4 times in 5."
        ]
        if least <= effect:
            return sentences[0]
    needed = seeds_needed(components, effect, units)
    if needed is not None:
        return " ".join([*sentences, f"To find {effect:.2g}, {needed} seeds an arm would do."])
    if power(components, math.inf, units, effect) >= POWER:
        sentences.append(f"To find {effect:.2g}, more than {MOST_SEEDS} seeds an arm are needed.")
    else:
        floor = detectable(components, math.inf, units)
        sentences.append(
            f"No number of seeds finds {effect:.2g}: {units} {noun} alone, on which arms differ by chance, hide "
            f"differences below {_up(floor)}."
        )
    more = units_needed(components, effect, MANY_SEEDS)
    sentences.append(
        f"With {MANY_SEEDS} seeds an arm, {more} {noun} would do."
        if more is not None
        else f"With {MANY_SEEDS} seeds an arm, {MOST_UNITS} {noun} wouldn't do either."
    )
    return " ".join(sentences)


_power = power
"""For functions of which a parameter has this name."""


def _variances(components: Components, seeds: npt.ArrayLike, units: npt.ArrayLike) -> tuple[Floats, Floats]:
    """A and B of the module's docstring."""
    r, n = np.asarray(seeds, dtype=np.float64), np.asarray(units, dtype=np.float64)
    for name, values in (("seeds an arm", r), ("units", n)):
        if not (values >= 2).all():
            raise ValueError(f"{name}: {values.min():g}; expected 2 or more")
    seed, arm_unit, error = (max(part, 0.0) for part in (components.seed, components.arm_unit, components.error))
    by_seeds, by_units = np.broadcast_arrays(2 / r * (seed + error / n), 2 * arm_unit / n)
    return by_seeds, by_units


def _freedom(by_seeds: Floats, by_units: Floats, seeds: npt.ArrayLike, units: npt.ArrayLike) -> Floats:
    """Degrees of freedom; where nothing varies, those of seeds."""
    f_seeds, f_units = 2 * (np.asarray(seeds, dtype=np.float64) - 1), np.asarray(units, dtype=np.float64) - 1
    variance = by_seeds + by_units
    # By shares, which are far from the smallest floats even where variances aren't.
    share = np.divide(by_seeds, variance, out=np.ones_like(variance), where=variance > 0)
    with np.errstate(divide="ignore"):  # a single unit has no degree of freedom, nor has the difference then
        return np.asarray(1 / (share**2 / f_seeds + (1 - share) ** 2 / f_units))


def _found(shift: Floats, df: Floats, alpha: float) -> Floats:
    """Chance that |t| is above its critical value, t noncentral by `shift`, 0 or more."""
    critical = stats.t.isf(alpha / 2, df)
    sure = shift > 1e3  # beyond what the distribution's series are good for, and far beyond any chance to miss
    shift = np.where(sure, 0.0, shift)
    # Both by sf: of the other sign, cdf is NaN where it is tiny.
    chance = stats.nct.sf(critical, df, shift) + stats.nct.sf(critical, df, -shift)
    return np.asarray(np.where(sure, 1.0, np.clip(chance, 0.0, 1.0)))


def _first(numbers: Counts, enough: Callable[[Counts], npt.NDArray[np.bool_]]) -> int | None:
    """The first of `numbers` that is enough, a vectorised function."""
    fit = numbers[enough(numbers)]
    return int(fit[0]) if len(fit) else None


def _up(value: float) -> str:
    """Two significant digits, rounded up, so that what is said of larger values holds."""
    if value <= 0:
        return "0"
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return f"{math.ceil(value / step - 1e-9) * step:.2g}"
