"""Replayed sweeps: they pay for what is begun, find what is planted at the expected cost, and the page says it."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from benchmarks.machine import RESULTS
from benchmarks.sweep_evidence import FIGURES, METHODS, expected_share, explained, markdown, quartiles, summarise
from benchmarks.sweep_replay import Grid, Method, Point, Replayed, make_grid, read_grid, replay
from metaseg.config import ConfigError
from metaseg.store.runs import Store, to_json
from metaseg.sweeps.continuation import study_name
from metaseg.sweeps.dimensions import Choice, Float
from metaseg.sweeps.journal import open_journal
from metaseg.sweeps.samplers import SamplerSettings, build_sampler
from metaseg.sweeps.space import Space
from metaseg.sweeps.sweep import FACTS

IMAGES = 10
SPACE = Space(
    (
        Choice("shape", ("constant", "cyclic")),
        Choice("cycles", (1, 3), when=("shape", ("cyclic",))),
        Float("lr_max", 1e-3, 1e-1, log=True),
        Choice("batch_size", (4, 8)),
    )
)
"""Space of 3 x 3 x 2 points, with three values of the rate."""


def planted(good: int, curve: Callable[[float], tuple[tuple[int, float], ...]] | None = None) -> Grid:
    """So many points are worth 0.9 and the others 0.5 to 0.6, scattered."""
    rows = SPACE.grid(3)
    worth = np.where(np.arange(len(rows)) < good, 0.9, np.linspace(0.5, 0.6, len(rows)))
    curve = curve or (lambda score: ((3, score - 0.1), (6, score)))
    points = [Point(curve(float(score)), IMAGES, 1.0) for score in np.random.default_rng(0).permutation(worth)]
    return make_grid("planted", SPACE, 3, zip(rows, points, strict=True))


@pytest.mark.parametrize("good", [1, 3])
def test_the_grid_in_random_order_costs_what_is_expected(good: int) -> None:
    grid = planted(good)
    needed = [replay(grid, Method("grid"), seed, workers=1).needed(0.9) for seed in range(150)]
    assert max(needed) <= 1
    # The place of the first of k good ones among n, each place as likely: its SD is below the mean's.
    expected = expected_share(18, good)
    assert np.mean(needed) == pytest.approx(expected, abs=4 * expected / math.sqrt(150))


def test_random_search_costs_what_is_expected() -> None:
    """Half of all proposals are constant, half of these have a batch of 4, and half of these are nearest to 0.01."""
    good = {"shape": "constant", "lr_max": 0.01, "batch_size": 4}
    grid = make_grid(
        "planted", SPACE, 3,
        [(row, Point(((3, 0.9 if row == pytest.approx(good) else 0.5),), IMAGES, 1.0)) for row in SPACE.grid(3)],
    )  # fmt: skip
    sweeps = [replay(grid, Method("random"), seed, workers=1) for seed in range(150)]
    found = np.mean([math.isfinite(sweep.needed(0.9)) for sweep in sweeps])
    miss = 1 - 1 / 8
    assert found == pytest.approx(1 - miss**18, abs=4 * math.sqrt(miss**18 * (1 - miss**18) / 150))


def test_a_worker_s_unfinished_trial_is_paid_for() -> None:
    """Two workers side by side: when the first trial of the best is complete, the other one's is, too."""
    grid = planted(18)
    one, two = (replay(grid, Method("grid"), 0, workers) for workers in (1, 2))
    assert one.steps == ((1 / 18, 0.9),)
    assert two.steps == ((2 / 18, 0.9),)


def test_trials_are_ended_and_pay_for_what_they_trained() -> None:
    """A pruned trial costs half, so the same proposals come to the best one sooner."""
    grid = planted(1)
    for seed in range(5):
        whole, pruned = (replay(grid, Method("grid", pruner), seed, workers=1) for pruner in ("none", "asha"))
        assert whole.trials == pruned.trials
        assert whole.pruned == 0
        assert pruned.needed(0.9) == pytest.approx(whole.needed(0.9) - pruned.pruned / 2 / 18)


def test_a_pruned_trial_is_not_the_best() -> None:
    """The good one begins below all others, so that asha ends it unless it is the first at its rung."""
    grid = planted(1, lambda score: ((3, 1.0 - score), (6, score)))
    sweeps = [replay(grid, Method("random", "asha"), seed, workers=1) for seed in range(20)]
    assert sum(math.isfinite(sweep.needed(0.9)) for sweep in sweeps) < 10


