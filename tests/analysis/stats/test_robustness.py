"""Declared comparisons by resampling."""

import numpy as np
import pytest

from analysis.results.declaration import Comparison
from analysis.scores.score_matrix import ScoreMatrix, score_matrices
from analysis.stats.resampling import bootstrap
from analysis.stats.robustness import COLUMNS, resample
from fake_store import make_scores, simulate

BOTH = [Comparison("sme", "baseline"), Comparison("me", "baseline"), Comparison("film", "baseline")]


def planted(seeds: int = 3) -> ScoreMatrix:
    f1 = simulate(np.random.default_rng(0), 40, seeds, baseline=0.0, me=0.0, sme=0.05)
    return next(matrix for _, _, matrix in score_matrices(make_scores(f1, ["all"] * 40)))


def test_a_planted_effect_is_found_and_a_null_isnt() -> None:
    found = resample(planted(), BOTH, np.random.default_rng(1))
    assert list(found.columns) == COLUMNS
    assert found["arm"].tolist() == ["sme", "me"], "an arm without runs has no row"
    sme, me = found.iloc[0], found.iloc[1]
    assert 0 < sme["low"] < sme["difference"] < sme["high"]
    assert me["low"] < 0 < me["high"]
    assert sme["p_signs"] < 0.01 < me["p_signs"]
    assert sme["p_runs"] == pytest.approx(sme["p_runs_least"])
    assert sme["p_runs_least"] == pytest.approx(2 / 20)  # two of the ways to halve six runs


def test_the_same_generator_gives_the_same_numbers_of_the_bootstrap() -> None:
    matrix = planted()
    interval = bootstrap(matrix, "sme", "baseline", np.random.default_rng(1))
    row = resample(matrix, BOTH, np.random.default_rng(1)).iloc[0]
    assert (row["low"], row["high"], row["method"]) == (interval.low, interval.high, interval.method)


def test_an_arm_without_runs_is_left_out_and_others_arent() -> None:
    matrix = planted()
    assert resample(matrix, BOTH, np.random.default_rng(1))["arm"].tolist() == ["sme", "me"]
    assert resample(matrix, [], np.random.default_rng(1)).empty


def test_one_seed_has_no_interval() -> None:
    row = resample(planted(seeds=1), BOTH, np.random.default_rng(1)).iloc[0]
    assert (np.isnan(row["low"]), row["method"]) == (True, "none")
