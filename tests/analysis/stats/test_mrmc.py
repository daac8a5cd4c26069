"""The multi-reader multi-case test: against analyses of variance by statsmodels, by symmetry and on nulls."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy import stats

from analysis.scores.image_scores import with_overall
from analysis.scores.score_matrix import ScoreMatrix, score_matrices, score_matrix
from analysis.stats.mrmc import difference
from metaseg.schema import OVERALL

Array = npt.NDArray[np.float64]


def make_matrix(**arms: Array) -> ScoreMatrix:
    """Make a matrix from `(seeds, units)` scores by arm."""
    names, values = tuple(arms), list(arms.values())
    arm = np.repeat(np.arange(len(names)), [len(each) for each in values])
    seed = np.concatenate([np.arange(len(each)) for each in values])
    units = tuple(f"u{k}" for k in range(values[0].shape[1]))
    return ScoreMatrix(names, arm, seed, np.concatenate(values), units, len(units))


def simulate(
    rng: np.random.Generator,
    seeds: tuple[int, int] = (3, 3),
    units: int = 40,
    effect: float = 0.0,
    seed: float = 0.003,
    arm_unit: float = 0.01,
    error: float = 0.02,
) -> ScoreMatrix:
    unit = rng.normal(0, 0.05, units)
    values = [
        0.8 + shift + unit + rng.normal(0, seed, (count, 1)) + rng.normal(0, arm_unit, units)
        + rng.normal(0, error, (count, units))
        for count, shift in zip(seeds, (effect, 0.0), strict=True)
    ]  # fmt: skip
    return make_matrix(sme=values[0], baseline=values[1])


def mean_squares(matrix: ScoreMatrix) -> dict[str, float]:
    """Mean squares of a balanced split-plot design, from a linear model's sequential sums of squares."""
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    runs, units = matrix.values.shape
    rows = pd.DataFrame(
        {
            "y": matrix.values.ravel(),
            "arm": np.repeat(matrix.arm, units).astype(str),
            "run": np.repeat(matrix.seed, units).astype(str),
            "unit": np.tile(np.arange(units), runs).astype(str),
        }
    )
    table = anova_lm(ols("y ~ C(arm) + C(arm):C(run) + C(unit) + C(arm):C(unit)", rows).fit())
    return {str(name).replace("C(", "").replace(")", ""): row["mean_sq"] for name, row in table.iterrows()}


def test_the_split_plot_f_test_is_that_of_an_analysis_of_variance() -> None:
    data = simulate(np.random.default_rng(1), units=12, effect=0.01)
    squares = mean_squares(data)
    found = difference(data, "sme", "baseline", variances="pooled")
    excess = max(squares["arm:unit"] - squares["Residual"], 0)
    assert excess > 0
    assert found.t**2 == pytest.approx(squares["arm"] / (squares["arm:run"] + excess))
    assert found.components is not None
    assert found.components.error == pytest.approx(squares["Residual"])
    assert found.components.arm_unit == pytest.approx((squares["arm:unit"] - squares["Residual"]) / 3)
    assert found.components.seed == pytest.approx((squares["arm:run"] - squares["Residual"]) / 12)
    assert found.p == pytest.approx(stats.f.sf(found.t**2, 1, found.df))
    hillis = (squares["arm:run"] + excess) ** 2 / (squares["arm:run"] ** 2 / 4)
    assert found.df < hillis
    satterthwaite = difference(data, "sme", "baseline", freedom="satterthwaite", variances="pooled")
    terms = squares["arm:run"] ** 2 / 4 + squares["arm:unit"] ** 2 / 11 + squares["Residual"] ** 2 / 44
    assert satterthwaite.df == pytest.approx((squares["arm:run"] + excess) ** 2 / terms)
    assert satterthwaite.se == found.se