def test_the_same_seed_is_the_same_sweep() -> None:
    grid = planted(2)
    for method in (Method("tpe", "asha"), Method("qmc", "hyperband")):
        assert replay(grid, method, 1) == replay(grid, method, 1)
    assert len({replay(grid, Method("tpe", "asha"), seed).steps for seed in range(5)}) > 1


def test_proposals_are_looked_up_at_the_nearest_point() -> None:
    grid = planted(1)
    settings = grid.nearest({"shape": "cyclic", "cycles": 3, "lr_max": 0.0031, "batch_size": 8})
    assert dict(settings)["lr_max"] == pytest.approx(0.001)
    assert dict(grid.nearest({"shape": "constant", "lr_max": 0.0033, "batch_size": 8}))["lr_max"] == pytest.approx(0.01)
    with pytest.raises(ConfigError, match="no point"):
        grid.nearest({"shape": "constant", "lr_max": 0.01, "batch_size": 16})


def test_quartiles_of_sweeps_that_do_not_get_there() -> None:
    assert quartiles([0.1, 0.2, 0.3, math.inf]) == [0.1, 0.2, 0.3]
    assert quartiles([0.1, math.inf, math.inf, math.inf]) == [0.1, None, None]
    grid = planted(1)
    found = summarise(grid, [Replayed(((0.25, 0.5), (0.5, 0.9)), 10, 5, 0), Replayed(((0.25, 0.5),), 10, 0, 5)])
    assert found["needed"]["0.005"] == {"quartiles": [0.5, 0.5, None], "found": 0.5}
    assert (found["pruned"], found["repeats"]) == (0.25, 0.25)
    assert found["shortfall"][0] == [None, None, None]
    assert found["shortfall"][-1] == [0.0, 0.0, 0.4]


def test_settings_that_add_up_explain_a_grid_and_noise_is_not_explained() -> None:
    rows = SPACE.grid(3)
    worth = [0.1 * (row["batch_size"] == 4) + 0.05 * (row.get("cycles") == 3) + float(row["lr_max"]) for row in rows]
    noise = np.random.default_rng(0).random((20, len(rows)))

    def share(scores: list[float]) -> float:
        points = [Point(((3, score),), IMAGES, 1.0) for score in scores]
        return explained(make_grid("planted", SPACE, 3, zip(rows, points, strict=True)))

    assert share(worth) == pytest.approx(1)
    assert abs(np.mean([share(scores) for scores in noise.tolist()])) < 0.15


def record_grid(store: Store, trials: int) -> None:
    """A store as a sweep with the sampler `grid` leaves it."""
    from optuna.distributions import distribution_to_json

    record = {
        "name": "recorded",
        "generation": 1,
        "space": {name: distribution_to_json(kind) for name, kind in SPACE.distributions().items()},
        "conditions": {"cycles": ["shape", ["cyclic"]]},
        "schedule": {"validate_every": 3},
    }
    store.storage.write("sweeps/recorded/sweep.json", to_json(record))
    sampler = build_sampler(SamplerSettings(SPACE, "grid", grid_points=3))
    study = optuna.create_study(
        storage=open_journal(store.storage, "recorded"), study_name=study_name(record), sampler=sampler
    )
    for number in range(trials):
        trial = study.ask()
        SPACE.suggest(trial)
        curve = [[3, 0.5], [6, 0.5 + number / 100]]
        trial.set_user_attr(FACTS, {"curve": curve, "epochs": 6, "image_epochs": 60, "seconds": 12.0})
        study.tell(trial, 0.5, state=TrialState.COMPLETE)


def test_a_recorded_grid_is_read(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    record_grid(store, 18)
    grid = read_grid(store, "recorded")
    assert grid.space == SPACE
    assert (len(grid.points), grid.compute, grid.validate_every) == (18, 18 * 60, 3)
    assert grid.best == pytest.approx(0.67)
    assert len(grid.within(0.02)) == 3
    assert replay(grid, Method("tpe", "asha"), 0).steps


def test_an_incomplete_grid_is_refused(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    record_grid(store, 17)
    with pytest.raises(ConfigError, match="17 points; expected 18"):
        read_grid(store, "recorded")
    with pytest.raises(ConfigError, match="no sweep 'other'"):
        read_grid(store, "other")


def test_the_page_shows_the_committed_figures() -> None:
    figures = json.loads((RESULTS / "sweep_evidence.json").read_text())
    page = (FIGURES.parent / "sweeps.md").read_text()
    for table in markdown(figures).split("\n\n"):
        assert table in page
    for grid in figures["grids"]:
        assert list(grid["methods"]) == list(METHODS)
        assert f"sweeps/{grid['name']}.png" in page
        assert (FIGURES / f"{grid['name']}.png").exists()
