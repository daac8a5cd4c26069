"""Power: against statsmodels where one source of variance is absent, against simulation, and by its limits."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.power import TTestIndPower, TTestPower

from analysis.scores.score_matrix import ScoreMatrix
from analysis.stats.mrmc import Components, difference
from analysis.stats.power import (
    detectable,
    expected_se,
    plan,
    power,
    power_table,
    seeds_needed,
    units_needed,
)

PILOT = Components(seed=0.006**2, unit=0.05**2, arm_unit=0.01**2, error=0.02**2)
VARIANCE = st.floats(1e-8, 1e-2)
MIXED = st.builds(Components, seed=VARIANCE, unit=VARIANCE, arm_unit=VARIANCE, error=VARIANCE)


@pytest.mark.parametrize(("units", "effect"), [(10, 0.01), (40, 0.004), (300, 0.002)])
def test_without_variance_among_seeds_it_is_the_paired_tests_power(units: int, effect: float) -> None:
    same = Components(0.0, 0.05**2, 0.01**2, 0.0)
    wanted = TTestPower().power(effect / (math.sqrt(2) * 0.01), units, 0.05)
    assert power(same, 3, units, effect) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize(("seeds", "effect"), [(2, 0.05), (4, 0.02), (20, 0.008)])
def test_without_variance_among_units_it_is_the_two_sample_tests_power(seeds: int, effect: float) -> None:
    same = Components(0.01**2, 0.05**2, 0.0, 0.0)
    wanted = TTestIndPower().power(effect / 0.01, seeds, 0.05)
    assert power(same, seeds, 40, effect) == pytest.approx(wanted, abs=1e-9)


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


@given(MIXED, st.integers(2, 40), st.integers(10, 400), st.floats(1e-4, 0.2))
@settings(max_examples=60, deadline=None)
def test_more_seeds_and_larger_differences_are_found_more_often(
    components: Components, seeds: int, units: int, effect: float
) -> None:
    here = float(power(components, seeds, units, effect))
    assert 0.05 - 1e-9 <= here <= 1
    assert power(components, seeds + 1, units, effect) >= here - 1e-9
    assert power(components, seeds, units, 1.1 * effect) >= here - 1e-9
    assert power(components, seeds, units, -effect) == pytest.approx(here)
    assert power(components, seeds, units, effect, alpha=0.01) <= here + 1e-9


@given(MIXED, st.integers(8, 40), st.integers(10, 400), st.floats(1e-4, 0.2))
@settings(max_examples=60, deadline=None)
def test_more_units_find_more_where_seeds_are_many(
    components: Components, seeds: int, units: int, effect: float
) -> None:
    here = float(power(components, seeds, units, effect))
    assert power(components, seeds, 2 * units, effect) >= here - 1e-9


@given(MIXED, st.integers(2, 40), st.integers(2, 400), st.floats(0.1, 0.999))
@settings(max_examples=60, deadline=None)
def test_what_is_detectable_is_found_that_often(components: Components, seeds: int, units: int, chance: float) -> None:
    least = detectable(components, seeds, units, power=chance)
    assert power(components, seeds, units, least) == pytest.approx(chance, abs=1e-6)


@given(MIXED, st.integers(4, 200), st.floats(1e-3, 0.1))
@settings(max_examples=30, deadline=None)
def test_the_seeds_needed_are_the_fewest_that_do(components: Components, units: int, effect: float) -> None:
    needed = seeds_needed(components, effect, units)
    if needed is None:
        assert power(components, 100, units, effect) < 0.8
    else:
        assert power(components, needed, units, effect) >= 0.8
        assert needed == 2 or power(components, needed - 1, units, effect) < 0.8


def test_the_units_needed_are_the_fewest_that_do() -> None:
    needed = units_needed(PILOT, 0.01, 10)
    assert needed is not None
    assert power(PILOT, 10, needed, 0.01) >= 0.8 > power(PILOT, 10, needed - 1, 0.01)
    assert units_needed(PILOT, 0.005, 10) is None, "seeds alone hide it"


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
    with pytest.raises(ValueError, match="seeds an arm: 1; expected 2 or more"):
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
    assert table["df"].min() > 2


def test_a_plan_says_what_is_found_and_what_would_find_less() -> None:
    start = "With 3 seeds an arm and 84 images, a difference of 0.02 or more is found 4 times in 5."
    assert plan(PILOT, 0.02, 3, 84) == start
    needed = seeds_needed(PILOT, 0.012, 84)
    assert plan(PILOT, -0.012, 3, 84) == f"{start} To find 0.012, {needed} seeds an arm would do."
    assert "With 3 seeds an arm and 84 wells" in plan(PILOT, 0.02, 3, 84, noun="wells")


def test_a_plan_says_where_no_number_of_seeds_helps() -> None:
    pilot = Components(0.001**2, 0.05**2, 0.02**2, 0.02**2)
    floor = detectable(pilot, math.inf, 30)
    said = plan(pilot, 0.005, 3, 30)
    assert "No number of seeds finds 0.005: 30 images alone" in said
    assert f"differences below {math.ceil(floor * 1000) / 1000:g}" in said
    assert f"With 10 seeds an arm, {units_needed(pilot, 0.005, 10)} images would do." in said
    assert "10000 images wouldn't do either" in plan(PILOT, 0.001, 3, 30)
    assert "more than 100 seeds an arm are needed" in plan(PILOT, 0.005, 3, 84)


def test_a_plan_of_one_seed_is_out_of_reach() -> None:
    said = plan(PILOT, 0.012, 1, 84)
    assert said.startswith("With one seed an arm significance is out of reach")
    assert said.endswith(f"To find 0.012, {seeds_needed(PILOT, 0.012, 84)} seeds an arm would do.")
