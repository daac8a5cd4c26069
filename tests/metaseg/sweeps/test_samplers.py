"""Samplers: a killed sweep goes on as if nothing had happened, and each searches as it says."""

import json
import math
import statistics
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from metaseg.config import ConfigError
from metaseg.sweeps.dimensions import Choice, Float, Integer
from metaseg.sweeps.samplers import SAMPLERS, SamplerSettings, build_sampler
from metaseg.sweeps.space import Space
from metaseg.sweeps.spaces import BOTTLENECK_SPACE, SCHEDULE_SPACE

RANGES = Space((Float("lr_max", 1e-4, 1e-1, log=True), Float("weight_decay", 0.0, 1.0), Integer("width", 4, 64)))
CONDITIONAL = Space(
    (
        Choice("shape", ("cyclic", "cosine", "constant")),
        Float("lr_max", 1e-4, 1e-1, log=True),
        Integer("cycles", 1, 8, when=("shape", ("cyclic",))),
        Choice("positions", (("encoder",), ("encoder", "decoder"))),
        Float("weight_decay", 0.0, 1.0),
    )
)
CAN: dict[str, Space] = {name: RANGES if name == "cmaes" else CONDITIONAL for name in SAMPLERS}


def score(params: dict[str, Any]) -> float:
    """Best at lr_max 1e-2 and no weight decay."""
    return 1 - 0.2 * abs(math.log10(params["lr_max"]) + 2) - 0.3 * params["weight_decay"]


def open_study(path: Path, settings: SamplerSettings) -> optuna.Study:
    """The study in the journal at `path`, as a process that has just begun would open it."""
    return optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(path))),
        study_name="sweep",
        directions=["maximize", *["minimize"] * (settings.objectives - 1)],
        sampler=build_sampler(settings),
        load_if_exists=True,
    )


def go_on(study: optuna.Study, space: Space, trials: int, score: Callable[[dict[str, Any]], float] = score) -> None:
    """Ask for so many trials, one after the other."""
    for _ in range(trials):
        trial = study.ask()
        params = space.suggest(trial)
        study.tell(trial, score(params))


def proposed(study: optuna.Study) -> list[dict[str, Any]]:
    return [trial.params for trial in study.get_trials()]


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_built_anew_goes_on_as_if_it_hadnt_been(name: str, tmp_path: Path):
    space = CAN[name]
    settings = SamplerSettings(space, name, seed=3, startup=3)
    whole = open_study(tmp_path / "whole", settings)
    go_on(whole, space, 10)
    go_on(open_study(tmp_path / "killed", settings), space, 5)
    resumed = open_study(tmp_path / "killed", settings)
    go_on(resumed, space, 5)
    assert proposed(resumed) == proposed(whole)
    assert len({json.dumps(params) for params in proposed(whole)}) == 10, "no proposal is made twice"


@pytest.mark.parametrize("name", SAMPLERS)
def test_another_seed_proposes_other_trials(name: str):
    seen = []
    for seed in (0, 1):
        study = optuna.create_study(sampler=build_sampler(SamplerSettings(CAN[name], name, seed, startup=2)))
        go_on(study, CAN[name], 4)
        seen.append(proposed(study))
    assert seen[0] != seen[1]


@pytest.mark.parametrize("name", SAMPLERS)
def test_trials_side_by_side_differ(name: str):
    study = optuna.create_study(
        direction="maximize", sampler=build_sampler(SamplerSettings(CAN[name], name, startup=2))
    )
    go_on(study, CAN[name], 6)
    running = [CAN[name].suggest(study.ask()) for _ in range(4)]
    assert len({json.dumps(params) for params in running}) == 4


@pytest.mark.parametrize("name", ["tpe", "gp", "cmaes"])
def test_the_first_trials_are_spread_evenly_and_later_ones_follow_the_score(name: str):
    study = optuna.create_study(direction="maximize", sampler=build_sampler(SamplerSettings(RANGES, name, startup=8)))
    go_on(study, RANGES, 18 if name == "gp" else 64)
    spread = optuna.create_study(sampler=build_sampler(SamplerSettings(RANGES, "qmc")))
    go_on(spread, RANGES, 8)
    assert proposed(study)[:8] == proposed(spread)
    halves = Counter(trial.params["weight_decay"] < 0.5 for trial in study.trials[:8])
    assert halves == {True: 4, False: 4}, "Sobol' points halve each dimension"
    values = [trial.value for trial in study.trials]
    assert sum(values[-8:]) / 8 > sum(values[:8]) / 8 + 0.15


