"""Sample size: the fewest seeds, or units, with which a difference is found."""

from collections.abc import Callable

from analysis.stats.design import Pilot
from analysis.stats.mrmc import FEWEST_FOLDS
from analysis.stats.power import POWER
from analysis.stats.power import power as power_of
from metaseg.schema import ALPHA

MOST_SEEDS = 100
"""Largest number of seeds per arm that is considered."""
MOST_UNITS = 10_000


def seeds_needed(
    components: Pilot,
    effect: float,
    units: float,
    power: float = POWER,
    alpha: float = ALPHA,
    *,
    folds: int = 1,
    crossed: bool = False,
) -> int | None:
    """Smallest number of seeds of each arm, in each fold, with which `effect` is found with probability `power`.

    Args:
        components: variance components of a pilot, `Difference.components`; or a pair, the arm's and the reference's.
        effect: difference of the expected scores.
        units: images or groups of images that are tested.
        power: probability of p < alpha.
        alpha: two-sided level.
        folds: in which all units are tested; 1 is one split.
        crossed: whether runs of equal seed are pairs.

    Returns:
        None if more than `MOST_SEEDS` would be needed.

    Example:
        >>> from analysis import difference, example_scores, score_matrices, seeds_needed
        >>> matrix = next(matrix for _, _, matrix in score_matrices(example_scores()))
        >>> pilot = difference(matrix, "sme", "baseline").components
        >>> seeds_needed(pilot, effect=0.01, units=30), seeds_needed(pilot, effect=0.01, units=150, folds=5)
        (6, 2)
    """

    return first(
        fewest_seeds(folds),
        MOST_SEEDS,
        lambda seeds: float(power_of(components, seeds, units, effect, alpha, folds=folds, crossed=crossed)) >= power,
    )


def fewest_seeds(folds: int) -> int:
    """Fewest seeds of an arm in each fold with which there is a test."""
    return 1 if folds >= FEWEST_FOLDS else 2


def units_needed(
    components: Pilot,
    effect: float,
    seeds: float,
    power: float = POWER,
    alpha: float = ALPHA,
    *,
    folds: int = 1,
    crossed: bool = False,
) -> int | None:
    """Smallest number of units (images or groups of images) on which `effect` is found with probability `power`.

    Args:
        components: variance components of a pilot, `Difference.components`; or a pair, the arm's and the reference's.
        effect: difference of the expected scores.
        seeds: runs of each arm in each fold.
        power: probability of p < alpha.
        alpha: two-sided level.
        folds: in which all units are tested; 1 is one split.
        crossed: whether runs of equal seed are pairs.

    Returns:
        None if more than `MOST_UNITS` would be needed.

    Example:
        >>> from analysis import difference, example_scores, score_matrices, units_needed
        >>> matrix = next(matrix for _, _, matrix in score_matrices(example_scores()))
        >>> pilot = difference(matrix, "sme", "baseline").components
        >>> units_needed(pilot, effect=0.01, seeds=3)
        74
    """

    return first(
        2 * folds,
        MOST_UNITS,
        lambda units: float(power_of(components, seeds, units, effect, alpha, folds=folds, crossed=crossed)) >= power,
    )


def first(low: int, high: int, enough: Callable[[int], bool]) -> int | None:
    """The first number from `low` that is enough; None if `high` isn't.

    Numbers are tried one by one at first, then in steps of a tenth; what is in the last step is halved, so that numbers
    in it count as enough from the first one on.
    """
    if not enough(high):
        return None
    before, number = low - 1, low
    while number < high and not enough(number):
        before, number = number, min(number + max(number // 10, 1), high)
    while number - before > 1:
        middle = (before + number) // 2
        before, number = (before, middle) if enough(middle) else (middle, number)
    return number
