"""The mixed model: its likelihood against a dense one, its fit against the closed form and statsmodels, and by null."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.scores.score_matrix import ScoreMatrix
from analysis.stats.mixed import SIZE, likelihood, mixed_difference
from analysis.stats.mrmc import difference

Array = npt.NDArray[np.float64]


def simulate(
    rng: np.random.Generator,
    seeds: tuple[int, int] = (4, 4),
    units: int = 30,
    missing: float = 0.0,
    effect: float = 0.0,
    seed: float = 0.01,
    arm_unit: float = 0.01,
    error: float = 0.02,
) -> ScoreMatrix:
    unit = 0.8 + rng.normal(0, 0.05, units)
    values = np.concatenate(
        [
            shift + unit + rng.normal(0, seed, (count, 1)) + rng.normal(0, arm_unit, units)
            + rng.normal(0, error, (count, units))
            for count, shift in zip(seeds, (effect, 0.0), strict=True)
        ]
    )  # fmt: skip
    values[rng.random(values.shape) < missing] = np.nan
    names = tuple(f"u{k}" for k in range(units))
    place = np.concatenate([np.arange(count) for count in seeds])
    return ScoreMatrix(("sme", "baseline"), np.repeat([0, 1], seeds), place, values, names, units)


def dense(y: Array, found: Array, arms: Array, variances: Array) -> tuple[float, float, float]:
    """The deviance, the estimate and its variance, from the covariance of all scores."""
    unit, run = np.nonzero(found)
    arm = arms[run].argmax(axis=1)

    def same(labels: npt.NDArray[np.int64]) -> Array:
        return (labels[:, None] == labels).astype(np.float64)

    parts = [same(run), same(unit), same(unit * 2 + arm), np.eye(len(run))]
    covariance = sum(v * part for v, part in zip(variances, parts, strict=True))
    inverse, design = np.linalg.inv(covariance), arms[run]
    precision = design.T @ inverse @ design
    means = np.linalg.solve(precision, design.T @ inverse @ y[unit, run])
    left = y[unit, run] - design @ means
    deviance = np.linalg.slogdet(covariance)[1] + np.linalg.slogdet(precision)[1] + left @ inverse @ left
    contrast = np.array([1.0, -1.0])
    return float(deviance), float(contrast @ means), float(contrast @ np.linalg.inv(precision) @ contrast)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.floats(0.0, 2.0), min_size=3, max_size=3), st.floats(0.05, 2.0))
def test_the_likelihood_is_that_of_a_dense_covariance_and_its_derivatives_are_right(
    start: int, components: list[float], error: float
) -> None:
    rng = np.random.default_rng(start)
    found = (rng.random((8, 5)) < 0.8).astype(np.float64)
    found[0] = 1
    y, arms = rng.normal(size=(8, 5)) * found, np.repeat(np.eye(2), [3, 2], axis=0)
    variances = np.array([*(0.01 + np.array(components)), error])
    fit = likelihood(y, found, arms, variances)
    assert (fit.deviance, fit.estimate, fit.variance) == pytest.approx(dense(y, found, arms, variances))
    step = 1e-5
    for i, shift in enumerate(step * np.eye(4)):
        above, below = (likelihood(y, found, arms, variances + sign * shift) for sign in (1, -1))
        assert fit.gradient[i] == pytest.approx((above.deviance - below.deviance) / (2 * step), rel=1e-3, abs=1e-3)
        assert fit.hessian[i] == pytest.approx((above.gradient - below.gradient) / (2 * step), rel=1e-3, abs=1e-2)
        assert fit.slope[i] == pytest.approx((above.variance - below.variance) / (2 * step), rel=1e-3, abs=1e-3)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(5, 60))
def test_on_complete_data_it_is_the_closed_form(start: int, seeds: int, units: int) -> None:
    data = simulate(np.random.default_rng(start), (seeds, seeds), units, effect=0.01, seed=0.02, arm_unit=0.03)
    wanted = difference(data, "sme", "baseline", freedom="satterthwaite", variances="pooled")
    assert wanted.components is not None
    found = mixed_difference(data, "sme", "baseline")
    assert found.components is not None
    assert found.estimate == pytest.approx(wanted.estimate)
    if min(vars(wanted.components).values()) > 1e-6:
        near = 1e-5 * max(vars(wanted.components).values())  # the fit ends where the likelihood hardly changes
        assert vars(found.components) == pytest.approx(vars(wanted.components), rel=1e-5, abs=near)
        values = (found.se, found.df, found.p, found.ci_low, found.ci_high)
        assert values == pytest.approx((wanted.se, wanted.df, wanted.p, wanted.ci_low, wanted.ci_high), rel=1e-5)
    else:
        assert min(vars(found.components).values()) >= 0


@pytest.mark.filterwarnings("ignore:The MLE may be on the boundary")  # of any variance below 0.01
def test_the_fit_is_that_of_statsmodels_where_cells_are_missing() -> None:
    from statsmodels.regression.mixed_linear_model import MixedLM

    data = simulate(np.random.default_rng(4), (3, 3), 15, missing=0.15, seed=0.03, arm_unit=0.03)
    found = mixed_difference(data, "sme", "baseline")
    run, unit = np.nonzero(~np.isnan(data.values))
    rows = pd.DataFrame({"y": data.values[run, unit], "arm": 1 - data.arm[run], "run": run, "unit": unit, "all": 1})
    terms = {"unit": "0 + C(unit)", "arm_unit": "0 + C(unit):C(arm)", "seed": "0 + C(run)"}
    fit = MixedLM.from_formula("y ~ arm", rows, groups="all", re_formula="0", vc_formula=terms).fit(reml=True)
    assert found.components is not None
    wanted = {**dict(zip(fit.model.exog_vc.names, fit.vcomp, strict=True)), "error": fit.scale}
    assert vars(found.components) == pytest.approx(wanted, rel=1e-2)
    assert (found.estimate, found.se) == pytest.approx((fit.params["arm"], fit.bse["arm"]), rel=1e-3)


def test_without_an_arm_by_unit_variance_the_component_is_0_and_no_part_of_the_freedom() -> None:
    """Only seeds are left, on complete data: as many degrees of freedom as runs less arms."""
    data = simulate(np.random.default_rng(12), arm_unit=0.0)
    closed = difference(data, "sme", "baseline", freedom="satterthwaite", variances="pooled")
    assert closed.components is not None
    assert closed.components.arm_unit < 0 < closed.components.seed
    found = mixed_difference(data, "sme", "baseline")
    assert found.components is not None
    assert found.components.arm_unit == 0
    assert (found.se, found.df) == pytest.approx((closed.se, 6), rel=1e-5)


def test_exchanging_arms_and_shifting_and_scaling_scores_do_what_they_should() -> None:
    data = simulate(np.random.default_rng(5), (2, 5), 20, missing=0.2, effect=0.02)
    first, back = mixed_difference(data, "sme", "baseline"), mixed_difference(data, "baseline", "sme")
    assert (first.estimate, first.se, first.df, first.ci_low) == pytest.approx(
        (-back.estimate, back.se, back.df, -back.ci_high), rel=1e-4
    )
    scaled = mixed_difference(replace(data, values=5 + 1000 * data.values), "sme", "baseline")
    assert (scaled.estimate, scaled.se, scaled.df, scaled.p) == pytest.approx(
        (1000 * first.estimate, 1000 * first.se, first.df, first.p), rel=1e-4
    )


def test_runs_and_units_without_scores_are_left_out() -> None:
    data = simulate(np.random.default_rng(6), (3, 3), 20, missing=0.1)
    wider = np.full((7, 22), np.nan)
    wider[:6, :20] = data.values
    more = ScoreMatrix(data.arms, np.append(data.arm, 1), np.append(data.seed, 3), wider, (*data.units, "x", "y"), 22)
    assert mixed_difference(more, "sme", "baseline") == mixed_difference(data, "sme", "baseline")


def test_one_seed_or_one_unit_has_a_difference_and_no_test() -> None:
    for data in (simulate(np.random.default_rng(7), (1, 3)), simulate(np.random.default_rng(7), units=1)):
        found = mixed_difference(data, "sme", "baseline")
        assert found.estimate == pytest.approx(difference(data, "sme", "baseline").estimate)
        assert np.isnan([found.se, found.df, found.p, found.ci_low, found.ci_high]).all()
        assert found.components is None


def test_what_cannot_be_fitted_is_refused() -> None:
    data = simulate(np.random.default_rng(8), (2, 2), 8)
    with pytest.raises(ValueError, match="2 strata; expected one"):
        mixed_difference(replace(data, stratum=np.arange(len(data.units)) % 2), "sme", "baseline")
    with pytest.raises(ValueError, match="sme has 0 runs with scores"):
        mixed_difference(replace(data, values=np.where(data.arm[:, None] == 0, np.nan, data.values)), "sme", "baseline")
    with pytest.raises(ValueError, match="all scores of sme and baseline are equal"):
        mixed_difference(replace(data, values=np.ones_like(data.values)), "sme", "baseline")
    with pytest.raises(ValueError, match="nothing but their means"):
        mixed_difference(replace(data, values=data.values[[0, 0, 2, 2]]), "sme", "baseline")
    diagonal = np.where(np.arange(4)[:, None] == np.arange(8) % 4, data.values, np.nan)
    with pytest.raises(ValueError, match="too sparse to tell the variances apart"):
        mixed_difference(replace(data, values=diagonal), "sme", "baseline")
    units = SIZE // 16 + 1
    many = ScoreMatrix(data.arms, data.arm, data.seed, np.zeros((4, units)), tuple(map(str, range(units))), units)
    with pytest.raises(ValueError, match=f"expected at most {SIZE // 16} units"):
        mixed_difference(many, "sme", "baseline")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0.0, 0.003, 0.012])
def test_equal_arms_with_missing_cells_are_told_apart_no_more_often_than_promised(seed: float) -> None:
    """250 draws of 5 seeds and 40 units, a fifth missing: 5 % are 12.5, whose standard deviation is 3.4."""
    rng = np.random.default_rng(9)
    p = [mixed_difference(simulate(rng, (5, 5), 40, 0.2, seed=seed), "sme", "baseline").p for _ in range(250)]
    assert np.sum(np.array(p) < 0.05) <= 23
    if seed:
        assert np.sum(np.array(p) < 0.05) >= 3


def test_a_planted_effect_is_found_and_its_interval_covers_it() -> None:
    rng = np.random.default_rng(10)
    draws = [simulate(rng, (5, 5), 30, 0.2, effect=0.03, seed=0.005) for _ in range(40)]
    found = [mixed_difference(data, "sme", "baseline") for data in draws]
    assert np.mean([each.p < 0.05 for each in found]) > 0.9
    assert np.mean([each.ci_low <= 0.03 <= each.ci_high for each in found]) >= 0.85
