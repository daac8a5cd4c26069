"""Power analysis: from the variance components of a pilot to power, and to the smallest detectable difference.

The estimated difference is normal around the true one with the expected variance V, and independent of the standard
error and degrees of freedom that the test will find (`analysis.stats.design`): power is the mean over what it may find.
Where one source of variance is absent it is the noncentral t test's. Seeds lower V but for what units hide, which only
more units lower: one split of K folds tests a K-th of them.

A pilot's components are estimates: of few seeds, rough ones. Those below 0 count as 0.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import optimize, special, stats

from analysis.scores.score_matrix import Floats
from analysis.stats.design import Design, Pilot, expected
from metaseg.schema import ALPHA

POWER = 0.8
"""Power that designs are planned for."""


def expected_se(
    components: Pilot, seeds: npt.ArrayLike, units: npt.ArrayLike, *, folds: npt.ArrayLike = 1, crossed: bool = False
) -> Floats:
    """Standard error of the difference of two arms on new units and new seeds.

    Args:
        components: of a pilot.
        seeds: an arm, 2 or more, or 1 in three folds or more; infinity is the limit of many.
        units: 2 or more, and one in each fold. Broadcast with `seeds`.
        folds: in which all units are tested.
        crossed: whether runs of equal seed are pairs.

    Returns:
        An array of the shape of all.

    Raises:
        ValueError: too few seeds or units.
    """
    each = np.vectorize(lambda r, n, k: expected(components, r, n, folds=k, crossed=crossed).variance, otypes=[float])
    return np.asarray(np.sqrt(each(seeds, units, folds)))


def power(
    components: Pilot,
    seeds: npt.ArrayLike,
    units: npt.ArrayLike,
    effect: npt.ArrayLike,
    alpha: float = ALPHA,
    *,
    folds: npt.ArrayLike = 1,
    reference_seeds: npt.ArrayLike | None = None,
    crossed: bool = False,
) -> Floats:
    """Power of the test: the probability that p < alpha if the expected scores differ by `effect`, of either sign.

    With few seeds, power needn't grow with units: the fewer the units, the more of the test's degrees of freedom come
    from them.

    Args:
        components: variance components of a pilot, `Difference.components`; or a pair, the arm's and the reference's.
        seeds: runs of each arm in each fold, 2 or more, or 1 in three folds or more; infinity is the limit of many.
        units: images or groups of images that are tested, in all folds together: 2 or more, and one in each.
        effect: difference of the expected scores. Broadcast with `seeds`, `units` and `folds`.
        alpha: two-sided level.
        folds: parts of the units, each tested by networks that trained on the others; 1 is one split.
        reference_seeds: of the reference, where it has other numbers than the arm.
        crossed: whether runs of equal seed are pairs; the components are then those of a test of pairs.

    Returns:
        An array of the shape of all of them, in 0..1.

    Raises:
        ValueError: too few seeds or units.

    Example:
        >>> from analysis import difference, example_scores, power, score_matrices
        >>> matrix = next(matrix for _, _, matrix in score_matrices(example_scores()))
        >>> pilot = difference(matrix, "sme", "baseline").components
        >>> power(pilot, seeds=[2, 3, 5], units=30, effect=0.01).round(2).tolist()
        [0.08, 0.46, 0.79]
        >>> power(pilot, seeds=[1, 2], units=150, effect=0.01, folds=5).round(2).tolist()
        [0.32, 0.86]
    """

    def chance(r: float, others: float, n: float, k: int, shift: float) -> float:
        design = expected(components, r, n, reference_seeds=others, folds=k, crossed=crossed)
        return _found(design, shift, alpha)

    others = seeds if reference_seeds is None else reference_seeds
    return np.asarray(np.vectorize(chance, otypes=[float])(seeds, others, units, folds, effect))


def equality_power(
    components: Pilot,
    seeds: npt.ArrayLike,
    units: npt.ArrayLike,
    margin: float,
    *,
    folds: npt.ArrayLike = 1,
    crossed: bool = False,
) -> Floats:
    """Probability that two arms with equal expected scores are found to differ by less than the margin (TOST).

    Args:
        components: as for `power`, as are seeds, units, folds and crossed.
        seeds: runs of each arm in each fold.
        units: images or groups of images.
        margin: differences below it don't matter.
        folds: in which all units are tested.
        crossed: whether runs of equal seed are pairs.

    Returns:
        An array of the shape of seeds, units and folds, in 0..1.

    Raises:
        ValueError: too few seeds or units.

    Example:
        >>> from analysis import difference, equality_power, example_scores, score_matrices
        >>> matrix = next(matrix for _, _, matrix in score_matrices(example_scores()))
        >>> pilot = difference(matrix, "sme", "baseline").components
        >>> equality_power(pilot, seeds=[3, 5, 10], units=30, margin=0.01).round(2).tolist()
        [0.39, 0.77, 0.93]
    """

    def chance(r: float, n: float, k: int) -> float:
        design = expected(components, r, n, folds=k, crossed=crossed)
        if not design.variance:
            return 1.0
        se, df = design.estimates()
        within = np.maximum(margin / np.sqrt(design.variance) - stats.t.isf(ALPHA, df) * se, 0)
        return float((2 * special.ndtr(within) - 1).mean())

    return np.asarray(np.vectorize(chance, otypes=[float])(seeds, units, folds))


def detectable(
    components: Pilot,
    seeds: float,
    units: float,
    power: float = POWER,
    alpha: float = ALPHA,
    *,
    folds: int = 1,
    reference_seeds: float | None = None,
    crossed: bool = False,
) -> float:
    """Smallest detectable difference: the one that the test finds with probability `power`, in the unit of the score.

    Args:
        components: variance components of a pilot, `Difference.components`; or a pair, the arm's and the reference's.
        seeds: runs of each arm in each fold, 2 or more, or 1 in three folds or more.
        units: images or groups of images that are tested, 2 or more, and one in each fold.
        power: probability of p < alpha.
        alpha: two-sided level.
        folds: in which all units are tested; 1 is one split.
        reference_seeds: of the reference, where it has other numbers than the arm.
        crossed: whether runs of equal seed are pairs.

    Raises:
        ValueError: too few seeds or units, or power isn't between alpha and 1.

    Example:
        >>> from analysis import detectable, difference, example_scores, score_matrices
        >>> matrix = next(matrix for _, _, matrix in score_matrices(example_scores()))
        >>> pilot = difference(matrix, "sme", "baseline").components
        >>> round(detectable(pilot, seeds=5, units=30), 4)
        0.0101
    """
    if not alpha < power < 1:
        raise ValueError(f"power is {power}; expected a value between alpha, {alpha}, and 1")
    design = expected(components, seeds, units, reference_seeds=reference_seeds, folds=folds, crossed=crossed)
    if not design.variance:
        return 0.0
    top = np.sqrt(design.variance)
    while _found(design, top, alpha) < power:
        top *= 2
    return float(optimize.brentq(lambda effect: _found(design, effect, alpha) - power, 0.0, top))


def power_table(
    components: Pilot,
    seeds: tuple[int, ...] = (2, 3, 5, 10, 20),
    units: tuple[int, ...] = (30, 75, 300),
    *,
    folds: int = 1,
    crossed: bool = False,
) -> pd.DataFrame:
    """Compare designs: standard error and smallest detectable difference by number of seeds and units.

    Args:
        components: variance components of a pilot, `Difference.components`.
        seeds: numbers of runs of each arm, in each fold.
        units: numbers of images or groups of images that are tested.
        folds: in which they are; 1 is one split.
        crossed: whether runs of equal seed are pairs.

    Returns:
        A row for each number of units and seeds, with columns units, seeds, se, df and detectable: the difference found
        with probability 0.8 at p < 0.05, in the unit of the score.

    Example:
        >>> from analysis import difference, example_scores, power_table, score_matrices
        >>> matrix = next(matrix for _, _, matrix in score_matrices(example_scores()))
        >>> pilot = difference(matrix, "sme", "baseline").components
        >>> power_table(pilot, seeds=(3, 10), units=(30, 300)).round(4)
           units  seeds      se       df  detectable
        0     30      3  0.0039   5.6127      0.0152
        1     30     10  0.0028  46.6900      0.0081
        2    300      3  0.0014   4.8727      0.0058
        3    300     10  0.0010  64.8055      0.0028
    """
    designs = pd.MultiIndex.from_product([units, seeds], names=["units", "seeds"]).to_frame(index=False)
    pairs = list(zip(designs["seeds"], designs["units"], strict=True))
    return designs.assign(
        se=[float(expected_se(components, *each, folds=folds, crossed=crossed)) for each in pairs],
        df=[expected(components, *each, folds=folds, crossed=crossed).freedom for each in pairs],
        detectable=[detectable(components, *each, folds=folds, crossed=crossed) for each in pairs],
    )


def _found(design: Design, effect: float, alpha: float) -> float:
    """Chance that |t| is above its critical value."""
    if not design.variance:
        return 1.0 if effect else alpha
    se, df = design.estimates()
    limit, shift = stats.t.isf(alpha / 2, df) * se, abs(effect) / np.sqrt(design.variance)
    return float((special.ndtr(shift - limit) + special.ndtr(-shift - limit)).mean())
