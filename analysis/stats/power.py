"""Power analysis: from the variance components of a pilot to power, and to the smallest detectable difference.

The test statistic of a true difference d has about a noncentral t distribution, with the degrees of freedom of the
expected variance V (`analysis.stats.design`) and noncentrality d / sqrt(V) (Hillis, Obuchowski, Berbaum 2011, Acad
Radiol 18:129); it is compared with the quantile of the fewer ones that the test works with. Seeds lower V but for what
units hide, which only more units lower: one split of K folds tests a K-th of them.

A pilot's components are estimates: of few seeds, rough ones. Those below 0 count as 0. The test's own df are estimated
from its data, these are of expected values: at three seeds, and even more at two, power read here is a little off.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import optimize, stats

from analysis.scores.score_matrix import Floats
from analysis.stats.design import Expected, Pilot, expected
from metaseg.schema import ALPHA

POWER = 0.8
"""Power that designs are planned for."""
QUADRATURE = (np.arange(400) + 0.5) / 400
"""Levels of the quantiles of an estimated variance over which a chance is averaged."""

def expected_se(components: Pilot, seeds: npt.ArrayLike, units: npt.ArrayLike, *, folds: npt.ArrayLike = 1) -> Floats:
    """Standard error of the difference of two arms on new units and new seeds.

    Args:
        components: of a pilot.
        seeds: an arm, 2 or more, or 1 in three folds or more; infinity is the limit of many.
        units: 2 or more in each fold. Broadcast with `seeds`.
        folds: in which all units are tested.

    Returns:
        An array of the shape of all.

    Raises:
        ValueError: too few seeds or units.
    """
    return np.sqrt(expected(components, seeds, units, folds=folds).variance)


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
        units: images or groups of images that are tested, in all folds together: 2 or more in each.
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
        [0.13, 0.59, 0.82]
        >>> power(pilot, seeds=[1, 2], units=150, effect=0.01, folds=5).round(2).tolist()
        [0.79, 1.0]
    """
    design = expected(components, seeds, units, reference_seeds=reference_seeds, folds=folds, crossed=crossed)
    return _power(design, effect, alpha)


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
        [0.5, 0.79, 0.94]
    """
    design = expected(components, seeds, units, folds=folds, crossed=crossed)
    df, variance = design.freedom[..., None], design.variance[..., None]
    # The variance is estimated: the estimate within which the test says equal depends on it.
    found = np.sqrt(variance * stats.chi2.ppf(QUADRATURE, df) / df)
    within = np.maximum(margin - stats.t.isf(ALPHA, design.tested_freedom)[..., None] * found, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = np.where(variance > 0, within / np.sqrt(variance), np.inf)
    return np.asarray((2 * stats.norm.cdf(shift) - 1).mean(axis=-1))


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
        units: images or groups of images that are tested, 2 or more in each fold.
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
        0.0098
    """
    if not alpha < power < 1:
        raise ValueError(f"power is {power}; expected a value between alpha, {alpha}, and 1")
    design = expected(components, seeds, units, reference_seeds=reference_seeds, folds=folds, crossed=crossed)
    if not design.variance:
        return 0.0
    df, critical = design.freedom, stats.t.isf(alpha / 2, design.tested_freedom)
    top = 1.0
    while _found(np.array(top), df, critical) < power:
        top *= 2
    shift = optimize.brentq(lambda x: float(_found(np.array(x), df, critical)) - power, 0.0, top)
    return float(shift * np.sqrt(design.variance))


def power_table(
    components: Pilot, seeds: tuple[int, ...] = (2, 3, 5, 10, 20), units: tuple[int, ...] = (30, 75, 300)
) -> pd.DataFrame:
    """Compare designs of one split: standard error and smallest detectable difference by number of seeds and units.

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
        0     30      3  0.0039   6.9500      0.0127
        1     30     10  0.0028  46.9760      0.0081
        2    300      3  0.0014   5.8784      0.0048
        3    300     10  0.0010  69.8283      0.0028
    """
    designs = pd.MultiIndex.from_product([units, seeds], names=["units", "seeds"]).to_frame(index=False)
    r, n = designs["seeds"].to_numpy(), designs["units"].to_numpy()
    design = expected(components, r, n)
    return designs.assign(
        se=np.sqrt(design.variance),
        df=design.tested_freedom,
        detectable=[detectable(components, *each) for each in zip(r, n, strict=True)],
    )


def _power(design: Expected, effect: npt.ArrayLike, alpha: float) -> Floats:
    variance, effect = design.variance, np.abs(np.asarray(effect, dtype=np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = np.where(variance > 0, effect / np.sqrt(variance), np.where(effect > 0, np.inf, 0.0))
    return _found(shift, design.freedom, stats.t.isf(alpha / 2, design.tested_freedom))


def _found(shift: Floats, df: Floats, critical: Floats) -> Floats:
    """Chance that |t| is above its critical value, t noncentral by `shift`, 0 or more."""
    sure = shift > 1e3  # beyond what the distribution's series are good for, and far beyond any chance to miss
    shift = np.where(sure, 0.0, shift)
    # Both by sf: of the other sign, cdf is NaN where it is tiny.
    chance = stats.nct.sf(critical, df, shift) + stats.nct.sf(critical, df, -shift)
    return np.asarray(np.where(sure, 1.0, np.clip(chance, 0.0, 1.0)))
