"""Draws of two arms' scores, and what many tests make of them: a batch of draws at once.

Draws are arrays `(draws, runs, images)`; the first `seeds[0]` runs are those of one arm, the rest those of the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from analysis.stats.degrees_of_freedom import cautious

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

IMAGE_SD = 0.05
IN_WELLS = 0.5
"""Share of each variance among images that is common to a well's images."""
RESAMPLES = 400
ODDS, STEEPNESS = 3.2, 16.0
"""Skewed scores are 1 / (1 + exp(16 z - 3.2)), z normal: 0.94 in the mean, with a long tail below."""


@dataclass(frozen=True)
class Regime:
    """Distribution that scores are drawn from."""

    seeds: tuple[int, int]
    images: int
    seed_sd: float
    arm_image_sd: float
    residual_sd: float
    skewed: bool = False
    wells: tuple[int, ...] = ()
    """Numbers of images; empty where images are independent."""


def simulate(rng: np.random.Generator, regime: Regime, draws: int, effect: float = 0.0) -> Floats:
    """Scores `(draws, runs, images)`; the first arm's z differs by `effect`."""
    first, second = regime.seeds
    runs = first + second

    def normal(rows: int, sd: float) -> Floats:
        if not regime.wells:
            return sd * rng.standard_normal((draws, rows, regime.images))
        own = rng.standard_normal((draws, rows, regime.images)) * np.sqrt(1 - IN_WELLS)
        shared = rng.standard_normal((draws, rows, len(regime.wells))) * np.sqrt(IN_WELLS)
        return sd * (own + np.repeat(shared, regime.wells, axis=2))

    z = normal(runs, regime.residual_sd)
    of_arm = normal(2, regime.arm_image_sd) + normal(1, IMAGE_SD)
    of_arm[:, 0] += effect
    z += regime.seed_sd * rng.standard_normal((draws, runs, 1))
    z[:, :first] += of_arm[:, :1]
    z[:, first:] += of_arm[:, 1:]
    return special.expit(ODDS - STEEPNESS * z) if regime.skewed else 0.8 + z


def expected_difference(regime: Regime, effect: float) -> float:
    """Expected difference of the first arm's score from the second arm's."""
    if not regime.skewed:
        return effect
    sd = np.sqrt(IMAGE_SD**2 + regime.seed_sd**2 + regime.arm_image_sd**2 + regime.residual_sd**2)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    means = [special.expit(ODDS - STEEPNESS * (shift + sd * nodes)) @ weights for shift in (effect, 0.0)]
    return float(means[0] - means[1]) / float(weights.sum())


def by_well(scores: Floats, wells: tuple[int, ...]) -> Floats:
    """Means of wells, as in `analysis.scores.score_matrix.ScoreMatrix`."""
    starts = np.concatenate([[0], np.cumsum(wells)[:-1]])
    return np.add.reduceat(scores, starts, axis=2) / np.array(wells)


def ours(values: Floats, seeds: tuple[int, int], sizes: tuple[int, ...] = ()) -> tuple[Floats, Floats, Floats]:
    """`analysis.stats.mrmc.difference` of each draw of `(draws, runs, units)`: estimate, p and half the interval's
    width.

    Args:
        values: scores of units.
        seeds: of both arms.
        sizes: images of each unit, where units don't count equally.
    """
    return tested(*mean_squares(values, seeds, sizes))


def one_variance(values: Floats, seeds: tuple[int, int]) -> tuple[Floats, Floats, Floats]:
    """Like `ours` of units that count equally, with one variance among seeds for both arms: `variances="pooled"`."""
    estimate, by_seeds, by_units, _, freedoms = mean_squares(values, seeds)
    spare = sum(freedoms[:2])
    h = sum(1 / count for count in seeds)

    def pooled(parts: Sequence[Floats]) -> Floats:
        squares = [part * count * (count - 1) for part, count in zip(parts, seeds, strict=True)]
        return np.asarray(h * np.sum(squares, axis=0) / spare)

    among, excess = pooled(by_seeds), np.maximum(by_units - pooled(_errors(values, seeds)), 0)
    variance = among + excess
    df = variance**2 / (among**2 / spare + excess**2 / freedoms[2])
    se = np.sqrt(variance)
    return estimate, 2 * stats.t.sf(np.abs(estimate) / se, df), stats.t.ppf(0.975, df) * se


def mean_squares(
    values: Floats, seeds: tuple[int, int], sizes: tuple[int, ...] = ()
) -> tuple[Floats, list[Floats], Floats, Floats, list[float]]:
    """Compute the arguments of `tested` from `(draws, runs, units)` scores, as in `ours`."""
    weights = np.array(sizes or (1,) * values.shape[2]) / (sum(sizes) or values.shape[2])
    squares = float(np.sum(weights**2))
    arms = values[:, : seeds[0]], values[:, seeds[0] :]
    by_seeds = [(arm @ weights).var(axis=1, ddof=1) / arm.shape[1] for arm in arms]
    differing = arms[0].mean(axis=1) - arms[1].mean(axis=1)
    estimate = differing @ weights
    by_units = ((differing - estimate[:, None]) ** 2) @ (weights**2 / (1 - 2 * weights + squares))
    error = np.sum(_errors(values, seeds, sizes), axis=0)
    return estimate, by_seeds, by_units, error, [*(count - 1.0 for count in seeds), 1 / squares - 1]


