"""Power: against statsmodels where one source of variance is absent, against simulation, and by its limits."""

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from statsmodels.stats.power import TTestIndPower, TTestPower

from analysis.scores.score_matrix import ScoreMatrix
from analysis.stats.equivalence import equivalence
from analysis.stats.mrmc import Components, difference, widening
from analysis.stats.power import detectable, equality_power, expected_se, power, power_table
from benchmarks.fold_draws import Layout, draw, ours_in_folds

PILOT = Components(seed=0.006**2, unit=0.05**2, arm_unit=0.01**2, error=0.02**2)
NEAR = 0.005
"""Accuracy of a mean over the points of a design's estimates."""
VARIANCE = st.floats(1e-8, 1e-2)
MIXED = st.builds(Components, seed=VARIANCE, unit=VARIANCE, arm_unit=VARIANCE, error=VARIANCE)


@pytest.mark.parametrize(("units", "effect"), [(10, 0.01), (40, 0.004), (300, 0.002)])
def test_without_variance_among_seeds_it_is_the_paired_tests_power(units: int, effect: float) -> None:
    same = Components(0.0, 0.05**2, 0.01**2, 0.0)
    wanted = TTestPower().power(effect / (math.sqrt(2) * 0.01), units, 0.05)
    assert power(same, 3, units, effect) == pytest.approx(wanted, abs=NEAR)


@pytest.mark.parametrize(("seeds", "effect"), [(2, 0.05), (4, 0.02), (20, 0.008)])
def test_without_variance_among_units_it_is_the_usual_tests_power(seeds: int, effect: float) -> None:
    """The test of pairs exactly; of two samples with a variance each, what cautious degrees of freedom leave of it."""
    same = Components(0.01**2, 0.05**2, 0.0, 0.0)
    paired = TTestPower().power(effect / (math.sqrt(2) * 0.01), seeds, 0.05)
    assert power(same, seeds, 40, effect, crossed=True) == pytest.approx(paired, abs=NEAR)
    pooled = TTestIndPower().power(effect / 0.01, seeds, 0.05)
    assert power(same, seeds, 40, effect) <= pooled
    if seeds > 10:
        assert power(same, seeds, 40, effect) == pytest.approx(pooled, abs=0.01)


def test_the_standard_error_is_that_of_draws() -> None:
    rng = np.random.default_rng(1)
    seeds, units, draws = 3, 20, 20_000
    seed, error = rng.normal(0, 0.006, (draws, 2, seeds)), rng.normal(0, 0.02 / math.sqrt(units), (draws, 2, seeds))
    runs = (seed + error).mean(axis=2)
    means = runs + rng.normal(0, 0.01, (draws, 2, units)).mean(axis=2)
    assert expected_se(PILOT, seeds, units) == pytest.approx((means[:, 0] - means[:, 1]).std(), rel=0.02)


@pytest.mark.parametrize(("seeds", "units", "effect"), [(5, 30, 0.015), (5, 75, 0.01), (10, 30, 0.01)])
def test_the_test_finds_a_difference_as_often_as_expected(seeds: int, units: int, effect: float) -> None:
    """600 draws: at 60 % the standard deviation is 2 %."""
    rng = np.random.default_rng(2)
    arm, seed = np.repeat([0, 1], seeds), np.tile(np.arange(seeds), 2)
    names = tuple(map(str, range(units)))
    found = 0
    for _ in range(600):
        values = rng.normal(0, 0.05, units) + rng.normal(0, 0.006, (2 * seeds, 1))
        values += rng.normal(0, 0.01, (2, units))[arm] + rng.normal(0, 0.02, (2 * seeds, units))
        values[:seeds] += effect
        found += difference(ScoreMatrix(("a", "b"), arm, seed, values, names, units), "a", "b").p < 0.05
    assert found / 600 == pytest.approx(float(power(PILOT, seeds, units, effect)), abs=0.05)


FOLDS = [
    # With as many runs, 47 % of draws on one split, and 66 % of those in folds.
    (1, 10, 20, 0.006),
    (5, 2, 100, 0.006),
    (5, 1, 100, 0.006),
    (5, 3, 50, 0.012),
    (4, 5, 40, 0.003),
    (20, 2, 20, 0.006),
]


