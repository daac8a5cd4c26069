"""Permutation tests of two arms' difference, without assuming normally distributed scores: of runs, and of units.

They complement `analysis.stats.mrmc`, the primary test, as does `analysis.stats.resampling`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from math import comb, nan, prod

import numpy as np
from numpy.random import Generator

from analysis.scores.score_matrix import Floats, ScoreMatrix
from analysis.stats.mrmc import FEWEST_FOLDS
from analysis.stats.seed_variance import means_by_fold, readers

BLOCK = 2**22
"""Numbers held at a time: 32 MiB."""


@dataclass(frozen=True)
class Permutation:
    """Result of a two-sided permutation test."""

    p: float
    """NaN, as `smallest`, where there is no test."""
    smallest: float
    """Smallest p-value that the design allows, whatever the scores, ties aside."""
    exact: bool
    """True if all relabellings were counted."""


def permutation(matrix: ScoreMatrix, arm: str, reference: str, generator: Generator, draws: int = 9999) -> Permutation:
    """Permutation test that exchanges whole runs between the two arms, in each fold by itself.

    It is conditional on the test images: it asks whether other seeds could have made the difference *on these images*,
    not whether it holds on new ones. The other half is `sign_flip`. The variance that the joint test of
    `analysis.stats.mrmc` estimates is, in the mean, at least the larger of these two tests' and at most their sum.

    The statistic is Welch's |t| between the runs' means. For arms of equally many runs it orders relabellings as the
    plain difference does. For others the plain difference finds arms unequal that only spread unequally; studentised,
    it is exact where runs are exchangeable and right in the limit where just their means are equal (Janssen 1997, Stat
    Probab Lett 36:9; Chung & Romano 2013, Ann Stat 41:484). Few runs are no limit: of 10 seeds against 3 that vary four
    times as much, 12 to 13 % are called different at 5 % where the arms' means are equal. With one seed in each fold
    the two runs of a fold change places, and the statistic is the plain difference.

    Args:
        matrix: complete for both arms.
        arm: its name.
        reference: the name of the other.
        generator: used where there are more relabellings than `draws`.
        draws: all relabellings are counted where they are no more than this; else p is (1 + b) / (1 + draws), b of
            `draws` random ones being as extreme (Phipson & Smyth 2010, Stat Appl Genet Mol Biol 9:39).

    Returns:
        With r seeds each, p is at least 2 / C(2 r, r): 0.33 for 2, 0.1 for 3, 0.029 for 4, 0.008 for 5 seeds; with K
        folds at least 2 / C(2 r, r)^K. NaN where an arm has one seed, in fewer than 3 folds.

    Raises:
        ValueError: cells are missing.
    """
    samples = means_by_fold(matrix, readers(matrix, arm, reference))
    if not samples:
        return Permutation(nan, nan, False)
    counts = np.array([[len(each) for each in sample] for sample in samples])
    single = bool((counts == 1).all())
    if counts.min() < 2 and len(samples) < (FEWEST_FOLDS if single else 2):
        return Permutation(nan, nan, False)
    size = max(float(np.abs(np.concatenate(sample)).max()) for sample in samples)
    # Float error shouldn't decide ties.
    scale = 0.0 if size < 1e-12 else 1 / size
    means = [np.concatenate(sample) * scale for sample in samples]
    totals = counts.sum(axis=1)
    ways = prod(comb(total, count) for total, count in zip(totals.tolist(), counts[:, 0].tolist(), strict=True))
    exact = ways <= draws
    apart, error = np.zeros(1), np.zeros(1)
    for values, (count, _) in zip(means, counts.tolist(), strict=True):
        if exact:
            chosen = np.array(list(combinations(range(len(values)), count)))
        else:
            chosen = np.argsort(generator.random((draws, len(values))), axis=1)[:, :count]
        own = np.zeros((len(chosen), len(values)))
        np.put_along_axis(own, chosen, 1.0, axis=1)
        of_fold, its_error = _moments(own, values)
        if exact:  # every way of this fold with every one of those before
            apart, error = (np.add.outer(a, b).ravel() for a, b in ((apart, of_fold), (error, its_error)))
        else:
            apart, error = apart + of_fold, error + its_error
    first = [_moments(np.arange(len(each))[None] < count, each) for each, (count, _) in zip(means, counts, strict=True)]
    seen = np.asarray(np.sum(first, axis=0))
    observed = _welch(seen[0], seen[1], single)[0]
    extreme = int(np.sum(_welch(apart, error, single) >= observed * (1 - 1e-9)))
    mirrored = 2 if (counts[:, 0] == counts[:, 1]).all() else 1
    return _counted(extreme, exact, ways, mirrored, draws)


def sign_flip(matrix: ScoreMatrix, arm: str, reference: str, generator: Generator, draws: int = 9999) -> Permutation:
    """Sign-flip test of the units' differences, averaged over seeds.

    It is conditional on the networks: it asks whether *these* networks differ on new images, not whether networks of
    other seeds would. The other half is `permutation`. The statistic is the absolute mean; studentised it gives the
    same p, since flips leave the sum of squares as it is. Exact for differences that are symmetric around 0, of units
    that count equally; for units of unequal numbers of images it is right in the limit of many.

    Args:
        matrix: complete for both arms.
        arm: its name.
        reference: the name of the other.
        generator: used where there are more flips than `draws`, 2^units.
        draws: as for `permutation`.

    Returns:
        With n units, p is at least 2^(1 - n). NaN with one unit.

    Raises:
        ValueError: cells are missing.
    """
    ours, theirs = readers(matrix, arm, reference)
    changes = ((ours.by_unit - theirs.by_unit) * matrix.weights * len(matrix.units))[ours.known]
    changes = np.where(np.abs(changes) < 1e-12, 0.0, changes)
    units = len(changes)
    if units < 2:
        return Permutation(nan, nan, False)
    ways = 2**units
    exact = ways <= draws
    limit = abs(changes.sum()) * (1 - 1e-9) - 1e-15

    def extreme(start: int, stop: int) -> int:
        if exact:
            flips = np.arange(start, stop)[:, None] >> np.arange(units) & 1
        else:
            flips = generator.integers(0, 2, (stop - start, units), dtype=np.int8)
        return int(np.sum(np.abs(changes.sum() - 2 * (flips @ changes)) >= limit))

    return _counted(_in_blocks(extreme, ways if exact else draws, units), exact, ways, 2, draws)


def _moments(own: Floats, values: Floats) -> tuple[Floats, Floats]:
    """The arms' difference, and its variance by runs, for each `(ways, runs)` choice: 1 for an arm's runs, 0 for the
    other's. An arm of one run has no variance here."""
    sides = own.astype(np.float64), 1.0 - own
    counts = [side.sum(axis=1) for side in sides]
    averages = [side @ values / count for side, count in zip(sides, counts, strict=True)]
    errors = [
        (side @ values**2 / count - average**2) / np.maximum(count - 1, 1)
        for side, count, average in zip(sides, counts, averages, strict=True)
    ]
    return averages[0] - averages[1], errors[0] + errors[1]


def _welch(difference: Floats, error: Floats, single: bool) -> Floats:
    """|t| of differences of which runs are within -1 and 1; the plain difference where arms have one run in each
    fold."""
    apart, error = np.abs(difference), np.where(error < 1e-12, 0.0, error)
    if single:
        return apart
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic: Floats = np.where(apart < 1e-12, 0.0, apart / np.sqrt(error))
    return statistic


def _in_blocks(count: Callable[[int, int], int], draws: int, size: int) -> int:
    rows = max(1, BLOCK // size)
    return sum(count(start, min(start + rows, draws)) for start in range(0, draws, rows))


def _counted(extreme: int, exact: bool, ways: int, mirrored: int, draws: int) -> Permutation:
    if exact:
        return Permutation(extreme / ways, mirrored / ways, True)
    return Permutation((1 + extreme) / (1 + draws), max(1 / (1 + draws), mirrored / ways), False)
