"""The expected best of a search: against closed forms, brute force, and simulated searches."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from analysis.sweeps.expected_best import best_so_far, expected_best, replacement_weights, subset_weights, trial_scores


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_it_is_the_mean_of_the_maxima_of_all_subsets():
    values = rng().random(7)
    found = expected_best(values, None, range(1, 8), rng(), draws=2)
    brute = [np.mean([max(chosen) for chosen in combinations(values, n)]) for n in range(1, 8)]
    np.testing.assert_allclose(found["expected"], brute, rtol=1e-12)
    assert found["expected"].iloc[-1] == pytest.approx(values.max())


def test_it_is_unbiased_where_draws_with_replacement_are_too_low():
    size, counts = 10, np.array([1, 3, 10])
    values = np.sort(rng().random((20_000, size)), axis=1)
    truth = counts / (counts + 1)  # of uniform draws
    np.testing.assert_allclose((values @ subset_weights(size, counts)).mean(axis=0), truth, atol=0.003)
    with_replacement = (values @ replacement_weights(size, counts)).mean(axis=0)
    assert (with_replacement[1:] < truth[1:] - 0.02).all()


def test_weights_are_probabilities_for_a_thousand_trials():
    for weights in (subset_weights, replacement_weights):
        found = weights(1000, np.array([1, 2, 500, 1000]))
        assert (found >= 0).all()
        np.testing.assert_allclose(found.sum(axis=0), 1)


@pytest.mark.parametrize("law", ["uniform", "exponential", "normal"])
def test_limits_hold_as_often_as_is_said(law: str):
    generator, size, budgets = rng(1), 20, np.array([1, 2, 4, 10, 20])
    truth = {
        "uniform": budgets / (budgets + 1),
        "exponential": -1 / budgets,
        "normal": np.array([generator.normal(size=(40_000, n)).max(axis=1).mean() for n in budgets]),
    }[law]
    below, above = np.zeros(len(budgets)), np.zeros(len(budgets))
    searches = 400
    for _ in range(searches):
        values = {
            "uniform": generator.random, "exponential": lambda n: -generator.exponential(size=n),
            "normal": generator.standard_normal,
        }[law](size)  # fmt: skip
        found = expected_best(values, None, budgets, generator, draws=300)
        below += found["low"] <= truth
        above += found["high"] >= truth
    assert (below[1:] / searches > 0.93).all()  # one trial's mean is that of a skewed law: less
    assert below[0] / searches > 0.86
    assert (above[:3] / searches > 0.86).all()
    assert (above[:2] / searches > 0.92).all()


def test_there_is_no_upper_limit_beyond_a_fifth_of_the_trials():
    found = expected_best(rng().random(20), None, range(1, 21), rng())
    assert found["high"].notna().tolist() == [True] * 4 + [False] * 16
    assert (found["low"] <= found["expected"]).all()
    assert (found["expected"].diff().dropna() >= 0).all()


def test_with_equal_costs_a_budget_is_a_number_of_trials():
    values = rng().random(12)
    trials = expected_best(values, None, [1, 3, 6, 12], rng())
    costs = expected_best(values, [50.0] * 12, [50, 150, 300, 600], rng())
    np.testing.assert_allclose(costs["expected"], trials["expected"], atol=0.015)
    np.testing.assert_allclose(costs["low"], trials["low"], atol=0.03)
    assert costs["high"].notna().tolist() == [True, False, False, False]


def test_cheap_trials_make_a_budget_go_further():
    values = rng().random(20)
    dear = expected_best(values, [10.0] * 20, [30], rng())["expected"][0]
    half_cheap = expected_best(values, [10.0, 1.0] * 10, [30], rng())["expected"][0]
    assert half_cheap > dear + 0.02


def test_the_same_generator_gives_the_same_interval():
    values = rng().random(30)
    first, second = (expected_best(values, None, [1, 5, 30], rng(3)) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)


@pytest.mark.parametrize(
    ("values", "costs", "budgets", "message"),
    [
        ([], None, [1], "expected finite scores"),
        ([0.5, np.nan], None, [1], "expected finite scores"),
        ([0.5, 0.6], None, [3], "budget is 3; expected 1 to 2"),
        ([0.5, 0.6], None, [1.5], "whole numbers"),
        ([0.5, 0.6], [1.0], [1], "expected one above 0 for each of 2"),
        ([0.5, 0.6], [1.0, 0.0], [1], "expected one above 0"),
        ([0.5, 0.6], [1.0, 4.0], [2], "budget is 2; expected 4 to 5"),
    ],
)
def test_what_cannot_be_is_said(values, costs, budgets, message):
    with pytest.raises(ValueError, match=message):
        expected_best(values, costs, budgets, rng())


def trials() -> pd.DataFrame:
    return pd.DataFrame(
        [
            (0, "complete", 0.5, True, 100),
            (1, "failed", np.nan, True, 10),
            (2, "pruned", 0.6, True, 30),
            (3, "complete", 0.9, False, 100),
            (4, "running", 0.8, True, 40),
            (5, "complete", 0.7, True, 100),
        ],
        columns=["number", "state", "val_f1", "feasible", "image_epochs"],
    )


def test_a_pruned_trial_counts_with_its_best_and_failed_or_infeasible_ones_with_nothing():
    assert trial_scores(trials()).tolist() == [0.5, 0.0, 0.6, 0.0, 0.7]


def test_the_best_so_far_goes_by_what_was_spent():
    course = best_so_far(trials().sample(frac=1, random_state=0))
    assert course["number"].tolist() == [0, 1, 2, 3, 5]
    assert course["trials"].tolist() == [1, 2, 3, 4, 5]
    assert course["image_epochs"].tolist() == [100, 110, 140, 240, 340]
    assert course["best"].tolist() == [0.5, 0.5, 0.6, 0.6, 0.7]
