"""Arm x subgroup: against analyses of variance where one source of noise is left, by planted effects and by null."""

from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy import stats

from analysis.scores.score_matrix import ScoreMatrix
from analysis.stats.degrees_of_freedom import cautious
from analysis.stats.interaction import Interaction, interaction
from analysis.stats.mrmc import difference, widening
from metaseg.schema import OVERALL

Array = npt.NDArray[np.float64]


def simulate(
    rng: np.random.Generator,
    seeds: tuple[int, int] = (5, 5),
    units: tuple[int, ...] = (15, 25, 40),
    effects: tuple[float, ...] | None = None,
    seed: float = 0.005,
    seed_subgroup: float = 0.005,
    arm_unit: float = 0.01,
    error: float = 0.02,
    ratio: float = 1.0,
    folds: int | Literal["subgroups"] = 1,
) -> dict[str, ScoreMatrix]:
    """Score matrices by subgroup, of the arms sme and baseline; effects are of sme in each subgroup. Seeds of sme vary
    `ratio` times as much."""
    arm, place = np.repeat([0, 1], seeds), np.concatenate([np.arange(count) for count in seeds])
    of_run, count_folds = np.where(arm == 0, ratio, 1.0)[:, None], len(units) if folds == "subgroups" else folds
    runs = rng.normal(0, seed, (sum(seeds), count_folds)) * of_run
    found = {}
    for g, count in enumerate(units):
        fold = np.full(count, g) if folds == "subgroups" else np.arange(count) % count_folds
        moved = rng.normal(0, seed_subgroup, (sum(seeds), count_folds)) * of_run
        values = 0.8 + runs[:, fold] + rng.normal(0, 0.05, count) + moved[:, fold]
        values = values + rng.normal(0, arm_unit, (2, count))[arm] + rng.normal(0, error, (sum(seeds), count))
        values[arm == 0] += effects[g] if effects else 0.0
        names = tuple(f"{g}-{k}" for k in range(count))
        found[f"cell {g}"] = ScoreMatrix(("sme", "baseline"), arm, place, values, names, count, fold=fold)
    return found


def effect_by_subgroup(matrices: dict[str, ScoreMatrix]) -> Interaction:
    return interaction(matrices, "sme", "baseline")


@pytest.mark.parametrize(("seeds", "subgroups"), [((2, 2), 2), ((3, 3), 4), ((5, 5), 7)])
def test_with_seeds_alone_it_is_the_split_plot_analysis_of_variance(seeds: tuple[int, int], subgroups: int) -> None:
    """Units that differ for all runs alike: arm x subgroup against run x subgroup, on runs' means. Arms that have
    variances of their own leave fewer degrees of freedom."""
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    rng = np.random.default_rng(subgroups)
    data = simulate(rng, seeds, (10,) * subgroups, arm_unit=0, error=0, seed_subgroup=0.01)
    rows = pd.DataFrame(
        {"y": matrix.values[run].mean(), "arm": str(matrix.arm[run]), "run": str(matrix.seed[run]), "subgroup": name}
        for name, matrix in data.items()
        for run in range(sum(seeds))
    )
    formula = "y ~ C(arm) + C(arm):C(run) + C(subgroup) + C(arm):C(subgroup)"
    table = anova_lm(ols(formula, rows).fit())
    wanted, freedom = table.loc["C(arm):C(subgroup)"], float(table.loc["Residual", "df"])
    found = effect_by_subgroup(data)
    assert found.f == pytest.approx(wanted["F"], rel=1e-5 if subgroups == 2 else 0.02)
    assert (seeds[0] - 1) * (subgroups - 1) <= found.df_den <= freedom
    assert found.df_num == wanted["df"]
    assert found.seed_subgroup == pytest.approx(table.loc["Residual", "mean_sq"])


@pytest.mark.parametrize("seeds", [(3, 3), (3, 8)])
def test_with_seeds_alone_two_subgroups_are_a_cautious_welch_test_of_what_runs_differ_by(
    seeds: tuple[int, int],
) -> None:
    data = simulate(np.random.default_rng(1), seeds, (10, 12), arm_unit=0, error=0, seed_subgroup=0.01)
    runs = np.subtract(*(matrix.values @ matrix.weights for matrix in data.values()))
    arms = runs[: seeds[0]], runs[seeds[0] :]
    parts = np.array([*(each.var(ddof=1) / len(each) for each in arms), 0.0])
    found = effect_by_subgroup(data)
    assert found.f == pytest.approx((arms[0].mean() - arms[1].mean()) ** 2 / parts.sum(), rel=1e-5)
    assert found.df_den == pytest.approx(float(cautious(parts, [seeds[0] - 1, seeds[1] - 1, 1])), rel=1e-5)


