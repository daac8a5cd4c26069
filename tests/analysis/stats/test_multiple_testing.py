"""Corrections for many comparisons: against statsmodels, with families in leading axes and missing tests."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from analysis.stats.multiple_testing import benjamini_hochberg, benjamini_hochberg_levels, holm, holm_levels

Floats = npt.NDArray[np.float64]
Correction = Callable[[Floats], Floats]

CORRECTIONS: dict[str, Correction] = {"holm": holm, "fdr_bh": benjamini_hochberg}

probabilities = st.lists(
    st.sampled_from([0.0, 1e-9, 0.01, 0.04, 0.05, 0.3, 1.0]) | st.floats(0, 1), min_size=1, max_size=12
)


@pytest.mark.parametrize("method", CORRECTIONS)
@given(p=probabilities)
@settings(max_examples=15, deadline=None)  # statsmodels' Holm collects garbage: 0.1 s
def test_corrections_are_those_of_statsmodels(method: str, p: list[float]) -> None:
    assert CORRECTIONS[method](np.array(p)) == pytest.approx(multipletests(p, method=method)[1])


@pytest.mark.parametrize("method", CORRECTIONS)
@given(p=probabilities, missing=st.lists(st.integers(0, 12), max_size=5))
def test_a_missing_test_stays_missing_and_leaves_the_family(method: str, p: list[float], missing: list[int]) -> None:
    holed = np.insert(np.array(p), [min(place, len(p)) for place in missing], np.nan)
    corrected = CORRECTIONS[method](holed)
    assert np.isnan(corrected).sum() == len(missing)
    np.testing.assert_array_equal(corrected[~np.isnan(holed)], CORRECTIONS[method](np.array(p)))


@pytest.mark.parametrize("method", CORRECTIONS)
def test_each_row_of_the_last_axis_is_a_family(method: str) -> None:
    p = np.random.default_rng(1).uniform(0, 0.2, (2, 3, 5))
    p[0, 1, 2] = p[1, 2, :] = np.nan
    corrected = CORRECTIONS[method](p)
    singly: list[npt.NDArray[np.float64]] = [CORRECTIONS[method](row) for row in p.reshape(-1, 5)]
    np.testing.assert_array_equal(corrected, np.reshape(singly, p.shape))
    assert np.isnan(corrected[1, 2]).all()


@pytest.mark.parametrize("method", CORRECTIONS)
def test_no_comparisons_are_no_error(method: str) -> None:
    assert CORRECTIONS[method](np.empty((3, 0))).shape == (3, 0)


def test_holm_is_stricter_and_a_corrected_p_never_falls_below_its_own() -> None:
    p = np.random.default_rng(2).uniform(0, 1, (50, 8)) ** 3
    assert (holm(p) >= benjamini_hochberg(p) - 1e-15).all()
    assert (benjamini_hochberg(p) >= p - 1e-15).all()
    assert holm(np.array([0.01, 0.04, 0.03])) == pytest.approx([0.03, 0.06, 0.06])
    assert benjamini_hochberg(np.array([0.01, 0.04, 0.03])) == pytest.approx([0.03, 0.04, 0.04])


@pytest.mark.parametrize(("adjust", "levels"), [(holm, holm_levels), (benjamini_hochberg, benjamini_hochberg_levels)])
@given(p=probabilities, missing=st.lists(st.integers(0, 12), max_size=3))
def test_a_test_at_its_own_level_finds_what_the_corrected_p_finds(
    adjust: Correction, levels: Callable[[Floats, float], Floats], p: list[float], missing: list[int]
) -> None:
    holed = np.insert(np.array(p), [min(place, len(p)) for place in missing], np.nan)
    level = levels(holed, 0.05)
    assert (np.isnan(level) == np.isnan(holed)).all()
    here = ~np.isnan(holed)
    found, wanted = holed[here] < level[here], adjust(holed)[here] < 0.05
    at_the_edge = np.isclose(holed[here], level[here], rtol=1e-9) | np.isclose(adjust(holed)[here], 0.05, rtol=1e-9)
    assert (found == wanted)[~at_the_edge].all()
    assert (level[here] >= 0.05 / len(p) * (1 - 1e-12)).all()
    assert (level[here] <= 0.05 * (1 + 1e-12)).all()


def test_levels_of_a_family_by_hand() -> None:
    p = np.array([0.2, 0.001, 0.02, 0.9])
    assert holm_levels(p, 0.05) == pytest.approx([0.05 / 3, 0.05 / 4, 0.05 / 3, 0.05 / 3])
    assert benjamini_hochberg_levels(p, 0.05) == pytest.approx([3 * 0.05 / 4, 2 * 0.05 / 4, 2 * 0.05 / 4, 3 * 0.05 / 4])
