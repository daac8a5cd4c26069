"""The simulation of studies until decided is of the tests that studies use."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.results.declaration import Comparison
from analysis.results.looks import Look, Rule
from analysis.scores.score_matrix import ScoreMatrix
from analysis.stats.sequential import sightings, take_look
from benchmarks.sequential import MARGIN, RUNS, Regime, course, draws, verdicts
from benchmarks.sequential_page import equal_power, page, picture

PAIR = Comparison("sme", "baseline")
REGIMES = [
    Regime("one split", Rule((2, 3, 5)), (0.003, 0.012), 0.02, images=20),
    Regime("folds", Rule((2, 4)), (0.006, 0.006), 0.02, images=40, folds=4),
]


def matrix(arms: tuple[np.ndarray, np.ndarray], seeds: int) -> ScoreMatrix:
    """Scores of one draw."""
    folds, images = arms[0].shape[1:]
    values = np.concatenate([arm[:seeds].reshape(seeds, -1) for arm in arms])
    names = tuple(f"image{number}" for number in range(folds * images))
    of_fold = np.repeat(np.arange(folds), images)
    order = ScoreMatrix(("sme", "baseline"), np.repeat([0, 1], seeds), np.tile(np.arange(seeds), 2), values, names, 1)
    return replace(order, fold=of_fold)


@pytest.mark.parametrize("regime", REGIMES, ids=lambda regime: regime.name)
def test_a_draw_is_what_a_study_sees(regime):
    """Estimate, p, information, levels and the chance to decide, of every look."""
    arms = draws(np.random.default_rng(0), regime, 3)
    whole = course(arms, regime)
    for draw in range(3):
        looks: list[Look] = []
        for place, seeds in enumerate(regime.rule.looks):
            look = take_look(matrix((arms[0][draw], arms[1][draw]), seeds), regime.rule, [PAIR], MARGIN, looks, seeds)
            looks.append(look)
            test = look.tests[0]
            assert test.estimate == pytest.approx(whole.estimate[draw, place])
            assert test.p == pytest.approx(whole.p(0.0)[draw, place], rel=1e-6)
            assert test.chance == pytest.approx(whole.chance(whole.estimate)[draw, place], abs=1e-9)
        levels = [each.level for each in sightings(looks, regime.rule, [PAIR])[0][1]]
        np.testing.assert_allclose(levels, whole.differs_level[draw], rtol=1e-6)


def test_a_large_difference_ends_a_study_early_and_none_ends_it_late():
    regime = replace(RUNS[0], rule=Rule((3, 5, 8)))
    looks = [course(draws(np.random.default_rng(1), regime, 200), regime)]
    none, large = verdicts(regime, looks, 0.0), verdicts(regime, looks, 0.1)
    assert large["runs_mean"] < none["runs_mean"]
    assert large["differs"] > 99
    assert none["differs"] < 15
    for shares in (none, large):
        assert sum(shares[name] for name in ("differs", "equal", "futile", "undecided")) == pytest.approx(100)


def test_the_page_tells_the_fixed_design_that_decides_as_often():
    """Between 5 runs with 40 % and 10 with 60 %, half-way is 7.5."""
    rows = [("until decided", np.nan, 50, 6.0), ("5 seeds", 5, 40, 5.0), ("10 seeds", 10, 60, 10.0)]
    runs = pd.DataFrame(
        [
            {"regime": "split", "effect": 0.0, "design": design, "seeds": seeds, "differs": share, "equal": 0.0}
            | {"futile": 0.0, "undecided": 100.0 - share, "runs_median": used, "runs_mean": used}
            for design, seeds, share, used in rows
        ]
    )
    assert equal_power(runs)["fixed"].tolist() == [7.5]
    errors = {
        "regime": "split",
        "looks": "3 5",
        "folds": 1,
        "ahead": 0,
        "until_decided": 5.0,
        "peeking": 9.0,
        "last_look": 5.0,
    }
    text = page(pd.DataFrame([errors]), runs, 100, 100)
    assert "| split | 3, 5 | 5.0 | 9.0 | 5.0 |" in text
    assert "| split | 0 | 50 | 6 | 6.0 | 7.5 | 0.80 |" in text, text
    assert picture(runs).startswith(b"\x89PNG")
