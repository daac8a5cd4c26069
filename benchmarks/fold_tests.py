"""Tests of two arms that were trained in folds, for a batch of studies at once, and draws of such studies.

Scores of an arm are arrays `(studies, seeds, folds, units)`; a single split is one fold. Each test returns `Tested`.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from analysis.stats.degrees_of_freedom import cautious, satterthwaite

Floats = npt.NDArray[np.float64]

IMAGE_SD = 0.05


@dataclass(frozen=True)
class Tested:
    """Result of a test on each study; arrays `(studies,)`."""

    estimate: Floats
    se: Floats
    df: Floats

    def p(self, truth: float = 0.0) -> Floats:
        """Two-sided, of the hypothesis that the difference is `truth`."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(2 * stats.t.sf(np.abs(self.estimate - truth) / self.se, self.df))

    def half_width(self) -> Floats:
        """Half the width of 95 % intervals."""
        return np.asarray(stats.t.ppf(0.975, self.df) * self.se)


@dataclass(frozen=True)
class Parts:
    """Estimated parts of a difference's variance; arrays `(studies,)`."""

    estimate: Floats
    seeds: tuple[Floats, Floats]
    """Seed variance of each arm, and below their degrees of freedom."""
    seeds_freedom: tuple[int, int]
    excess: Floats
    """Variance of units, beyond errors."""
    units_freedom: int
    among: Floats
    """Variance among folds of the difference in a fold, over the number of folds; NaN on a single split."""
    seed_variances: Floats
    """`(studies, 2)` variance among an arm's networks on new images: among runs' means, less errors, at least 0."""
    case: Floats
    """Variance of units, errors included."""
    folds: int

    @property
    def variance(self) -> Floats:
        """Their sum."""
        return np.asarray(sum(self.seeds) + self.excess)


def parts_of(arm: Floats, reference: Floats) -> Parts:
    """Parts of the variance of `analysis.stats.mrmc.difference`, two seeds or more in each fold."""
    folds, units = arm.shape[2:]
    changes = arm.mean(axis=1) - reference.mean(axis=1)
    by_fold = changes.mean(axis=2)
    case = changes.var(axis=2, ddof=1).mean(axis=1) / units / folds
    seeds, errors, variances = [], [], []
    for each in (arm, reference):
        among = each.mean(axis=3).var(axis=1, ddof=1).mean(axis=1)
        own = each - each.mean(axis=1, keepdims=True)
        error = own.var(axis=3, ddof=1).sum(axis=1).mean(axis=1) / (each.shape[1] - 1) / units
        seeds.append(among / folds / each.shape[1])
        errors.append(error / folds / each.shape[1])
        variances.append(np.maximum(among - error, 0))
    return Parts(
        by_fold.mean(axis=1),
        (seeds[0], seeds[1]),
        (folds * (arm.shape[1] - 1), folds * (reference.shape[1] - 1)),
        np.maximum(case - sum(errors), 0),
        folds * (units - 1),
        by_fold.var(axis=1, ddof=1) / folds if folds > 1 else np.full(len(arm), np.nan),
        np.stack(variances, axis=1),
        case,
        folds,
    )


def ours(arm: Floats, reference: Floats) -> Tested:
    """`analysis.stats.mrmc.difference` of each study."""
    if arm.shape[1] == 1 or reference.shape[1] == 1:
        return one_seed(arm, reference)
    parts = parts_of(arm, reference)
    terms = np.stack([*parts.seeds, parts.excess], axis=1)
    df = cautious(terms, [*parts.seeds_freedom, parts.units_freedom])
    return Tested(parts.estimate, np.sqrt(parts.variance), df)


def one_seed(arm: Floats, reference: Floats) -> Tested:
    """The same with one seed in each fold: the difference varies among folds, and at least as units do."""
    changes = arm.mean(axis=1) - reference.mean(axis=1)
    folds, units = changes.shape[1:]
    by_fold = changes.mean(axis=2)
    among, case = by_fold.var(axis=1, ddof=1) / folds, changes.var(axis=2, ddof=1).mean(axis=1) / units / folds
    return Tested(by_fold.mean(axis=1), np.sqrt(np.maximum(among, case)), np.full(len(arm), folds - 1.0))


def naive_t(arm: Floats, reference: Floats) -> Tested:
    """t test of the differences in folds, as if folds were independent studies."""
    return _over_folds(arm, reference, 0.0)


def nadeau_bengio(arm: Floats, reference: Floats) -> Tested:
    """Corrected resampled t test (Nadeau & Bengio 2003, Mach Learn 52:239), applied to folds.

    The variance among folds counts 1 / K + n_test / n_train times, 1 / K + 1 / (K - 1) for K folds.
    """
    return _over_folds(arm, reference, 1 / (arm.shape[2] - 1))


def _over_folds(arm: Floats, reference: Floats, overlap: float) -> Tested:
    by_fold = arm.mean(axis=(1, 3)) - reference.mean(axis=(1, 3))
    folds = by_fold.shape[1]
    se = np.sqrt((1 / folds + overlap) * by_fold.var(axis=1, ddof=1))
    return Tested(by_fold.mean(axis=1), se, np.full(len(arm), folds - 1.0))


def wilcoxon(arm: Floats, reference: Floats, truth: float = 0.0) -> Floats:
    """p of the signed-rank test of images, averaged over seeds, by its normal approximation; `(studies,)`."""
    changes = (arm.mean(axis=1) - reference.mean(axis=1)).reshape(len(arm), -1) - truth
    ranks = stats.rankdata(np.abs(changes), axis=1)
    z = (np.sign(changes) * ranks).sum(axis=1) / np.sqrt((ranks**2).sum(axis=1))
    return np.asarray(2 * stats.norm.sf(np.abs(z)))