def common(
    rng: np.random.Generator, draws: int, pilot: Components, seeds: int, units: int, folds: int
) -> npt.NDArray[np.float64]:
    """`(draws, 1, 1)` what the folds of a data set have in common in the difference: the part of its variance by which
    it is widened."""
    sd = float(expected_se(pilot, seeds, units, folds=folds)) * math.sqrt(1 - 1 / widening(folds, folds))
    return rng.normal(0, sd, (draws, 1, 1))


@pytest.mark.parametrize(("folds", "seeds", "units", "seed_sd"), FOLDS)
def test_designs_with_folds_find_a_difference_as_often_as_planned(
    folds: int, seeds: int, units: int, seed_sd: float
) -> None:
    """1500 draws: at 50 % the standard deviation is 1.3 %. Folds depend on each other as much as the test assumes."""
    rng, layout = np.random.default_rng(4), Layout("images", (units // folds,) * folds)
    scores = draw(rng, layout, (seeds, seeds), (seed_sd, seed_sd), (0.03, 0.02), 1500, 0.02)
    pilot = Components(seed_sd**2, 0.05**2, 0.03**2, 0.02**2)
    scores[:, :seeds] += common(rng, len(scores), pilot, seeds, units, folds)
    _, p, _ = ours_in_folds(scores, (seeds, seeds), layout.fold, layout.weights, "corrected")
    assert (p < 0.05).mean() == pytest.approx(float(power(pilot, seeds, units, 0.02, folds=folds)), abs=0.04)


def test_arms_of_unlike_seeds_are_planned_with_their_own_variances_and_numbers() -> None:
    rng, layout = np.random.default_rng(5), Layout("images", (75,))
    arms = Components(0.003**2, 0.0, 0.01**2, 0.02**2), Components(0.012**2, 0.0, 0.01**2, 0.02**2)
    for seeds, wanted in (((10, 10), 0.85), ((15, 5), 0.45)):
        scores = draw(rng, layout, seeds, (0.003, 0.012), (0.01, 0.02), 1500, 0.015)
        _, p, _ = ours_in_folds(scores, seeds, layout.fold, layout.weights)
        planned = float(power(arms, seeds[0], 75, 0.015, reference_seeds=seeds[1]))
        assert (p < 0.05).mean() == pytest.approx(planned, abs=0.05)
        assert planned == pytest.approx(wanted, abs=0.1)


def test_folds_are_worth_as_many_seeds_as_they_have_networks() -> None:
    """On the same images, where networks have no errors of their own on single ones, and before folds' dependence."""
    pilot = Components(0.006**2, 0.05**2, 0.01**2, 0.0)
    widened = math.sqrt(2.25) * float(expected_se(pilot, 10, 100))
    assert expected_se(pilot, 2, 100, folds=5) == pytest.approx(widened)
    assert expected_se(PILOT, 2, 100, folds=5) > 1.5 * expected_se(PILOT, 10, 100), "fewer predictions of each image"


@pytest.mark.parametrize(("folds", "seeds", "units"), [(1, 5, 75), (1, 10, 30), (5, 2, 100)])
def test_equal_arms_are_shown_to_be_so_as_often_as_planned(folds: int, seeds: int, units: int) -> None:
    rng, layout, margin = np.random.default_rng(6), Layout("images", (units // folds,) * folds), 0.014
    scores = draw(rng, layout, (seeds, seeds), (0.006, 0.006), (0.01, 0.02), 400)
    scores[:, :seeds] += common(rng, len(scores), PILOT, seeds, units, folds)
    found = [equivalence(difference(_matrix(each, seeds, layout), "a", "b"), margin).p < 0.05 for each in scores]
    assert np.mean(found) == pytest.approx(float(equality_power(PILOT, seeds, units, margin, folds=folds)), abs=0.07)


def _matrix(values: npt.NDArray[np.float64], seeds: int, layout: Layout) -> ScoreMatrix:
    names = tuple(map(str, range(values.shape[1])))
    arm, seed = np.repeat([0, 1], seeds), np.tile(np.arange(seeds), 2)
    return ScoreMatrix(("a", "b"), arm, seed, values, names, len(names), fold=layout.fold)


def test_without_any_variance_equal_arms_are_always_shown_to_be_so() -> None:
    assert equality_power(Components(0.0, 0.1, 0.0, 0.0), 3, 20, 0.01) == 1
    assert equality_power(PILOT, 3, 20, 1e-6) == 0


@given(MIXED, st.integers(3, 40), st.integers(10, 400), st.floats(1e-4, 0.2))
@settings(max_examples=60, deadline=None)
def test_more_seeds_and_larger_differences_are_found_more_often(
    components: Components, seeds: int, units: int, effect: float
) -> None:
    here = float(power(components, seeds, units, effect))
    assert 0 < here <= 1
    assert power(components, seeds + 1, units, effect) >= here - NEAR
    assert power(components, seeds, units, 1.1 * effect) >= here - 1e-9
    assert power(components, seeds, units, -effect) == pytest.approx(here)
    assert power(components, seeds, units, effect, alpha=0.01) <= here + 1e-9


@example(Components(seed=5.96e-08, unit=0.0078125, arm_unit=0.00390625, error=0.0078125), 8, 10, 0.00390625)
@given(MIXED, st.integers(8, 40), st.integers(10, 400), st.floats(1e-4, 0.2))
@settings(max_examples=60, deadline=None)
def test_more_units_find_more_where_seeds_are_many(
    components: Components, seeds: int, units: int, effect: float
) -> None:
    """More than where there is nothing to be found: with few units, the test calls equal arms different a little more
    often than `ALPHA`."""

    def found(images: int) -> float:
        of_nothing, of_the_effect = power(components, seeds, images, [0.0, effect])
        return float(of_the_effect - of_nothing)

    assert found(2 * units) >= found(units) - NEAR


@given(MIXED, st.integers(2, 40), st.integers(2, 400), st.floats(0.1, 0.999))
@settings(max_examples=60, deadline=None)
def test_what_is_detectable_is_found_that_often(components: Components, seeds: int, units: int, chance: float) -> None:
    least = detectable(components, seeds, units, power=chance)
    assert power(components, seeds, units, least) == pytest.approx(chance, abs=1e-6)


def test_components_below_zero_count_as_zero() -> None:
    below = Components(-1e-5, -1e-5, 0.01**2, -1e-5)
    assert power(below, 3, 40, 0.004) == power(Components(0, 0, 0.01**2, 0), 3, 40, 0.004)
    nothing = Components(-1.0, 0.0, -1.0, 0.0)
    assert (detectable(nothing, 3, 40), float(power(nothing, 3, 40, 0.01))) == (0.0, 1.0)
    assert power(nothing, 3, 40, 0.0) == pytest.approx(0.05)


def test_many_seeds_leave_the_units_variance() -> None:
    assert expected_se(PILOT, math.inf, 50) == pytest.approx(0.02 * math.sqrt(1 / 100))
    assert power(PILOT, 10**7, 50, 0.004) == pytest.approx(float(power(PILOT, math.inf, 50, 0.004)), abs=1e-4)


def test_designs_without_a_test_are_refused() -> None:
    with pytest.raises(ValueError, match="seeds an arm: 1; expected 2 or more, or 1 in each of 3 folds or more"):
        power(PILOT, [1, 3], 40, 0.01)
    with pytest.raises(ValueError, match="units: 1; expected 2 or more"):
        expected_se(PILOT, 3, 1)
    with pytest.raises(ValueError, match=r"expected a value between alpha, 0\.05, and 1"):
        detectable(PILOT, 3, 40, power=0.05)


def test_the_table_has_a_row_a_design() -> None:
    table = power_table(PILOT, seeds=(2, 5), units=(30, 300))
    assert list(table.columns) == ["units", "seeds", "se", "df", "detectable"]
    assert list(zip(table["units"], table["seeds"], strict=True)) == [(30, 2), (30, 5), (300, 2), (300, 5)]
    assert table["detectable"].tolist() == [detectable(PILOT, r, n) for n in (30, 300) for r in (2, 5)]
    assert table["df"].min() > 1