def test_with_units_alone_two_subgroups_are_welchs_test_on_units_differences() -> None:
    data = simulate(np.random.default_rng(1), units=(12, 40), seed=0, seed_subgroup=0, error=0)
    changes = [matrix.of("sme").mean(axis=0) - matrix.of("baseline").mean(axis=0) for matrix in data.values()]
    welch = stats.ttest_ind(*changes, equal_var=False)
    found = effect_by_subgroup(data)
    assert (found.f, found.df_den, found.p) == pytest.approx((welch.statistic**2, welch.df, welch.pvalue), rel=1e-5)


def test_with_units_alone_several_subgroups_are_nearly_welchs_analysis_of_variance() -> None:
    """Another expansion to the same order."""
    from statsmodels.stats.oneway import anova_oneway

    data = simulate(np.random.default_rng(2), units=(20, 30, 40, 60), seed=0, seed_subgroup=0, error=0)
    changes = [matrix.of("sme").mean(axis=0) - matrix.of("baseline").mean(axis=0) for matrix in data.values()]
    welch = anova_oneway(changes, use_var="unequal")
    found = effect_by_subgroup(data)
    assert (found.f, found.df_den) == pytest.approx((welch.statistic, welch.df_denom), rel=0.03)
    assert found.p == pytest.approx(welch.pvalue, abs=0.005)


def test_a_planted_interaction_is_found_and_a_shared_effect_is_none() -> None:
    rng = np.random.default_rng(3)
    planted = [effect_by_subgroup(simulate(rng, effects=(0.05, 0.0, 0.0))) for _ in range(60)]
    shared = [effect_by_subgroup(simulate(rng, effects=(0.05, 0.05, 0.05))) for _ in range(60)]
    assert np.mean([each.p < 0.05 for each in planted]) > 0.9
    assert np.mean([each.p < 0.05 for each in shared]) < 0.15
    assert np.mean([each.mean for each in shared]) == pytest.approx(0.05, abs=0.003)


def test_seeds_that_move_all_subgroups_alike_are_no_interaction() -> None:
    data = simulate(np.random.default_rng(4))
    shift = np.random.default_rng(5).normal(0, 1, (10, 1))
    moved = {name: replace(matrix, values=matrix.values + shift) for name, matrix in data.items()}
    first, second = effect_by_subgroup(data), effect_by_subgroup(moved)
    assert (second.f, second.df_den, second.spread) == pytest.approx((first.f, first.df_den, first.spread))
    assert second.seed > 100 * first.seed


def test_exchanging_arms_or_subgroups_changes_signs_and_order_alone() -> None:
    data = simulate(np.random.default_rng(6), (3, 6), effects=(0.0, 0.02, 0.05))
    first, back = effect_by_subgroup(data), interaction(data, "baseline", "sme")
    assert (back.f, back.df_den, back.spread, back.mean) == pytest.approx(
        (first.f, first.df_den, first.spread, -first.mean)
    )
    turned = effect_by_subgroup(dict(reversed(list(data.items()))))
    assert (turned.f, turned.df_den, turned.p) == pytest.approx((first.f, first.df_den, first.p))
    assert turned.differences[0].subgroup == first.differences[-1].subgroup == "cell 2"
    assert turned.differences[0].shrunken == pytest.approx(first.differences[-1].shrunken)


