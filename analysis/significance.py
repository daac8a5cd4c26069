"""Does an arm differ from the baseline? Paired tests on images, with groups of images as the units."""

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from analysis.record import Average
from analysis.scores import OVERALL, run_means, with_overall

ALPHA = 0.05
"""Level of the verdicts, after correction."""

EXACT_UP_TO = 50
"""Units up to which p-values are exact."""


COLUMNS = ["class", "subgroup", "arm", "n_images", "n_units", "difference", "ci_low", "ci_high"]
COLUMNS += ["p", "p_smallest", "p_holm", "p_holm_smallest", "p_seeds", "verdict"]


def signed_rank(differences: npt.NDArray[np.float64]) -> tuple[float, int]:
    """Two-sided Wilcoxon signed-rank test of differences, shape (units,).

    Differences are rounded to 12 decimals, so that float error doesn't break ties; zeros are then dropped (Wilcoxon's
    own rule; all zero: p = 1) and equal sizes share their mean rank. The p-value is exact up to 50 units, with and
    without ties; beyond it is SciPy's normal approximation, corrected for ties.

    Returns:
        p, and the direction of the ranks: 1 where positive ranks outweigh negative ones, -1 the reverse, 0 neither.
    """
    changed = np.round(differences, 12)
    changed = changed[changed != 0]
    twice_ranks = np.rint(2 * stats.rankdata(np.abs(changed))).astype(int)  # twice: mean ranks of ties are halves
    positive, negative = twice_ranks[changed > 0].sum(), twice_ranks[changed < 0].sum()
    if len(changed) > EXACT_UP_TO:
        p = float(stats.wilcoxon(changed).pvalue)
    else:
        p = min(1.0, 2 * _chance_of_at_most(twice_ranks, min(positive, negative)))
    return p, int(np.sign(positive - negative))


def _chance_of_at_most(sizes: npt.NDArray[np.int64], limit: int) -> float:
    """Chance that the sum of `sizes`, each of which counts with probability 1/2, is at most `limit`.

    SciPy's exact test doesn't allow for ties, and its permutation test takes seconds.
    """
    chances = np.zeros(limit + 1)
    chances[0] = 1.0
    for size in sizes:
        with_it = np.zeros_like(chances)
        with_it[size:] = chances[: max(limit + 1 - size, 0)]
        chances = (chances + with_it) / 2
    return float(chances.sum())


