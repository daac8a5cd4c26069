"""Effect sizes: against what was simulated, SciPy's Mann-Whitney, and their spread over simulations."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from analysis.scores.score_matrix import ScoreMatrix
from analysis.stats.effect_size import standardised, superiority
from analysis.stats.mrmc import Components, Difference, difference

Array = npt.NDArray[np.float64]


def made(ours: Array, theirs: Array) -> ScoreMatrix:
    arm = np.repeat([0, 1], [len(ours), len(theirs)])
    seed = np.concatenate([np.arange(len(ours)), np.arange(len(theirs))])
    units = tuple(f"u{k}" for k in range(ours.shape[1]))
    return ScoreMatrix(("sme", "baseline"), arm, seed, np.concatenate([ours, theirs]), units, len(units))


def simulated(
    rng: np.random.Generator, effect: float, seeds: int = 4, units: int = 20, seed: float = 0.01, arm_unit: float = 0.02
) -> ScoreMatrix:
    """A new score difference has SD sqrt(2 (0.01² + 0.02² + 0.02²)) = 0.0424."""
    unit = rng.normal(0, 0.05, units)
    values = [
        0.8 + shift + unit + rng.normal(0, seed, (seeds, 1)) + rng.normal(0, arm_unit, units)
        + rng.normal(0, 0.02, (seeds, units))
        for shift in (effect, 0.0)
    ]  # fmt: skip
    return made(values[0], values[1])


def known(estimate: float, components: Components | None) -> Difference:
    return Difference("sme", "baseline", (5, 5), 40, estimate, 0.1, 8, 0.5, -1, 1, components)


def test_it_is_the_difference_in_spreads_of_a_pair_of_new_scores() -> None:
    rng = np.random.default_rng(1)
    data = simulated(rng, 0.03, seeds=200, units=400)
    runs = rng.permutation(200)
    pairs = data.of("sme") - data.of("baseline")[runs]
    assert standardised(difference(data, "sme", "baseline")) == pytest.approx(pairs.mean() / pairs.std(), rel=0.05)
    assert pairs.std() == pytest.approx(0.0424, rel=0.05)


def test_negative_components_count_as_none() -> None:
    assert standardised(known(0.1, Components(0.02, 0.5, -0.3, 0.03))) == pytest.approx(0.1 / np.sqrt(0.1))
    assert standardised(known(-0.1, Components(-1.0, 0.5, 0.03, 0.02))) == pytest.approx(-0.1 / np.sqrt(0.1))


def test_without_components_there_is_none_and_without_variance_it_is_infinite() -> None:
    assert np.isnan(standardised(known(0.1, None)))
    still = Components(1e-33, 0.1, -1e-33, 1e-34)
    assert [standardised(known(value, still)) for value in (0.1, -0.1, 0.0)] == [np.inf, -np.inf, 0.0]


scores = arrays.arrays(
    np.float64, st.tuples(st.integers(2, 9), st.integers(1, 6)), elements=st.sampled_from([0.0, 0.5, 0.7, 0.75, 1.0])
)


def test_superiority_of_normal_scores_is_what_theory_says() -> None:
    data = simulated(np.random.default_rng(2), 0.03, seeds=100, units=2000)
    assert superiority(data, "sme", "baseline") == pytest.approx(stats.norm.cdf(0.03 / 0.0424), abs=0.03)


def test_float_error_breaks_no_tie() -> None:
    ours = np.full((2, 3), 0.1 + 0.2)
    assert superiority(made(ours, np.full((3, 3), 0.3)), "sme", "baseline") == 0.5