def test_with_many_units_the_freedom_is_hillis() -> None:
    data = simulate(np.random.default_rng(2), units=4000)
    found = difference(data, "sme", "baseline", variances="pooled")
    means = [data.of(arm).mean(axis=1) for arm in data.arms]
    seed = 2 / 3 * np.mean([m.var(ddof=1) for m in means])
    assert found.df == pytest.approx(found.se**4 / (seed**2 / 4), rel=0.05)


def test_without_differences_between_units_it_is_students_test_on_the_means_of_runs() -> None:
    rng = np.random.default_rng(3)
    shared = rng.normal(0, 0.05, 30)
    values = {arm: 0.8 + shared + rng.normal(0, 0.01, (count, 1)) for arm, count in (("sme", 4), ("baseline", 3))}
    found = difference(make_matrix(**values), "sme", "baseline", variances="pooled")
    student = stats.ttest_ind(*(values[arm].mean(axis=1) for arm in ("sme", "baseline")))
    assert (found.t, found.df, found.p) == pytest.approx((student.statistic, 5, student.pvalue))


def test_without_differences_between_seeds_it_is_the_paired_test_on_images() -> None:
    """Runs of equal bits: what remains is whether the arms differ on new images."""
    rng = np.random.default_rng(4)
    one = rng.normal(0.8, 0.05, (2, 25))
    found = difference(make_matrix(sme=one[[0] * 3], baseline=one[[1] * 3]), "sme", "baseline")
    paired = stats.ttest_rel(*one)
    assert (found.t, found.df, found.p) == pytest.approx((paired.statistic, 24, paired.pvalue))


def test_crossed_seeds_are_a_test_on_pairs() -> None:
    rng = np.random.default_rng(5)
    shared, seeds = rng.normal(0.8, 0.05, 30), rng.normal(0, 0.02, (4, 1))
    ours = shared + seeds + 0.01 + rng.normal(0, 0.002, (4, 1))
    theirs = shared + seeds
    found = difference(make_matrix(sme=ours, baseline=theirs), "sme", "baseline", seeds="crossed")
    paired = stats.ttest_rel(ours.mean(axis=1), theirs.mean(axis=1))
    assert (found.t, found.df, found.p) == pytest.approx((paired.statistic, 3, paired.pvalue))
    assert found.p < 0.05 < difference(make_matrix(sme=ours, baseline=theirs), "sme", "baseline").p


def test_exchanging_the_arms_changes_the_sign_alone() -> None:
    data = simulate(np.random.default_rng(6), seeds=(2, 5), effect=0.02)
    there, back = difference(data, "sme", "baseline"), difference(data, "baseline", "sme")
    assert (there.estimate, there.se, there.p, there.ci_low) == pytest.approx(
        (-back.estimate, back.se, back.p, -back.ci_high)
    )


def test_one_seed_or_one_unit_has_a_difference_and_no_test() -> None:
    rng = np.random.default_rng(7)
    for data in (simulate(rng, seeds=(1, 3)), simulate(rng, units=1)):
        found = difference(data, "sme", "baseline")
        assert np.isfinite(found.estimate)
        assert np.isnan([found.se, found.df, found.p, found.ci_low, found.ci_high]).all()
        assert found.components is None


def test_missing_cells_are_refused() -> None:
    data = simulate(np.random.default_rng(8))
    data.values[0, 0] = np.nan
    with pytest.raises(ValueError, match="expected complete data"):
        difference(data, "sme", "baseline")


@pytest.mark.parametrize("seed", [0.0, 0.003, 0.012])
def test_equal_arms_are_told_apart_as_often_as_promised(seed: float) -> None:
    """600 draws of 5 seeds and 40 units: 5 % are 30, whose standard deviation is 5.3."""
    rng = np.random.default_rng(9)
    p = [difference(simulate(rng, (5, 5), seed=seed), "sme", "baseline").p for _ in range(600)]
    assert 15 <= np.sum(np.array(p) < 0.05) <= 47