def test_tpe_keeps_away_from_trials_that_still_run():
    """The next ten are asked while all run, or each after the one before has failed, which tells nothing."""
    space = Space((Float("weight_decay", 0.0, 1.0), Float("lr_max", 1e-4, 1e-1, log=True)))

    def spread(seed: int, runs: bool) -> float:
        study = optuna.create_study(direction="maximize", sampler=build_sampler(SamplerSettings(space, "tpe", seed)))
        go_on(study, space, 30)
        found = []
        for _ in range(10):
            trial = study.ask()
            found.append(space.suggest(trial)["weight_decay"])
            if not runs:
                study.tell(trial, state=TrialState.FAIL)
        return statistics.pstdev(found)

    assert sum(spread(seed, True) for seed in range(5)) > 1.1 * sum(spread(seed, False) for seed in range(5))


def test_startup_can_be_random():
    settings = SamplerSettings(RANGES, "tpe", startup=4, startup_by="random")
    study = optuna.create_study(sampler=build_sampler(settings))
    alone = optuna.create_study(sampler=build_sampler(SamplerSettings(RANGES, "random")))
    go_on(study, RANGES, 4)
    go_on(alone, RANGES, 4)
    assert proposed(study) == proposed(alone)


@pytest.mark.parametrize("name", ["tpe", "gp", "cmaes"])
def test_no_trial_needs_to_have_ended_for_the_next(name: str):
    """More slots than start-up trials: the sampler is asked before it knows anything."""
    study = optuna.create_study(sampler=build_sampler(SamplerSettings(CAN[name], name, startup=1)))
    assert len({json.dumps(CAN[name].suggest(study.ask())) for _ in range(6)}) == 6


@pytest.mark.parametrize("name", SAMPLERS)
def test_no_sampler_uses_what_optuna_will_drop(name: str):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        study = optuna.create_study(sampler=build_sampler(SamplerSettings(CAN[name], name, startup=2)))
        go_on(study, CAN[name], 5)


def test_a_killed_trial_is_completed_with_what_it_would_have_had():
    study = optuna.create_study(sampler=build_sampler(SamplerSettings(CONDITIONAL, "qmc")))
    other = optuna.create_study(sampler=build_sampler(SamplerSettings(CONDITIONAL, "qmc")))
    died = study.ask()
    CONDITIONAL.dimensions[0].suggest(died)
    assert CONDITIONAL.suggest(optuna.Trial(study, died._trial_id)) == CONDITIONAL.suggest(other.ask())


def test_a_grid_is_tried_once_and_what_failed_once_more_at_the_end():
    space = Space((Choice("shape", ("cyclic", "cosine")), Integer("cycles", 1, 3, when=("shape", ("cyclic",)))))
    study = optuna.create_study(sampler=build_sampler(SamplerSettings(space, "grid")))
    for number in range(5):
        trial = study.ask()
        space.suggest(trial)
        study.tell(trial, *([None, TrialState.FAIL] if number in (0, 2) else [1.0]))
        if number == 3:
            assert len({json.dumps(params) for params in proposed(study)}) == 4
    failed = proposed(study)[0]
    assert proposed(study)[4] == failed
    go_on(study, space, 1, lambda params: 1.0)
    assert proposed(study)[5] == proposed(study)[2]
    with pytest.raises(ConfigError, match="trial 6 has no untried settings left; expected at most 4 trials"):
        space.suggest(study.ask())


def test_a_grid_of_ranges_has_as_many_points_as_are_wanted():
    space = Space((Float("lr_max", 1e-4, 1e-2, log=True), Integer("depth", 2, 4)))
    study = optuna.create_study(sampler=build_sampler(SamplerSettings(space, "grid", grid_points=2)))
    go_on(study, space, 4, lambda params: 1.0)
    found = sorted((round(row["lr_max"], 9), row["depth"]) for row in proposed(study))
    assert found == [(1e-4, 2), (1e-4, 4), (1e-2, 2), (1e-2, 4)]


