"""Variation among the runs of an arm: standard deviation, worst run, collapsed and failed runs."""

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from analysis.results.declaration import Run
from analysis.scores.score_matrix import Floats, ScoreMatrix

COLLAPSED = 0.5
"""A run whose mean is below this share of its arm's best run's has collapsed."""

LOW = 0.1
"""Quantile of the images' scores that is shown."""

LEVEL = 0.95
"""Confidence level of the one-sided upper limit."""


def seed_table(
    matrix: ScoreMatrix, scores: pd.DataFrame, baseline: str, missing: Sequence[Run] = (), failed: Collection[str] = ()
) -> pd.DataFrame:
    """Table of the runs of each arm.

    Args:
        matrix: of one class, all images.
        scores: of `analysis.scores.image_scores.image_scores`, of this class.
        baseline: whose SD others' are compared with.
        missing: runs that aren't finished.
        failed: ids of those among them that failed when they were last tried.

    Returns:
        A row an arm: arm, n_seeds, n_runs (as many as seeds but with folds), mean, sd (among runs' means, within
        folds; NaN with one), sd_ratio (to the baseline's), worst_run (the lowest mean of a seed), low_images (the tenth
        percentile of images' scores, mean over seeds), n_collapsed (runs with less than half of the mean of the arm's
        best in the fold; of negative scores, with more than twice it), n_failed, n_missing (not finished, and not known
        to have failed), and failure_limit: how often runs collapse or fail at most, at 95 % (Clopper & Pearson 1934,
        Biometrika 26:404; 0 of 3 still allows 63 %).
    """
    lows = scores.groupby(["arm", "seed"], observed=True)["score"].quantile(LOW).groupby("arm", observed=True).mean()
    rows = []
    for arm in matrix.arms:
        means = matrix.of(arm) @ matrix.weights
        networks = fold_means(matrix, arm)
        there = ~np.isnan(networks)
        fallen = np.array([collapsed(own[~np.isnan(own)]).sum() for own in networks.T if not np.isnan(own).all()])
        unfinished = [run.run_id for run in missing if run.arm == arm]
        n_failed, n_collapsed = len(set(unfinished) & set(failed)), int(fallen.sum())
        rows.append(
            {
                "arm": arm,
                "n_seeds": len(means),
                "n_runs": int(there.sum()),
                "mean": means.mean(),
                "sd": seed_sd(matrix, arm),
                "worst_run": means.min(),
                "low_images": lows[arm],
                "n_collapsed": n_collapsed,
                "n_failed": n_failed,
                "n_missing": len(unfinished) - n_failed,
                "failure_limit": upper_limit(n_collapsed + n_failed, int(there.sum()) + n_failed),
            }
        )
    table = pd.DataFrame(rows)
    known = table.set_index("arm")["sd"]
    own = float(known.get(baseline, np.nan))
    table.insert(5, "sd_ratio", table["sd"] / own if own > 0 else np.nan)
    return table


def fold_means(matrix: ScoreMatrix, arm: str) -> Floats:
    """`(seeds, folds)` mean of each of an arm's networks over its fold, by ascending seed; NaN where there is none."""
    rows = np.flatnonzero(matrix.arm == matrix.arms.index(arm))
    rows = rows[np.argsort(matrix.seed[rows], kind="stable")]
    means = []
    for fold in np.unique(matrix.fold):
        here = np.flatnonzero(matrix.fold == fold)
        weights = matrix.weights[here] / matrix.weights[here].sum()
        own = matrix.values[np.ix_(rows, here)] @ weights
        if matrix.filled is not None:
            own = np.where((matrix.filled.share[np.ix_(rows, here)] < 1).any(axis=1), own, np.nan)
        means.append(own)
    return np.stack(means, axis=1)


def seed_sd(matrix: ScoreMatrix, arm: str) -> float:
    """Standard deviation of an arm's runs' means within folds, pooled over these; NaN where each has one run."""
    means = fold_means(matrix, arm)
    there = ~np.isnan(means)
    centred = means - np.where(there, means, 0.0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    freedom = int(np.maximum(there.sum(axis=0) - 1, 0).sum())
    return float(np.sqrt(np.nansum(centred**2) / freedom)) if freedom else float("nan")


def collapsed(means: Floats) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """Mask of the runs that lie below the arm's best run by more than half of its mean."""
    best = means.max()
    return np.asarray(means < best - COLLAPSED * abs(best))


def upper_limit(count: int, of: int) -> float:
    """Exact one-sided 95 % upper confidence limit of a proportion (Clopper-Pearson): 0 of 3 gives 0.63."""
    return 1.0 if count >= of else float(stats.beta.ppf(LEVEL, count + 1, of - count))


def run_means(matrices: "dict[str, ScoreMatrix]") -> pd.DataFrame:
    """The mean of each run in each subgroup: a row a run (arm, seed), a column a subgroup; NaN where it has none."""
    columns = {}
    for name, matrix in matrices.items():
        index = pd.MultiIndex.from_arrays([[matrix.arms[k] for k in matrix.arm], matrix.seed], names=["arm", "seed"])
        columns[name] = pd.Series(matrix.values @ matrix.weights, index)
    arms = list(dict.fromkeys(arm for matrix in matrices.values() for arm in matrix.arms))
    table = pd.DataFrame(columns)
    order = sorted(table.index, key=lambda key: (arms.index(key[0]), key[1]))
    return table.loc[order]


def residuals(matrix: ScoreMatrix) -> pd.DataFrame:
    """Residuals of an additive model of runs and units: one row per run and unit, with arm, fitted and residual.

    fitted = mean of the run + mean of the unit over runs - mean of all, with the units' weights.
    """
    values, weights = matrix.values, matrix.weights
    by_run, by_unit = values @ weights, values.mean(axis=0)
    fitted = by_run[:, None] + by_unit - by_unit @ weights
    arms = np.array(matrix.arms, dtype=object)[matrix.arm]
    return pd.DataFrame(
        {
            "arm": pd.Categorical(np.repeat(arms, values.shape[1]), list(matrix.arms), ordered=True),
            "fitted": fitted.ravel(),
            "residual": (values - fitted).ravel(),
        }
    )
