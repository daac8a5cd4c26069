"""Expected best validation score of a search as a function of its budget, and the best so far."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import gammaln

from analysis.stats.multiple_testing import Floats
from analysis.sweeps.trials import SCORE

LEVEL = 0.95
TWO_SIDED = 5
"""An upper limit is given up to 1 / so much of the trials; see `expected_best`."""

ORDERS = 200
"""Random orders of each resample, where budgets are costs."""

BATCH = 2_000_000
"""Trials of all orders held at once: 16 MB a table."""

Ints = npt.NDArray[np.int64]


def expected_best(
    values: Sequence[float] | Floats,
    costs: Sequence[float] | Floats | None,
    budgets: Sequence[float] | Ints | Floats,
    generator: np.random.Generator,
    draws: int = 1000,
) -> pd.DataFrame:
    """The expected best of the trials that a budget pays for, and its interval.

    Of n trials, for trials that are independent draws, as in random search (Dodge et al. 2019, EMNLP, "Show Your
    Work"). Their estimator, the expected maximum of n draws **with** replacement, is too low (Tang et al. 2020, ACL).
    This is the mean of the maxima of all subsets of n trials, the unbiased estimator of Tang et al. Dodge et al. (2021,
    Findings of EMNLP) found that it varies more than those with a bias, which led to fewer wrong conclusions on which
    of two models is better. Which errs more depends on the scores: simulated with two searches of 20 trials of which
    one is a little better, the unbiased one puts the wrong one first less often where scores have a sharp upper end,
    as F1
    near its best has (uniform: 18 % against 20 at all trials; exponential: 7 against 8), and more often where they have
    an upper tail (normal: 39 % against 37). Both are returned; that the two order arms alike is a condition for reading
    an order, not a proof of it.
    For the trials of an adaptive search, it describes random orders of these very trials and nothing more.

    With costs: the mean over random orders of the best that is finished before the budget is spent.

    The interval is a bootstrap over trials at 95 %, moved by the known bias of resampling: a resample's maximum is
    too low by what drawing with replacement makes it so. Simulated with uniform, exponential and normal scores of 12
    to 50 trials, the lower limit held in 95 to 99 % of searches instead of 97.5, but for n = 1, a mean of skewed
    scores: 90 to 98 %. The upper limit held in 89 to 99 % up to a fifth of the trials, but in 57 to 79 % at all of
    them, as nothing is known of scores above the best one seen: beyond the fifth none is given. Whatever the method,
    that the median best of n draws is below the best of N seen can't be said with 97.5 % confidence for n > N / 5.3
    (0.5^(N/n) > 0.025) without assuming a distribution.
    Compare Lourie, Cho, He (2024), NAACL, "Show Your Work with Confidence".

    Args:
        values: scores of trials, higher is better; a policy for those without one is `trial_scores`.
        costs: of each trial, above 0; None: budgets are numbers of trials.
        budgets: from 1 to the number of trials; with costs, from the dearest trial's to the sum of all.
        generator: of the resamples.
        draws: how many.

    Returns:
        A row per budget: budget, expected, low, high (NaN where none can be given), and with_replacement, the estimator
        with a bias that resampling gives.

    Raises:
        ValueError: no value, one that isn't finite, costs that don't fit, or a budget out of range.
    """
    scores, wanted = np.asarray(values, float), np.asarray(budgets, float)
    if scores.size == 0 or not np.isfinite(scores).all():
        raise ValueError(f"values are {list(values)[:5]}...; expected finite scores of one or more trials")
    size = len(scores)
    resampled = generator.integers(size, size=(draws, size))
    if costs is None:
        _check_budgets(wanted, 1, size)
        counts = wanted.astype(np.int64)
        if (counts != wanted).any():
            raise ValueError(f"budgets are {list(budgets)[:5]}...; expected whole numbers of trials")
        weights = subset_weights(size, counts)
        expected = np.sort(scores) @ weights
        found = np.sort(scores[resampled], axis=1) @ weights
        centre = np.sort(scores) @ replacement_weights(size, counts)
        two_sided = counts * TWO_SIDED <= size
    else:
        spent = np.asarray(costs, float)
        if spent.shape != scores.shape or not (np.isfinite(spent) & (spent > 0)).all():
            raise ValueError(f"costs are {list(costs)[:5]}...; expected one above 0 for each of {size} values")
        _check_budgets(wanted, float(spent.max()), float(spent.sum()))
        own = np.broadcast_to(np.arange(size), (-(-2 * draws // ORDERS), size))
        expected = _mean_of_orders(scores, spent, own, wanted, generator).mean(axis=0)
        found = _mean_of_orders(scores, spent, resampled, wanted, generator)
        centre = found.mean(axis=0)
        two_sided = wanted * TWO_SIDED <= spent.sum()
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0) + expected - centre
    return pd.DataFrame(
        {
            "budget": np.asarray(budgets),
            "expected": expected,
            "low": np.minimum(low, expected),
            "high": np.where(two_sided, np.maximum(high, expected), np.nan),
            "with_replacement": centre,
        }
    )


def _check_budgets(budgets: Floats, least: float, most: float) -> None:
    beyond = budgets[(budgets < least) | (budgets > most * (1 + 1e-12))]
    if beyond.size:
        raise ValueError(f"budget is {beyond[0]:g}; expected {least:g} to {most:g}")


def subset_weights(size: int, counts: Ints) -> Floats:
    """`(size, counts)` weights of sorted values: how often each is the maximum of a subset of so many, all distinct."""
    rank = np.arange(1, size + 1)[:, None]

    def log_choose(of: Ints, some: Ints) -> Floats:
        left = np.maximum(of - some, 0)
        return np.where(of >= some, gammaln(of + 1) - gammaln(some + 1) - gammaln(left + 1), -np.inf)

    return np.exp(log_choose(rank - 1, counts - 1) - log_choose(np.array(size), counts))


def replacement_weights(size: int, counts: Ints) -> Floats:
    """`(size, counts)` weights of sorted values: the same for draws with replacement (Dodge et al. 2019)."""
    rank = np.arange(1, size + 1)[:, None]
    weights: Floats = (rank / size) ** counts - ((rank - 1) / size) ** counts
    return weights


def _mean_of_orders(
    scores: Floats, costs: Floats, rows: Ints, budgets: Floats, generator: np.random.Generator
) -> Floats:
    """`(rows, budgets)`: the best of what is finished within each budget, mean over `ORDERS` orders of a row's trials.

    A resample may hold cheap trials several times and cost less than the budget in all: it gives all it has.
    """
    means, step = [], max(1, BATCH // (rows.shape[1] * ORDERS))
    for start in range(0, len(rows), step):
        many = generator.permuted(np.repeat(rows[start : start + step], ORDERS, axis=0), axis=1)
        best, spent = np.maximum.accumulate(scores[many], axis=1), np.cumsum(costs[many], axis=1)
        finished = np.stack([(spent <= budget * (1 + 1e-12)).sum(axis=1) for budget in budgets], axis=1)
        means.append(np.take_along_axis(best, finished - 1, axis=1).reshape(-1, ORDERS, len(budgets)).mean(axis=1))
    return np.concatenate(means)


def trial_scores(trials: pd.DataFrame) -> pd.Series:
    """Score of each trial in an expected best; running trials are left out.

    A pruned one counts with its best validation so far, a lower bound of what it might have become: that is what the
    search got of it. One that failed before its first validation, or breaks a constraint, counts 0: it was paid for.

    Args:
        trials: of `analysis.sweeps.trials.read_trials`.
    """
    ended = trials[trials["state"] != "running"]
    return ended[SCORE].where(ended["feasible"].astype(bool)).fillna(0.0).rename(SCORE)


def best_so_far(trials: pd.DataFrame) -> pd.DataFrame:
    """The best validation score as trials went by, in the order of their numbers.

    Trials that were reused count with what they stand for: else the curve would show what the store happened to hold.

    Returns:
        A row per trial that isn't running: number, trials (from 1), image_epochs (spent up to its end) and best.
    """
    ended = trials[trials["state"] != "running"].sort_values("number")
    return pd.DataFrame(
        {
            "number": ended["number"].to_numpy(),
            "trials": np.arange(1, len(ended) + 1),
            "image_epochs": ended["image_epochs"].fillna(0).to_numpy(float).cumsum(),
            "best": trial_scores(ended).cummax().to_numpy(),
        }
    )
