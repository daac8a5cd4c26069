"""Benchmark of crossed seeds: in batches it is the test itself, and it runs at a tiny size."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.scores.score_matrix import ScoreMatrix
from analysis.stats.mrmc import difference
from benchmarks import crossed_seeds
from benchmarks.crossed_seeds import SCHEDULES, correlations, crossed, drawn, page, table, trained
from benchmarks.null_draws import Regime
from metaseg.config import ScheduleConfig
from metaseg.simulators.settings import SyntheticConfig


@pytest.mark.parametrize(("seeds", "images"), [(2, 10), (5, 30)])
def test_the_batch_of_draws_is_the_test_draw_by_draw(seeds: int, images: int) -> None:
    regime = Regime((seeds, seeds), images, 0.01, 0.01, 0.02)
    scores = drawn(np.random.default_rng(0), regime, 0.5, 4, 0.01)
    arm, seed, names = np.repeat([0, 1], seeds), np.tile(np.arange(seeds), 2), tuple(map(str, range(images)))
    one = [
        difference(ScoreMatrix(("a", "b"), arm, seed, each, names, images), "a", "b", "crossed").p for each in scores
    ]
    assert crossed(scores) == pytest.approx(one, rel=1e-9)


def test_seeds_effects_have_the_correlation_that_was_asked_for() -> None:
    """Between arms, of differences of two seeds: what images have is in both seeds and falls out."""
    scores = drawn(np.random.default_rng(1), Regime((2, 2), 3, 0.01, 0.0, 0.0), 0.7, 4000, 0.0).mean(axis=2)
    ours, theirs = scores[:, 0] - scores[:, 1], scores[:, 2] - scores[:, 3]
    assert np.corrcoef(ours, theirs)[0, 1] == pytest.approx(0.7, abs=0.03)
    assert ours.std() == pytest.approx(np.sqrt(2) * 0.01, rel=0.05)


def test_real_runs_are_trained_with_both_kinds_of_initial_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crossed_seeds, "CELLS", SyntheticConfig(size=64, images_per_line=3, wells_per_line=3))
    monkeypatch.setitem(SCHEDULES, 1, ScheduleConfig(epochs=1, crop=16))
    runs = trained(tmp_path, [0], ["sme"], [1])
    assert runs["init"].tolist() == ["own", "shared"]
    assert runs["f1"].nunique() == 2


def test_pairs_of_arms_are_correlated_over_seeds() -> None:
    rng = np.random.default_rng(0)
    seeds = rng.normal(0, 1, 200)
    runs = pd.concat(
        pd.DataFrame({"epochs": 5, "init": "shared", "arm": arm, "seed": range(200), "f1": share * seeds + noise})
        for arm, share, noise in (("se", 1, rng.normal(0, 1, 200)), ("sme", 1, rng.normal(0, 1, 200)))
    )
    pairs = correlations(runs)
    assert pairs["pair"].tolist() == ["se, sme"]
    assert pairs["low"][0] < 0.5 < pairs["high"][0]
    assert pairs["correlation"][0] == pytest.approx(0.5, abs=0.15)
    assert "| 5 | shared |" in page(table(rng, 200), pairs)