@pytest.mark.parametrize("name", ["tpe", "gp", "random", "qmc", "grid"])
def test_several_objectives_are_searched(name: str):
    settings = SamplerSettings(CONDITIONAL, name, startup=3, objectives=2)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=build_sampler(settings))
    for _ in range(6):
        trial = study.ask()
        params = CONDITIONAL.suggest(trial)
        study.tell(trial, [score(params), params["lr_max"]])
    assert study.best_trials


@pytest.mark.parametrize("name", ["tpe", "gp", "cmaes"])
def test_samplers_that_learn_keep_away_from_what_breaks_a_constraint(name: str):
    """The score wants weight decay at 0; the constraint, at least 0.5."""
    study = optuna.create_study(direction="maximize", sampler=build_sampler(SamplerSettings(RANGES, name, startup=8)))
    for _ in range(16 if name == "gp" else 40):
        trial = study.ask()
        params = RANGES.suggest(trial)
        trial.set_constraint("decay", 0.5 - params["weight_decay"])
        study.tell(trial, score(params))
    kept = [trial.params["weight_decay"] >= 0.5 for trial in study.trials]
    assert sum(kept[8:]) >= 0.7 * len(kept[8:]), "of the first eight, half do"
    assert study.best_trial.params["weight_decay"] >= 0.5


def test_cmaes_ranks_pruned_trials_last_and_tells_each_generation_once(tmp_path: Path):
    settings = SamplerSettings(RANGES, "cmaes", startup=2)
    study = open_study(tmp_path / "journal", settings)
    for number in range(30):
        trial = study.ask()
        params = RANGES.suggest(trial)
        if number % 3 == 0:
            trial.report(1.0, 1)  # good, but it didn't come far
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, score(params))
    generations = Counter(
        value for trial in study.trials for key, value in trial.system_attrs.items() if key.startswith("cmaes:")
    )
    assert generations == {0: 7, 1: 7, 2: 7, 3: 7}, "a generation has 4 + 3 ln 3 trials"
    assert "pickle" not in (tmp_path / "journal").read_text()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "tpee"}, "name is 'tpee'; expected one of tpe, gp, cmaes, random, grid, qmc"),
        ({"seed": -1}, "seed is -1; expected at least 0"),
        ({"startup": -1}, "startup is -1"),
        ({"startup_by": "sobol"}, "startup_by is 'sobol'; expected qmc or random"),
        ({"name": "cmaes", "objectives": 2, "space": RANGES}, "'cmaes' with 2 objectives; expected one"),
        ({"name": "cmaes"}, "'cmaes', but dimension 'shape' has values; expected ranges"),
        (
            {"name": "cmaes", "space": Space((Integer("depth", 2, 3), Integer("width", 8, 16, when=("depth", (3,)))))},
            "'cmaes', but dimension 'width' depends on another",
        ),
        ({"name": "cmaes", "space": Space((Integer("depth", 2, 2),))}, "'cmaes', but the space has no range"),
        ({"name": "gp", "space": Space((Integer("depth", 2, 2),))}, "'gp', but the space has no dimension that all"),
        ({"name": "grid", "grid_points": 0}, "grid_points is 0; expected at least 1"),
    ],
)
def test_a_sampler_that_cant_be_is_refused(settings: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        build_sampler(SamplerSettings(**{"space": CONDITIONAL, **settings}))


def test_cmaes_searches_a_space_whose_choices_are_settled():
    space = SCHEDULE_SPACE.changed(["shape=cosine", "batch_size=8"])
    study = optuna.create_study(sampler=build_sampler(SamplerSettings(space, "cmaes", startup=2)))
    go_on(study, space, 12, lambda params: params["lr_max"])
    assert all(params["shape"] == "cosine" and "cycles" not in params for params in proposed(study))


def test_the_pages_spaces_are_searched():
    for space in (SCHEDULE_SPACE, BOTTLENECK_SPACE):
        for name in ("tpe", "gp", "random", "qmc"):
            study = optuna.create_study(sampler=build_sampler(SamplerSettings(space, name, startup=2)))
            go_on(study, space, 4, lambda params: 0.5)
