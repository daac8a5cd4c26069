"""Sample sizes: the fewest seeds and units with the power that is wanted."""

from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.stats.mrmc import Components
from analysis.stats.power import power
from analysis.stats.sample_size import first, seeds_needed, units_needed

PILOT = Components(seed=0.006**2, unit=0.05**2, arm_unit=0.01**2, error=0.02**2)
VARIANCE = st.floats(1e-8, 1e-2)
MIXED = st.builds(Components, seed=VARIANCE, unit=VARIANCE, arm_unit=VARIANCE, error=VARIANCE)


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


def test_one_seed_in_each_fold_can_be_enough_and_on_one_split_never_is() -> None:
    assert seeds_needed(PILOT, 0.05, 100, folds=5) == 1
    assert seeds_needed(PILOT, 0.5, 100) == 2
    assert seeds_needed(PILOT, 0.5, 100, folds=2) == 2


@given(st.integers(0, 900), st.integers(0, 1000))
def test_the_first_number_that_is_enough_is_found(low: int, wanted: int) -> None:
    assert first(low, 1000, lambda number: number >= wanted) == max(low, wanted)
    assert first(low, 1000, lambda number: False) is None