def holm(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """p-values corrected by Holm's method, shape (..., comparisons); each row of the last axis is a family."""
    order = np.argsort(p, axis=-1)
    steps = np.take_along_axis(p, order, axis=-1) * np.arange(p.shape[-1], 0, -1)
    corrected = np.empty_like(p)
    np.put_along_axis(corrected, order, np.minimum(np.maximum.accumulate(steps, axis=-1), 1), axis=-1)
    return corrected


def smallest_holm(p: npt.NDArray[np.float64], smallest: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The least that each corrected p-value could have been, had its own been `smallest` and the others as they are."""
    own = np.eye(len(p), dtype=bool)
    return np.diagonal(holm(np.where(own, smallest, p)))


def seed_test(rows: pd.DataFrame, baseline: str) -> pd.Series:
    """Could the seeds alone make an arm differ this much? Two-sided p of Welch's t test on the means of runs.

    Args:
        rows: of `analysis.scores.with_overall`.
        baseline: the arm that the others are compared with.

    Returns:
        p by class, subgroup and arm: NaN where an arm has one seed, so that it can't be told.
    """
    arms = run_means(rows).groupby(["class", "subgroup", "arm"], observed=True).agg(["mean", "var", "count"])
    base = arms.xs(baseline, level="arm").reindex(arms.droplevel("arm").index).set_axis(arms.index)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = arms["var"] / arms["count"], base["var"] / base["count"]
        squared = sum(shares)
        freedom = squared**2 / sum(
            share**2 / (count - 1) for share, count in zip(shares, (arms["count"], base["count"]), strict=True)
        )
        p = 2 * stats.t.sf(np.abs(arms["mean"] - base["mean"]) / np.sqrt(squared), freedom)
    return pd.Series(np.where(squared == 0, 0.0, p), arms.index, name="p_seeds").drop(baseline, level="arm")


def compare(scores: pd.DataFrame, baseline: str, average: Average = "images") -> pd.DataFrame:
    """Compare each arm with the baseline, on each subgroup and overall.

    F1 is averaged over the seeds of an arm, image by image; arm minus baseline is averaged within each `group`, whose
    images aren't independent, and the groups' means are tested (`signed_rank`). Holm's correction takes all comparisons
    on subgroups as one family and all comparisons on `OVERALL` as another.

    Where the overall average is that of subgroups' means, an image's difference counts on `OVERALL` by its weight
    (`analysis.scores.with_overall`), in the means of groups, too; the interval takes the subgroups as strata.

    Args:
        scores: of `analysis.scores.image_scores`. Arms are compared where both have all images.
        baseline: the arm that the others are compared with.
        average: what `OVERALL` is.

    Returns:
        A row per class, subgroup and arm, in this order: n_images, n_units (groups), difference (mean over images, as
        in the table of scores), ci_low and ci_high (its 95 % t interval, with a standard error over groups; NaN with
        too few groups), p, p_smallest (2 ^ (1 - n_units): all units change in one direction), p_holm, p_holm_smallest,
        p_seeds (`seed_test`, not corrected) and verdict: helps or hurts (p_holm below `ALPHA`), seed noise (below
        `ALPHA`, but p_seeds isn't: these networks differ, and others of other seeds may not), one seed (below
        `ALPHA`, but an arm has one seed, so that p_seeds isn't known), no evidence, too few
        (no change of these units could have brought p_holm below `ALPHA`) or mixed (below `ALPHA`, but the ranks of
        groups and the mean over images have opposite signs). No row where the arm's or the baseline's runs
        don't cover the subgroup.
    """
    cell = ["class", "subgroup", "arm"]
    image = ["class", "subgroup", "stratum", "group", "image", "weight"]
    rows = with_overall(scores, average)
    means = rows.groupby([*image, "arm"], observed=True)["f1"].mean().unstack("arm")
    means.columns = means.columns.astype(str)
    arms = [arm for arm in means.columns if arm != baseline]
    if baseline not in means.columns or not arms:
        return pd.DataFrame(columns=COLUMNS)
    differences = means[arms].sub(means[baseline], axis=0)
    differences = differences.melt(var_name="arm", value_name="difference", ignore_index=False).dropna().reset_index()
    if differences.empty:
        return pd.DataFrame(columns=COLUMNS)
    differences["arm"] = pd.Categorical(differences["arm"], arms, ordered=True)
    strata = [*cell, "stratum"] if average == "subgroups" else cell
    centre = differences.groupby(strata, observed=True)["difference"].transform("mean")
    differences["residual"] = differences["weight"] * (differences["difference"] - centre)
    differences["difference"] *= differences["weight"]
    units = differences.groupby([*cell, "group"], observed=True).agg({"difference": "mean", "residual": "sum"})
    grouped = differences.groupby(cell, observed=True)
    tests = grouped.agg(n_images=("image", "nunique"), difference=("difference", "mean"))
    tests["n_units"] = units.groupby(cell, observed=True).size()

    squares = (units["residual"] ** 2).groupby(cell, observed=True).sum()
    freedom = tests["n_units"] - (grouped["stratum"].nunique() if average == "subgroups" else 1)
    freedom = freedom.where(freedom > 0)
    error = np.sqrt(squares * tests["n_units"] / freedom) / grouped.size()
    half = stats.t.ppf(0.975, freedom) * error
    tests["ci_low"], tests["ci_high"] = tests["difference"] - half, tests["difference"] + half

    tests[["p", "direction"]] = [
        signed_rank(unit.to_numpy()) for _, unit in units["difference"].groupby(cell, observed=True)
    ]
    tests["p_smallest"] = 2.0 ** (1 - tests["n_units"])
    overall = tests.index.get_level_values("subgroup") == OVERALL
    for family in (overall, ~overall):
        if family.any():
            p, smallest = tests.loc[family, "p"].to_numpy(), tests.loc[family, "p_smallest"].to_numpy()
            tests.loc[family, "p_holm"] = holm(p)
            tests.loc[family, "p_holm_smallest"] = smallest_holm(p, smallest)

    tests["p_seeds"] = seed_test(rows, baseline)
    found, sign = tests["p_holm"] < ALPHA, np.sign(tests["difference"])
    mixed, one_seed = found & (sign != tests["direction"]), found & tests["p_seeds"].isna()
    noise, few = found & (tests["p_seeds"] >= ALPHA), tests["p_holm_smallest"] >= ALPHA
    tests["verdict"] = np.select(
        [mixed, one_seed, noise, found & (sign > 0), found, few],
        ["mixed", "one seed", "seed noise", "helps", "hurts", "too few"],
        "no evidence",
    )
    return tests.reset_index()[COLUMNS]
