"""Equivalence: against statsmodels' two one-sided tests, its interval, and how often it is claimed wrongly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW, ttost_ind

from analysis.scores.score_matrix import ScoreMatrix
from analysis.stats.equivalence import equivalence
from analysis.stats.mrmc import Difference, difference


def known(estimate: float, se: float, df: float) -> Difference:
    return Difference("dummy", "baseline", (5, 5), 40, estimate, se, df, 0.5, -1, 1, None)


def simulated(rng: np.random.Generator, effect: float, units: int = 30, arm_unit: float = 0.01) -> ScoreMatrix:
    unit = rng.normal(0.8, 0.05, units)
    values = [
        shift + unit + rng.normal(0, 0.003, (5, 1)) + rng.normal(0, arm_unit, units) + rng.normal(0, 0.01, (5, units))
        for shift in (effect, 0.0)
    ]
    arm, seed = np.repeat([0, 1], 5), np.tile(np.arange(5), 2)
    names = tuple(f"u{k}" for k in range(units))
    return ScoreMatrix(("dummy", "baseline"), arm, seed, np.concatenate(values), names, units)


def test_where_arm_x_unit_has_no_variance_it_is_statsmodels_test_of_run_means() -> None:
    data = simulated(np.random.default_rng(3), 0.001, arm_unit=0.0)
    found = difference(data, "dummy", "baseline", variances="pooled")
    assert found.df == pytest.approx(8), "the draw has no excess variance among units"
    means = data.of("dummy").mean(axis=1), data.of("baseline").mean(axis=1)
    for margin in (0.001, 0.003, 0.01):
        assert equivalence(found, margin).p == pytest.approx(ttost_ind(*means, -margin, margin)[0])
    wanted = CompareMeans(*map(DescrStatsW, means)).tconfint_diff(alpha=0.1)
    assert (equivalence(found, 0.01).low, equivalence(found, 0.01).high) == pytest.approx(wanted)


@given(estimate=st.floats(-1, 1), se=st.floats(1e-3, 1), df=st.floats(1, 500), margin=st.floats(1e-3, 2))
def test_it_is_significant_where_the_interval_lies_within_the_margin(
    estimate: float, se: float, df: float, margin: float
) -> None:
    found = equivalence(known(estimate, se, df), margin)
    mirrored = equivalence(known(-estimate, se, df), margin)
    assert (mirrored.p, mirrored.low, mirrored.high) == pytest.approx((found.p, -found.high, -found.low))
    slack = margin - max(found.high, -found.low)
    if abs(slack) > 1e-9:
        assert (found.p < 0.05) == (slack > 0)


def test_p_at_the_margin_is_a_half_and_a_wide_margin_makes_it_small() -> None:
    assert equivalence(known(0.02, 0.01, 9), 0.02).p == pytest.approx(0.5, abs=1e-6)
    p = [equivalence(known(0.005, 0.01, 9), margin).p for margin in (0.01, 0.03, 0.1)]
    assert p == sorted(p, reverse=True)
    assert p[-1] < 1e-4


def test_without_a_test_there_is_no_claim_and_equal_runs_are_equivalent() -> None:
    nothing = equivalence(known(0.0, float("nan"), float("nan")), 0.1)
    assert np.isnan([nothing.p, nothing.low, nothing.high]).all()
    assert nothing.margin == 0.1
    assert equivalence(known(0.0, 0.0, 4), 0.1).p == 0
    assert equivalence(known(0.2, 0.0, 4), 0.1).p == 1


@pytest.mark.parametrize("margin", [0.0, -0.1, float("nan"), float("inf")])
def test_a_margin_that_is_none_is_refused(margin: float) -> None:
    with pytest.raises(ValueError, match="margin"):
        equivalence(known(0.0, 0.1, 4), margin)


def test_arms_that_differ_by_the_margin_are_called_equivalent_in_5_percent() -> None:
    """600 draws: 30 are expected, their standard deviation is 5.3."""
    rng = np.random.default_rng(5)
    p = [equivalence(difference(simulated(rng, 0.02), "dummy", "baseline"), 0.02).p for _ in range(600)]
    assert 15 <= np.sum(np.array(p) < 0.05) <= 47


def test_equal_arms_are_found_equivalent() -> None:
    rng = np.random.default_rng(6)
    p = [equivalence(difference(simulated(rng, 0.0), "dummy", "baseline"), 0.02).p for _ in range(100)]
    assert np.mean(np.array(p) < 0.05) > 0.95