def test_predictions_lie_between_the_mean_and_the_estimate_and_are_nearer_the_truth() -> None:
    """The true differences of 6 subgroups have a standard deviation of 0.01, which is estimated without bias."""
    rng = np.random.default_rng(7)
    spreads, errors, promised = [], [], []
    for _ in range(100):
        effects = tuple(rng.normal(0.02, 0.01, 6))
        found = effect_by_subgroup(simulate(rng, units=(10, 10, 15, 20, 40, 60), effects=effects, seed_subgroup=0.003))
        spreads.append(found.spread**2)
        for each, true in zip(found.differences, effects, strict=True):
            low, high = sorted((each.estimate, found.mean))
            assert low - 1e-12 <= each.shrunken <= high + 1e-12
            assert each.shrunken_se <= each.se * 1.0001
            errors.append([each.estimate - true, each.shrunken - true])
            promised.append(each.shrunken_se**2)
    by_itself, drawn = (np.array(errors) ** 2).mean(axis=0)
    assert drawn < by_itself
    assert np.sqrt(np.mean(spreads)) == pytest.approx(0.01, rel=0.2)
    assert np.sqrt(np.mean(promised)) == pytest.approx(np.sqrt(drawn), rel=0.2)


def test_differences_are_those_of_each_subgroup() -> None:
    data = simulate(np.random.default_rng(8), effects=(0.0, 0.02, 0.05))
    for each in effect_by_subgroup(data).differences:
        assert each.estimate == pytest.approx(difference(data[each.subgroup], "sme", "baseline").estimate)
        assert each.units == len(data[each.subgroup].units)


def test_seeds_are_those_that_all_subgroups_have_and_one_is_not_enough() -> None:
    data = simulate(np.random.default_rng(9), (4, 4))
    whole = data["cell 1"]
    keep = np.array([0, 2, 3, 5, 6, 7])
    part = replace(whole, arm=whole.arm[keep], seed=whole.seed[keep], values=whole.values[keep])
    found = effect_by_subgroup({**data, "cell 1": part})
    assert found.seeds == (3, 3)
    everywhere = {
        name: replace(each, arm=each.arm[keep], seed=each.seed[keep], values=each.values[keep])
        for name, each in data.items()
    }
    assert found == effect_by_subgroup(everywhere)
    single = effect_by_subgroup(simulate(np.random.default_rng(9), (1, 3)))
    assert np.isnan([single.f, single.p, single.df_den, single.spread, single.differences[0].shrunken]).all()
    assert np.isfinite(single.differences[0].estimate)


def test_equal_runs_have_no_noise_to_test_against() -> None:
    data = simulate(np.random.default_rng(10), seed=0, seed_subgroup=0, arm_unit=0, error=0)
    found = effect_by_subgroup(data)
    assert (found.f, found.p, found.spread) == (0, 1, pytest.approx(0, abs=1e-9))
    data = simulate(np.random.default_rng(10), effects=(0.1, 0, 0), seed=0, seed_subgroup=0, arm_unit=0, error=0)
    assert effect_by_subgroup(data).p == 0


def test_what_cannot_be_tested_is_refused() -> None:
    data = simulate(np.random.default_rng(11))
    first = data["cell 0"]
    four = ScoreMatrix(first.arms, first.arm, first.seed, first.values[:, :4], first.units[:4], 4)
    with pytest.raises(ValueError, match="expected 2 or more"):
        effect_by_subgroup({"cell 0": first})
    with pytest.raises(ValueError, match="expected 2 or more, without"):
        effect_by_subgroup({OVERALL: first, "cell 1": data["cell 1"]})
    with pytest.raises(ValueError, match="cell 0 has 4 units; expected 5"):
        effect_by_subgroup({**data, "cell 0": four})
    with pytest.raises(ValueError, match="unit 0-0 is in cell 0 and in copy"):
        effect_by_subgroup({**data, "copy": first})
    with pytest.raises(ValueError, match="no run of film has all subgroups"):
        interaction(data, "film", "baseline")
    missing = np.where(first.values == first.values[0, 0], np.nan, first.values)
    with pytest.raises(ValueError, match="sme has no score of some unit of cell 0"):
        effect_by_subgroup({**data, "cell 0": replace(first, values=missing)})


def test_with_folds_that_hold_all_subgroups_alike_seeds_fall_out() -> None:
    data = simulate(np.random.default_rng(13), (3, 4), (16, 24, 40), folds=4)
    shift = np.random.default_rng(14).normal(0, 1, (7, 4))
    moved = {name: replace(each, values=each.values + shift[:, each.fold]) for name, each in data.items()}
    first, second = effect_by_subgroup(data), effect_by_subgroup(moved)
    assert (second.f, second.df_den) == pytest.approx((first.f, first.df_den), rel=1e-4)


