"""Variance explained by metadata alone: compared with reference implementations, on planted and on null data."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.formula.api import ols

from analysis.probes.difficulty import anova, difficulty, spearman
from fake_controls import collected_rows, count_rows


def found(images: pd.DataFrame) -> pd.DataFrame:
    return difficulty(images, "baseline", np.random.default_rng(0)).set_index("column")


def baseline(f1: npt.ArrayLike, group: Sequence[str] | None = None, **metadata: npt.ArrayLike) -> pd.DataFrame:
    names = [f"{i}.png" for i in range(len(np.asarray(f1)))]
    return collected_rows({("baseline", 0): count_rows(f1, names, group=group, **metadata)})


def test_variance_is_split_as_statsmodels_splits_it() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 50)
    values = rng.normal(0, 1, 50) + 0.4 * labels
    explained, corrected, p = anova(values, labels, rng)
    fitted = ols("y ~ C(x)", pd.DataFrame({"y": values, "x": labels})).fit()
    table = sm.stats.anova_lm(fitted)
    assert explained == pytest.approx(table["sum_sq"].iloc[0] / table["sum_sq"].sum())
    assert corrected == pytest.approx(fitted.rsquared_adj)  # epsilon squared is the adjusted R squared
    assert p == pytest.approx(stats.f_oneway(*(values[labels == k] for k in range(4))).pvalue, abs=0.01)


def test_variance_by_hand() -> None:
    explained, corrected, p = anova(np.array([1.0, 3, 5, 7]), np.array([0, 0, 1, 1]), np.random.default_rng(0))
    assert explained == pytest.approx(16 / 20)
    assert corrected == pytest.approx((16 - 4 / 2) / 20)
    assert p == pytest.approx(1 / 3, abs=0.02)  # 2 of the 6 ways to halve them are as far apart


def test_correlation_is_scipys() -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(0, 8, 40).astype(float)
    y = 0.1 * x + rng.normal(0, 1, 40)
    reference = stats.spearmanr(x, y)
    correlation, p = spearman(x, y, rng)
    assert correlation == pytest.approx(reference.statistic)
    assert p == pytest.approx(reference.pvalue, abs=0.02)


def test_nothing_is_explained_where_all_scores_are_equal() -> None:
    same = np.full(6, 0.3)
    assert anova(same, np.array([0, 0, 0, 1, 1, 1]), np.random.default_rng(0))[2] == 1.0
    assert spearman(np.arange(6.0), same, np.random.default_rng(0))[1] == 1.0
    assert np.isnan(found(baseline(same, line=[*"aaabbb"])).loc["line", "explained"])


def test_without_an_effect_epsilon_is_0_in_the_mean_and_p_is_uniform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.probes.difficulty.PERMUTATIONS", 199)
    rng = np.random.default_rng(2)
    labels = np.repeat(np.arange(5), 6)
    results = np.array([anova(rng.normal(0, 1, 30), labels, rng) for _ in range(400)])
    explained, corrected, p = results.T
    assert explained.mean() == pytest.approx(4 / 29, abs=0.02)  # of nothing, by 5 values of 30 images
    assert corrected.mean() == pytest.approx(0, abs=0.02)
    assert 0.02 < (p <= 0.05).mean() < 0.08
    assert p.min() >= 1 / 200


def test_a_planted_difficulty_is_found_in_its_column_alone() -> None:
    rng = np.random.default_rng(3)
    line, microscope = rng.permutation(np.repeat([*"abc"], 40)), rng.permutation(np.repeat([*"xy"], 60))
    size, dose = rng.uniform(0, 10, 120), rng.uniform(0, 1, 120)
    f1 = 0.5 + 0.1 * (line == "a") + 0.02 * size + rng.normal(0, 0.03, 120)
    table = found(baseline(f1, line=line, microscope=microscope, size=size, dose=dose))
    assert table["kind"].to_dict() == {
        "line": "categorical", "microscope": "categorical", "size": "continuous", "dose": "continuous",
    }  # fmt: skip
    assert (table.loc[["line", "size"], "p"] < 0.001).all()
    assert (table.loc[["microscope", "dose"], "p"] > 0.05).all()
    assert table.loc["line", "corrected"] > 0.1 > abs(table.loc["microscope", "corrected"])
    assert table.loc["size", "correlation"] > 0.5


def test_groups_are_the_units() -> None:
    """Wells differ, lines don't: 6 wells of 20 images are 6 observations, not 120."""
    well_f1 = np.array([0.5, 0.7, 0.9, 0.55, 0.72, 0.88])
    f1, well = np.repeat(well_f1, 20), np.repeat([f"well {i}" for i in range(6)], 20)
    line, size = np.repeat([*"aaabbb"], 20), np.repeat(np.arange(6.0), 20)
    table = found(baseline(f1, list(well), line=line, size=size))
    assert table["n_units"].tolist() == [6, 6]
    assert table["n_images"].tolist() == [120, 120]
    assert table.loc["line", "explained"] == pytest.approx(np.var([0.7, 0.7167]) / np.var(well_f1), rel=0.02)
    assert table.loc["size", "correlation"] == pytest.approx(stats.spearmanr(range(6), well_f1).statistic)


def test_images_of_a_group_with_two_values_are_two_units() -> None:
    table = found(baseline([0.1, 0.2, 0.8, 0.9], ["w", "v", "w", "v"], task=[*"nnaa"]))
    assert table.loc["task", "n_units"] == 4


def test_scores_are_means_over_seeds_of_the_baseline_told_nothing_else() -> None:
    names, line = [*"abcdef"], [*"xxxyyy"]
    seeds = {("baseline", s): count_rows([0.5 + s / 10] * 3 + [0.7 - s / 10] * 3, names, line=line) for s in (0, 1, 2)}
    other = count_rows([0.1] * 3 + [0.9] * 3, names, line=line)
    images = collected_rows({**seeds, ("sme", 0): other})
    told = collected_rows({("baseline", 0): other.assign(evaluation="zeros")})
    table = found(pd.concat([images, told]))
    assert table.loc["line", "n_units"] == 6
    assert np.isnan(table.loc["line", "explained"])  # both lines' means over seeds are 0.6


@pytest.mark.parametrize("values", [[*"aaaa"], [*"abcd"]], ids=["one value", "each its own"])
def test_a_column_that_cant_explain_has_no_row(values: list[str]) -> None:
    assert found(baseline([0.1, 0.2, 0.3, 0.4], line=values)).empty


def test_missing_values_are_left_out() -> None:
    size = np.array([1.0, 2, 3, 4, np.nan])
    table = found(baseline([0.1, 0.2, 0.3, 0.4, 0.0], size=size))
    assert table.loc["size", ["n_images", "correlation"]].tolist() == [4, pytest.approx(1)]


def test_the_same_generator_gives_the_same_p() -> None:
    images = baseline(np.random.default_rng(5).uniform(0, 1, 30), line=[*"ab"] * 15)
    pd.testing.assert_frame_equal(found(images), found(images))
