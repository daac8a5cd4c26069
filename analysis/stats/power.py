"""Power analysis: from the variance components of a pilot to power, and to the smallest detectable difference.

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
"""Power that designs are planned for."""
MOST_SEEDS = 100
"""Largest number of seeds per arm that is considered."""
MOST_UNITS = 10_000
MANY_SEEDS = 10
"""Seeds per arm for which `plan` tells the number of units needed."""


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
    """Power of the test: the probability that p < alpha if the expected scores differ by `effect`, of either sign.

    With few seeds, power needn't grow with units: the fewer the units, the more of the test's degrees of freedom come
    from them.

    Args:
        components: variance components of a pilot, `Difference.components`.
        seeds: runs of each arm, 2 or more; infinity is the limit of many.
        units: images or groups of images, 2 or more.
        effect: difference of the expected scores. Broadcast with `seeds` and `units`.
        alpha: two-sided level.

    Returns:
        An array of the shape of all three, in 0..1.

    Raises:
        ValueError: fewer than two seeds or units.

    Example:
        >>> from analysis import difference, example_scores, power, score_matrices
        >>> matrix = next(matrix for _, _, matrix in score_matrices(example_scores()))
        >>> pilot = difference(matrix, "sme", "baseline").components
        >>> power(pilot, seeds=[2, 3, 5], units=30, effect=0.01).round(2).tolist()
        [0.36, 0.62, 0.82]
    """
    by_seeds, by_units = _variances(components, seeds, units)
    variance = by_seeds + by_units
    df = _freedom(by_seeds, by_units, seeds, units)
    effect = np.abs(np.asarray(effect, dtype=np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = np.where(variance > 0, effect / np.sqrt(variance), np.where(effect > 0, np.inf, 0.0))
    return _found(shift, df, alpha)


def detectable(components: Components, seeds: float, units: float, power: float = POWER, alpha: float = ALPHA) -> float:
    """Smallest detectable difference: the one that the test finds with probability `power`, in the unit of the score.

    Args:
        components: variance components of a pilot, `Difference.components`.
        seeds: runs of each arm, 2 or more.
        units: images or groups of images, 2 or more.
        power: probability of p < alpha.
        alpha: two-sided level.

    Raises:
        ValueError: fewer than two seeds or units, or power isn't between alpha and 1.

    Example:
        >>> from analysis import detectable, difference, example_scores, score_matrices
        >>> matrix = next(matrix for _, _, matrix in score_matrices(example_scores()))
        >>> pilot = difference(matrix, "sme", "baseline").components
        >>> round(detectable(pilot, seeds=5, units=30), 4)
        0.0098
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
    """Smallest number of seeds of each arm with which `effect` is found with probability `power`.

    Args:
        components: variance components of a pilot, `Difference.components`.
        effect: difference of the expected scores.
        units: images or groups of images.
        power: probability of p < alpha.
        alpha: two-sided level.

    Returns:
        None if more than `MOST_SEEDS` would be needed.

    Example:
        >>> from analysis import difference, example_scores, score_matrices, seeds_needed
        >>> matrix = next(matrix for _, _, matrix in score_matrices(example_scores()))
        >>> pilot = difference(matrix, "sme", "baseline").components
        >>> seeds_needed(pilot, effect=0.01, units=30)
        5
    """
    return _first(np.arange(2, MOST_SEEDS + 1), lambda seeds: _power(components, seeds, units, effect, alpha) >= power)


def units_needed(
    components: Components, effect: float, seeds: int, power: float = POWER, alpha: float = ALPHA
) -> int | None:
    """Smallest number of units (images or groups of images) on which `effect` is found with probability `power`.

    Args:
        components: variance components of a pilot, `Difference.components`.
        effect: difference of the expected scores.
        seeds: runs of each arm.
        power: probability of p < alpha.
        alpha: two-sided level.

    Returns:
        None if more than `MOST_UNITS` would be needed.

    Example:
        >>> from analysis import difference, example_scores, score_matrices, units_needed
        >>> matrix = next(matrix for _, _, matrix in score_matrices(example_scores()))
        >>> pilot = difference(matrix, "sme", "baseline").components
        >>> units_needed(pilot, effect=0.01, seeds=3)
        48
    """
    return _first(np.arange(2, MOST_UNITS + 1), lambda units: _power(components, seeds, units, effect, alpha) >= power)


def power_table(
    components: Components, seeds: tuple[int, ...] = (2, 3, 5, 10, 20), units: tuple[int, ...] = (30, 75, 300)
) -> pd.DataFrame:
    """Compare designs: standard error and smallest detectable difference by number of seeds and units.

    Args:
        components: variance components of a pilot, `Difference.components`.
        seeds: numbers of runs of each arm.
        units: numbers of images or groups of images.

    Returns:
        A row for each number of units and seeds, with columns units, seeds, se, df and detectable: the difference found
        with probability 0.8 at p < 0.05, in the unit of the score.

    Example:
        >>> from analysis import difference, example_scores, power_table, score_matrices
        >>> matrix = next(matrix for _, _, matrix in score_matrices(example_scores()))
        >>> pilot = difference(matrix, "sme", "baseline").components
        >>> power_table(pilot, seeds=(3, 10), units=(30, 300)).round(4)
           units  seeds      se       df  detectable
        0     30      3  0.0039   8.3504      0.0124
        1     30     10  0.0028  46.9857      0.0081
        2    300      3  0.0014   6.8802      0.0047
        3    300     10  0.0010  70.4020      0.0028
    """
    designs = pd.MultiIndex.from_product([units, seeds], names=["units", "seeds"]).to_frame(index=False)
    r, n = designs["seeds"].to_numpy(), designs["units"].to_numpy()
    return designs.assign(
        se=expected_se(components, r, n),
        df=_freedom(*_variances(components, r, n), r, n),
        detectable=[detectable(components, *design) for design in zip(r, n, strict=True)],
    )


def plan(components: Components, effect: float, seeds: int, units: int, noun: str = "images") -> str:
    """Sentences on the differences that a design can detect, and on the seeds and units needed to detect `effect`.

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