def dietterich(changes: Floats) -> Tested:
    """5x2cv t test (Dietterich 1998, Neural Comput 10:1895).

    Args:
        changes: `(studies, 5, 2)` difference of the arms on both halves of five splits.
    """
    squares = 2 * changes.var(axis=2)
    return Tested(changes[:, 0, 0], np.sqrt(squares.mean(axis=1)), np.full(len(changes), float(changes.shape[1])))


def alpaydin(changes: Floats, truth: float = 0.0) -> Floats:
    """p of the combined 5x2cv F test (Alpaydin 1999, Neural Comput 11:1885) that the difference is `truth`."""
    squares = 2 * changes.var(axis=2)
    repeats = changes.shape[1]
    f = ((changes - truth) ** 2).sum(axis=(1, 2)) / (2 * squares.sum(axis=1))
    return np.asarray(stats.f.sf(f, 2 * repeats, repeats))


def widened(arm: Floats, reference: Floats, ratio: float) -> Tested:
    """`ours` with Nadeau and Bengio's factor: a variance of 1 + folds x `ratio` times what it was.

    Args:
        arm: scores.
        reference: scores of the other.
        ratio: tested images by training images of a fold, 1 / (K - 1) for K folds.
    """
    plain = ours(arm, reference)
    return Tested(plain.estimate, plain.se * np.sqrt(1 + arm.shape[2] * ratio), plain.df)


def with_training_sets(parts: Parts, share: float) -> Tested:
    """`ours` for new training sets, whose effect has `share` times the variance among an arm's seeds.

    K folds' training sets have (K - 2) / (K - 1) of their images in common, and as large a part of an effect's
    variance.
    This part is added as it is, and the rest, in which folds differ, divided by K; on a single split, all of it.
    """
    count = (parts.folds - 2) / (parts.folds - 1) if parts.folds > 1 else 1.0
    count += (1 - count) / parts.folds
    added = share * count * parts.seed_variances
    terms = np.stack([*(own + more for own, more in zip(parts.seeds, added.T, strict=True)), parts.excess], axis=1)
    df = cautious(terms, [*parts.seeds_freedom, parts.units_freedom])
    return Tested(parts.estimate, np.sqrt(terms.sum(axis=1)), df)


def with_fold_excess(parts: Parts) -> Tested:
    """`ours` for new training sets, whose effect is estimated from how folds differ beyond seeds and units.

    That is a share 1 / (K - 1) of the effect's variance, if it is as large as the part of the training images in which
    folds differ.
    """
    specific = np.maximum(parts.among - sum(parts.seeds) - parts.excess, 0) * parts.folds
    added = specific * (parts.folds - 2 + 1 / parts.folds)
    terms = np.stack([*parts.seeds, parts.excess, added], axis=1)
    df = satterthwaite(terms, [*parts.seeds_freedom, parts.units_freedom, parts.folds - 1])
    return Tested(parts.estimate, np.sqrt(terms.sum(axis=1)), df)


def at_least_among_folds(arm: Floats, reference: Floats) -> Tested:
    """`ours`, or the naive t test over folds where its standard error is larger."""
    first, second = ours(arm, reference), naive_t(arm, reference)
    larger = second.se > first.se
    return Tested(
        first.estimate, np.maximum(first.se, second.se), np.where(larger, np.fmin(first.df, second.df), first.df)
    )


@dataclass(frozen=True)
class Study:
    """Standard deviations that studies are drawn from; those of one arm where arms have their own."""

    images: int
    folds: int
    seeds: int
    training_set_sd: float
    seed_sd: float = 0.006
    arm_image_sd: float = 0.03
    residual_sd: float = 0.02
    coupling: float = 0.0
    """Effect of an image on the difference of arms by training networks, as a multiple of its effect by being tested:
    the mean over training images counts so many times beside the mean over test images."""


def drawn(rng: np.random.Generator, study: Study, draws: int, effect: float = 0.0) -> tuple[Floats, Floats]:
    """Scores of two arms, the first better by `effect`.

    Of the training set's effect folds share a part (K - 2) / (K - 1) of the variance. A study of one fold is a single
    split, tested on a fifth of the images.
    """
    units = study.images // max(study.folds, 5)
    if study.folds > 1:
        units = study.images // study.folds
    shared = (study.folds - 2) / (study.folds - 1) if study.folds > 1 else 0.0
    image = IMAGE_SD * rng.standard_normal((draws, 1, study.folds, units))
    arms = []
    for shift in (effect, 0.0):
        own = study.arm_image_sd * rng.standard_normal(image.shape)
        others = study.images - units
        if study.folds > 1:
            in_fold = own.sum(axis=3, keepdims=True)
            taught = (in_fold.sum(axis=2, keepdims=True) - in_fold) / others
        else:
            taught = study.arm_image_sd / np.sqrt(others) * rng.standard_normal((draws, 1, 1, 1))
        scores = 0.8 + shift + image + own + study.coupling * taught
        scores = scores + study.residual_sd * rng.standard_normal((draws, study.seeds, study.folds, units))
        scores += study.seed_sd * rng.standard_normal((draws, study.seeds, study.folds, 1))
        of_set = np.sqrt(shared) * rng.standard_normal((draws, 1, 1, 1))
        of_set = of_set + np.sqrt(1 - shared) * rng.standard_normal((draws, 1, study.folds, 1))
        arms.append(scores + study.training_set_sd * of_set)
    return arms[0], arms[1]
