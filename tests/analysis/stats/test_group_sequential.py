"""Boundaries against published tables and simulated Brownian motion; what sequential p-values promise."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.stats.group_sequential import MOST, nominal_levels, sequential_p, spent
from analysis.stats.multiple_testing import holm

FRACTIONS = st.lists(st.floats(0.02, 0.98), min_size=0, max_size=5, unique=True).map(lambda t: [*sorted(t), 1.0])


def ends(fractions: list[float], alpha: float) -> np.ndarray:
    return stats.norm.isf(nominal_levels(fractions, alpha) / 2)


def brownian(rng: np.random.Generator, draws: int, information: list[float]) -> np.ndarray:
    """Two-sided p `(draws, looks)` where there is nothing to find."""
    steps = rng.standard_normal((draws, len(information))) * np.sqrt(np.diff([0.0, *information]))
    return 2 * stats.norm.sf(np.abs(steps.cumsum(axis=1) / np.sqrt(information)))


@pytest.mark.parametrize(
    ("looks", "table"),
    [
        (2, [2.963, 1.969]),
        (3, [3.710, 2.511, 1.993]),
        (4, [4.333, 2.963, 2.359, 2.014]),
        (5, [4.877, 3.357, 2.680, 2.290, 2.031]),
    ],
)
def test_boundaries_are_those_of_published_tables(looks, table):
    """Published boundaries of Lan and DeMets' O'Brien-Fleming-like spending, two-sided 5 %, equally spaced looks."""
    np.testing.assert_allclose(ends([(k + 1) / looks for k in range(looks)], 0.05), table, atol=6e-4)


@pytest.mark.parametrize(
    "information",
    [[0.2, 0.4, 0.6, 0.8, 1.0], [0.05, 0.052, 0.5, 0.51, 1.0], [0.9, 0.95, 0.97, 0.99, 1.0], [0.95, 0.951, 0.952, 1.0]],
)
def test_paths_cross_the_boundaries_as_often_as_is_spent(information):
    """Simulated, also where two looks have almost the same information and where the first has almost all."""
    p = brownian(np.random.default_rng(1), 200_000, information)
    for alpha in (0.05, 0.1):
        crossed = np.logical_or.accumulate(p <= nominal_levels(information, alpha), axis=1).mean(axis=0)
        np.testing.assert_allclose(crossed, spent(information, alpha), atol=4 * np.sqrt(alpha / 200_000))


def test_what_is_spent_needs_not_follow_information():
    """Looks may spend by a schedule of their own, as long as boundaries know how looks are correlated."""
    schedule, information = [0.54, 0.7, 0.85, 1.0], [0.15, 0.25, 0.4, 1.0]
    p = brownian(np.random.default_rng(2), 200_000, information)
    crossed = np.logical_or.accumulate(p <= nominal_levels(schedule, 0.05, information), axis=1).mean(axis=0)
    np.testing.assert_allclose(crossed, spent(schedule, 0.05), atol=0.002)
    # Taken for more alike than they are, they would be tested too leniently.
    assert (p <= nominal_levels(schedule, 0.05)).any(axis=1).mean() > 0.053


@settings(max_examples=20, deadline=None)
@given(FRACTIONS, st.floats(1e-4, 0.3))
def test_the_whole_level_is_spent_and_no_more(fractions, alpha):
    """Each look spends more than 0, and the sum is the level."""
    parts = np.diff(spent(fractions, alpha), prepend=0.0)
    assert (parts >= 0).all()
    assert parts.sum() == pytest.approx(alpha)
    levels = nominal_levels(fractions, alpha)
    assert ((levels > 0) & (levels <= alpha + 1e-9)).all()


@settings(max_examples=15, deadline=None)
@given(FRACTIONS)
def test_what_is_found_at_a_level_is_found_at_every_larger_one(fractions):
    """Boundaries are nested, without which a smallest level would make no sense."""
    levels = nominal_levels(np.tile(fractions, (40, 1)), np.geomspace(1e-6, MOST, 40))
    assert (np.diff(levels, axis=0) >= -1e-9).all()


@settings(max_examples=8, deadline=None)
@given(FRACTIONS, st.data())
def test_sequential_p_is_the_level_that_is_just_enough(fractions, data):
    """At it some look finds something, a little below none does; and it only falls from look to look."""
    p = data.draw(st.lists(st.floats(1e-8, 1), min_size=len(fractions), max_size=len(fractions)))
    found = sequential_p(fractions, p)
    if found < 1:
        assert (p <= nominal_levels(fractions, found * 1.0001)).any()
        assert not (p <= nominal_levels(fractions, found * 0.9995)).any()
    course = [sequential_p(fractions[:look], p[:look]) for look in range(1, len(p) + 1)]
    assert all(later <= before * 1.0001 for before, later in pairwise(course))


def test_one_look_with_all_information_is_the_test_itself():
    """There is nothing to correct."""
    for p in (1e-9, 0.001, 0.03, 0.4):
        assert sequential_p([1.0], [p]) == pytest.approx(p, rel=1e-4)


@pytest.mark.slow
def test_sequential_p_is_uniform_where_there_is_nothing_to_find():
    """As a p-value at the last look, whatever was seen before."""
    fractions = [0.5, 0.7, 1.0]
    p = brownian(np.random.default_rng(3), 2000, fractions)
    found = np.array([sequential_p(fractions, each) for each in p])
    for level in (0.01, 0.05, 0.2, 0.5):
        assert (found <= level).mean() == pytest.approx(level, abs=4 * np.sqrt(level / 2000))


@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_holm_on_sequential_p_is_the_closed_test_that_passes_levels_on(correlation):
    """Two hypotheses: each is rejected where it is at alpha, and the intersection by either at alpha / 2."""
    fractions, rng = [0.6, 1.0], np.random.default_rng(4)
    own = rng.standard_normal((25, 2, 2))
    shared = rng.standard_normal((25, 2, 1))
    steps = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own
    z = (steps * np.sqrt([[0.6], [0.4]])).cumsum(axis=1) / np.sqrt([[0.6], [1.0]]) + 2.2
    p = 2 * stats.norm.sf(np.abs(z))
    whole, half = (nominal_levels(fractions, alpha)[:, None] for alpha in (0.05, 0.025))
    alone, together = (p <= whole).any(axis=1), (p <= half).any(axis=1).any(axis=1)
    closed = alone & together[:, None]
    sequential = np.array([[sequential_p(fractions, draw[:, each]) for each in (0, 1)] for draw in p])
    assert ((holm(sequential) <= 0.05) == closed).all()
    assert 0.1 < closed.mean() < 0.95


def test_fractions_that_cant_be_are_refused():
    """Each with its values."""
    with pytest.raises(ValueError, match="expected 0 to 1, ascending"):
        nominal_levels([0.5, 0.4], 0.05)
    with pytest.raises(ValueError, match="expected 0 to 1, ascending"):
        nominal_levels([0.0, 1.0], 0.05)
    with pytest.raises(ValueError, match="information"):
        nominal_levels([0.5, 1.0], 0.05, [0.5, 0.4])