def test_a_planted_effect_is_found_and_its_interval_covers_it() -> None:
    rng = np.random.default_rng(10)
    found = [difference(simulate(rng, (5, 5), effect=0.02), "sme", "baseline") for _ in range(200)]
    assert np.mean([each.p < 0.05 for each in found]) > 0.9
    assert 0.90 <= np.mean([each.ci_low <= 0.02 <= each.ci_high for each in found]) <= 0.99


def scores_of(f1: Array, group: list[str], subgroup: list[str], arms: tuple[str, ...]) -> pd.DataFrame:
    """Rows as `image_scores` returns them, of `(arms, seeds, images)` scores."""
    rows = [
        {"class": "c", "arm": arm, "seed": seed, "subgroup": subgroup[k], "group": group[k], "image": f"i{k}",
         "score": f1[i, seed, k], "empty": False}
        for i, arm in enumerate(arms) for seed in range(f1.shape[1]) for k in range(f1.shape[2])
    ]  # fmt: skip
    orders = {"class": ["c"], "arm": list(arms), "subgroup": [OVERALL, *sorted(set(subgroup))]}
    return pd.DataFrame(rows).astype({key: pd.CategoricalDtype(order, ordered=True) for key, order in orders.items()})


def test_a_units_mean_is_the_mean_over_images_however_unequal_groups_are() -> None:
    rng = np.random.default_rng(11)
    f1 = rng.uniform(0.5, 1, (2, 3, 10))
    group = [*"aaaaaabbcd"]
    scores = scores_of(f1, group, ["x"] * 10, ("sme", "baseline"))
    ((_, subgroup, data),) = score_matrices(scores)
    assert (subgroup, data.units, data.images) == (OVERALL, tuple("abcd"), 10)
    assert data.of("sme") @ data.weights == pytest.approx(f1[0].mean(axis=1))
    assert data.of("sme")[:, 0] == pytest.approx(f1[0][:, :6].mean(axis=1)), "a unit's value is its images' mean"
    assert data.size == pytest.approx(100 / (36 + 4 + 1 + 1))
    assert data.freedom == pytest.approx(data.size - 1)
    singly = score_matrix(with_overall(scores_of(f1, [f"g{k}" for k in range(10)], ["x"] * 10, ("sme", "baseline"))))
    assert singly.of("baseline") == pytest.approx(f1[1]), "an image that is its own unit has its own score"


def test_an_average_of_subgroups_is_the_mean_of_their_means_and_takes_them_as_strata() -> None:
    rng = np.random.default_rng(12)
    f1 = rng.uniform(0.5, 1, (2, 2, 10))
    subgroup = ["rare"] * 2 + ["common"] * 8
    scores = scores_of(f1, [f"g{k}" for k in range(10)], subgroup, ("sme", "baseline"))
    overall = next(data for _, name, data in score_matrices(scores, "subgroups") if name == OVERALL)
    wanted = (f1[0][:, :2].mean(axis=1) + f1[0][:, 2:].mean(axis=1)) / 2
    assert overall.of("sme") @ overall.weights == pytest.approx(wanted)
    assert overall.effective.tolist() == [8, 2]
    shifted = f1 + np.where(np.array(subgroup) == "rare", 0.2, 0) * np.array([1, 0])[:, None, None]
    scores = scores_of(shifted, [f"g{k}" for k in range(10)], subgroup, ("sme", "baseline"))
    moved = next(data for _, name, data in score_matrices(scores, "subgroups") if name == OVERALL)
    first, second = (difference(data, "sme", "baseline") for data in (overall, moved))
    assert second.estimate == pytest.approx(first.estimate + 0.1)
    assert second.se == pytest.approx(first.se), "a difference between strata is no variance among units"