def _errors(values: Floats, seeds: tuple[int, int], sizes: tuple[int, ...] = ()) -> list[Floats]:
    """Both arms' mean squares of seed x unit, as parts of the estimate's variance."""
    weights = np.array(sizes or (1,) * values.shape[2]) / (sum(sizes) or values.shape[2])
    scale = weights**2 / (1 - 2 * weights + float(np.sum(weights**2)))
    errors = []
    for arm, count in zip((values[:, : seeds[0]], values[:, seeds[0] :]), seeds, strict=True):
        centred = arm - arm.mean(axis=1, keepdims=True)
        centred -= (centred @ weights)[..., None]
        errors.append(np.einsum("drk,drk,k->d", centred, centred, scale) / (count * (count - 1)))
    return errors


def tested(
    estimate: Floats, by_seeds: Sequence[Floats], by_units: Floats, error: Floats, freedoms: Sequence[float]
) -> tuple[Floats, Floats, Floats]:
    """The test from its mean squares, each on the scale of a variance of the estimate; returns as `ours`.

    Args:
        estimate: `(draws,)` differences.
        by_seeds: of both arms.
        by_units: of units.
        error: of seed x unit, of both arms together.
        freedoms: of both arms' seeds and of units.
    """
    parts = np.stack([*by_seeds, np.maximum(by_units - error, 0)], axis=-1)
    se, df = np.sqrt(parts.sum(axis=-1)), cautious(parts, freedoms)
    return estimate, 2 * stats.t.sf(np.abs(estimate) / se, df), stats.t.ppf(0.975, df) * se


def size_by_mean_squares(rng: np.random.Generator, regime: Regime, draws: int) -> float:
    """False positives of `ours` at 5 %, from draws of its mean squares.

    They are independent where scores are normal and images aren't in wells; that is cheaper than drawing scores.
    """
    return size_of_unlike_seeds(rng, regime, (regime.seed_sd, regime.seed_sd), draws)


def size_of_unlike_seeds(rng: np.random.Generator, regime: Regime, seed_sds: tuple[float, float], draws: int) -> float:
    """Like `size_by_mean_squares`, of arms whose seeds have other SDs than the regime's."""
    n, f_units = regime.images, regime.images - 1
    freedoms = [count - 1 for count in regime.seeds]
    errors = [regime.residual_sd**2 / n / count for count in regime.seeds]
    by_seeds = [sd**2 / count + error for sd, count, error in zip(seed_sds, regime.seeds, errors, strict=True)]
    cases = 2 * regime.arm_image_sd**2 / n

    def square(expected: float, freedom: float) -> Floats:
        return expected * rng.chisquare(freedom, draws) / freedom

    _, p, _ = tested(
        rng.standard_normal(draws) * np.sqrt(sum(by_seeds) + cases),
        [square(*each) for each in zip(by_seeds, freedoms, strict=True)],
        square(cases + sum(errors), f_units),
        np.sum([square(error, f * f_units) for error, f in zip(errors, freedoms, strict=True)], axis=0),
        [*freedoms, f_units],
    )
    return float((p < 0.05).mean())


def peers(scores: Floats, seeds: tuple[int, int]) -> dict[str, Bools]:
    """Draws that the usual tests over images or over runs call significant at 5 %."""
    first = seeds[0]
    changes = scores[:, :first].mean(axis=1) - scores[:, first:].mean(axis=1)
    runs = scores.mean(axis=2)
    return {
        "wilcoxon": stats.wilcoxon(changes, axis=1).pvalue < 0.05,
        "paired t": stats.ttest_1samp(changes, 0, axis=1).pvalue < 0.05,
        "welch": stats.ttest_ind(runs[:, :first], runs[:, first:], axis=1, equal_var=False).pvalue < 0.05,
    }


def costly_peers(scores: Floats, seeds: tuple[int, int]) -> dict[str, Bools]:
    """Like `peers`, for the analyses of two packages.

    autorank: the paired t test where both arms' seed averages look normal by Shapiro and Wilk's test, at 5 % for the
    two together, else Wilcoxon's. rliable: the 95 % percentile interval of the difference of means excludes 0, by a
    bootstrap that resamples runs anew for each image.
    """
    first = seeds[0]
    arms = scores[:, :first], scores[:, first:]
    averages = np.stack([arm.mean(axis=1) for arm in arms], axis=1).reshape(-1, scores.shape[2])
    looks = np.array([stats.shapiro(each).pvalue for each in averages]).reshape(-1, 2)
    usual = peers(scores, seeds)
    means = [arm.reshape(len(arm), -1) @ _weights(arm.shape[1], arm.shape[2], i).T for i, arm in enumerate(arms)]
    low, high = np.percentile(means[0] - means[1], [2.5, 97.5], axis=1)
    return {
        "autorank": np.where((looks >= 0.025).all(axis=1), usual["paired t"], usual["wilcoxon"]),
        "rliable": (low > 0) | (high < 0),
    }


@lru_cache(maxsize=2)
def _weights(runs: int, images: int, key: int) -> Floats:
    """Weights of bootstrap means, `(RESAMPLES, runs * images)`; the same for all draws, whose scores differ anyway."""
    counts = np.random.default_rng((runs, images, key)).multinomial(runs, [1 / runs] * runs, (RESAMPLES, images))
    return np.swapaxes(counts, 1, 2).reshape(RESAMPLES, -1) / (runs * images)