def test_where_folds_are_subgroups_their_differences_are_independent() -> None:
    """Welch's analysis of the subgroups' differences would have these variances, if an arm's were one for all."""
    rng, ratios = np.random.default_rng(15), []
    for _ in range(120):
        found = effect_by_subgroup(simulate(rng, (4, 4), (20, 20, 20), folds="subgroups", seed=0.01))
        ratios.append([np.var([each.estimate for each in found.differences], ddof=1), found.differences[0].se ** 2])
    spread, promised = np.mean(ratios, axis=0)
    assert promised / widening(3, 3) == pytest.approx(spread, rel=0.2), "drawn folds are independent"
    assert found.seed == 0


@pytest.mark.parametrize("folds", [1, 5, "subgroups"])
def test_folds_that_depend_on_each_other_widen_its_covariance(
    folds: int | Literal["subgroups"], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = simulate(np.random.default_rng(19), (4, 3), (20, 25, 30), effects=(0.0, 0.01, 0.02), folds=folds)
    wide = effect_by_subgroup(data)
    monkeypatch.setattr("analysis.stats.interaction.widening", lambda *_: 1.0)
    plain, factor = effect_by_subgroup(data), widening(*[3 if folds == "subgroups" else folds] * 2)
    assert factor == pytest.approx({1: 1.0, 5: 2.25, "subgroups": 2.5}[folds])
    assert wide.f == pytest.approx(plain.f / factor)
    assert (wide.df_num, wide.df_den) == pytest.approx((plain.df_num, plain.df_den), rel=1e-3)
    for own, other in zip(wide.differences, plain.differences, strict=True):
        assert own.estimate == pytest.approx(other.estimate)
        assert own.se == pytest.approx(np.sqrt(factor) * other.se)
    assert wide.p > plain.p or folds == 1
    assert wide.spread < plain.spread or folds == 1


def test_one_seed_in_each_fold_is_not_enough() -> None:
    assert np.isnan(effect_by_subgroup(simulate(np.random.default_rng(16), (1, 3), folds=4)).p)


@pytest.mark.parametrize("folds", [1, 5, "subgroups"])
def test_unlike_seeds_are_told_apart_no_more_often(folds: int | Literal["subgroups"]) -> None:
    """120 draws: 6 % are 7, with a standard deviation of 2.6."""
    rng = np.random.default_rng(17)
    p = [
        effect_by_subgroup(simulate(rng, (10, 3), (20, 20, 20), seed_subgroup=0.003, ratio=0.25, folds=folds)).p
        for _ in range(120)
    ]
    assert np.sum(np.array(p) < 0.05) <= 15


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [0.25, 4.0])
@pytest.mark.parametrize("seeds", [(3, 3), (5, 3), (10, 3), (10, 2)])
@pytest.mark.parametrize("folds", [1, 5, "subgroups"])
def test_unlike_seeds_are_told_apart_no_more_often_in_many_draws(
    seeds: tuple[int, int], ratio: float, folds: int | Literal["subgroups"]
) -> None:
    """1000 draws: 6 % are 60, whose standard deviation is 7.5."""
    rng = np.random.default_rng(18)
    p = [
        effect_by_subgroup(simulate(rng, seeds, (20, 20, 20), seed_subgroup=0.003, ratio=ratio, folds=folds)).p
        for _ in range(1000)
    ]
    assert np.sum(np.array(p) < 0.05) <= 83


@pytest.mark.slow
@pytest.mark.parametrize("units", [(10, 75), (10, 10, 10), (75, 40, 25, 15, 10), (10,) * 7])
@pytest.mark.parametrize("seeds", [(3, 3), (5, 5), (3, 10)])
@pytest.mark.parametrize("seed_subgroup", [0.003, 0.01, 0.02])
def test_equal_differences_are_told_apart_as_often_as_promised(
    units: tuple[int, ...], seeds: tuple[int, int], seed_subgroup: float
) -> None:
    """800 draws: 5 % are 40, whose standard deviation is 6.2; up to 7.4 % pass."""
    rng = np.random.default_rng(12)
    p = [effect_by_subgroup(simulate(rng, seeds, units, seed_subgroup=seed_subgroup)).p for _ in range(800)]
    assert np.sum(np.array(p) < 0.05) <= 59