def weighted(sizes: list[int], values: Array, stratum: list[int] | None = None) -> ScoreMatrix:
    """Two arms of three seeds; `(6, units)` values."""
    strata = np.array(stratum or [0] * len(sizes))
    images = np.array(sizes, float)
    weights = images / np.bincount(strata, images)[strata] / (strata.max() + 1)
    units = tuple(f"u{k}" for k in range(len(sizes)))
    arm, seed = np.repeat([0, 1], 3), np.tile(np.arange(3), 2)
    return ScoreMatrix(("sme", "baseline"), arm, seed, values, units, sum(sizes), weights, strata)


def test_the_variance_of_a_weighted_mean_is_unbiased() -> None:
    """Units of variance 1: the mean's is sum w², in each stratum times the square of its share."""
    rng = np.random.default_rng(13)
    for sizes, stratum in (([1, 1, 1, 1, 16], None), ([3, 2, 2, 4, 1, 5], [0, 0, 0, 1, 1, 1])):
        data = weighted(sizes, np.zeros((6, len(sizes))), stratum)
        found = data.variance(rng.normal(0, 1, (40_000, len(sizes))))
        assert found.mean() == pytest.approx(np.sum(data.weights**2), rel=0.03)


def test_a_unit_in_two_strata_moves_both_means_together() -> None:
    data = weighted([1] * 12, np.zeros((6, 12)), [0] * 6 + [1] * 6)
    twice = replace(data, units=data.units[:6] * 2)
    values = np.tile(np.random.default_rng(14).normal(0, 1, (20_000, 6)), 2)
    assert data.variance(values).mean() == pytest.approx(1 / 12, rel=0.03), "as if the strata were independent"
    assert twice.variance(values).mean() == pytest.approx(1 / 6, rel=0.03)


@pytest.mark.parametrize(
    ("sizes", "stratum"),
    [
        ([1] * 5 + [1] * 24 + [71], None),
        ([1] * 60 + [40], None),
        ([1] * 40 + [5] * 10, None),
        ([1] * 60, [0] * 55 + [1] * 5),
        ([1] * 60, [0] * 50 + [1] * 10),
    ],
    ids=["one dominant", "one large", "uneven", "rare stratum", "small stratum"],
)
def test_unequal_units_and_rare_strata_are_no_more_often_told_apart(
    sizes: list[int], stratum: list[int] | None
) -> None:
    """400 draws of equal arms whose units differ by arm: 5 % are 20, whose standard deviation is 4.4."""
    rng, found = np.random.default_rng(15), 0
    for _ in range(400):
        units = rng.normal(0, 0.05, len(sizes)) + np.repeat(rng.normal(0, 0.02, (2, len(sizes))), 3, axis=0)
        values = units + rng.normal(0, 0.003, (6, 1)) + rng.normal(0, 0.01, (6, len(sizes)))
        found += difference(weighted(sizes, values, stratum), "sme", "baseline").p < 0.05
    assert found <= 33


def test_a_stratum_of_one_unit_has_no_variance_and_so_no_test() -> None:
    values = np.random.default_rng(16).normal(0.8, 0.05, (6, 30))
    found = difference(weighted([1] * 30, values, [0] * 29 + [1]), "sme", "baseline")
    assert np.isfinite(found.estimate)
    assert np.isnan([found.se, found.p]).all()


def test_arms_have_seed_variances_of_their_own() -> None:
    """Welch's test of run means, cautiously, where units don't vary; and his own statistic."""
    rng = np.random.default_rng(30)
    shared = rng.normal(0, 0.05, 30)
    values = {"sme": 0.8 + shared + rng.normal(0, 0.02, (3, 1)), "baseline": 0.8 + shared + rng.normal(0, 0.01, (8, 1))}
    found = difference(make_matrix(**values), "sme", "baseline")
    welch = stats.ttest_ind(*(values[arm].mean(axis=1) for arm in ("sme", "baseline")), equal_var=False)
    assert found.t == pytest.approx(welch.statistic)
    assert 2 <= found.df <= welch.df
    plain = difference(make_matrix(**values), "sme", "baseline", freedom="hillis")
    assert (plain.df, plain.p) == pytest.approx((welch.df, welch.pvalue))
