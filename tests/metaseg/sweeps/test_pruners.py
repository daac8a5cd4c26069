"""Pruners: trials are judged where they are validated, and compared fairly whatever their length."""

import math
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from metaseg.config import ConfigError
from metaseg.sweeps.pruners import PRUNERS, PrunerSettings, build_pruner


def report(
    study: optuna.Study, trial: optuna.Trial, settings: PrunerSettings, epochs: int, curve: Callable[[float], float]
) -> int:
    """Train a trial whose F1 is `curve` of the share of its schedule; returns the epochs until it ended."""
    for epoch in range(1, epochs + 1):
        if epoch % settings.validate_every and epoch < epochs:
            continue
        trial.report(curve(epoch / epochs), settings.step(epoch, epochs))
        if epoch < epochs and trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return epoch
    study.tell(trial, curve(1.0))
    return epochs


def ended(settings: PrunerSettings, trials: list[tuple[int, float]]) -> list[int]:
    """Last epochs of trials that run one after the other, given as (epochs, final F1); each score rises evenly."""
    study = optuna.create_study(study_name="sweep", direction="maximize", pruner=build_pruner(settings))
    return [report(study, study.ask(), settings, epochs, lambda share, f1=f1: f1 * share) for epochs, f1 in trials]


@pytest.mark.parametrize("validate_every", [1, 2, 4])
def test_asha_judges_at_rungs_that_are_validated(validate_every: int):
    settings = PrunerSettings(16, first_epoch=1, reduction_factor=2, validate_every=validate_every)
    assert settings.first_rung == validate_every
    worse = [(16, f1) for f1 in (0.9, 0.5, 0.4, 0.3)]
    assert ended(settings, worse) == [16, validate_every, validate_every, validate_every]
    study = optuna.create_study(direction="maximize", pruner=build_pruner(settings))
    report(study, study.ask(), settings, 16, lambda share: share)
    rungs = sorted(key for key in study.trials[0].system_attrs if key.startswith("completed_rung"))
    assert len(rungs) == {1: 4, 2: 3, 4: 2}[validate_every], "the last epoch isn't judged"


def test_a_trial_that_gets_better_goes_on_to_the_next_rung():
    settings = PrunerSettings(9, reduction_factor=3)
    assert ended(settings, [(9, 0.5), (9, 0.6), (9, 0.7), (9, 0.55), (9, 0.8)]) == [9, 9, 9, 1, 9]


def test_the_first_trials_run_to_their_end_and_are_compared_with():
    trials = [(9, f1) for f1 in (0.5, 0.3, 0.2, 0.25, 0.6)]
    assert ended(PrunerSettings(9), trials) == [9, 1, 1, 1, 9]
    assert ended(PrunerSettings(9, startup_trials=3), trials) == [9, 9, 9, 1, 9]


def test_trials_of_different_length_are_compared_at_shares_of_their_schedules():
    """The same course stretched: in epochs, the longer trial would be behind at every rung, and end."""
    settings = PrunerSettings(12, first_epoch=3, reduction_factor=2)
    assert [settings.step(epoch, 12) for epoch in (1, 6, 12)] == [1, 6, 12]
    assert [settings.step(epoch, 4) for epoch in (1, 2, 3, 4)] == [3, 6, 9, 12]
    assert [settings.step(epoch, 5) for epoch in (1, 2, 3, 4, 5)] == [3, 5, 8, 10, 12]
    assert ended(settings, [(4, 0.8), (12, 0.8), (8, 0.8)]) == [4, 12, 8]
    raw = PrunerSettings(12, first_epoch=3, reduction_factor=2)
    study = optuna.create_study(direction="maximize", pruner=build_pruner(raw))
    for epochs, stays in ((4, True), (12, False)):
        trial = study.ask()
        trial.report(0.8 * 3 / epochs, 3)
        assert trial.should_prune() is not stays
    short_is_worse = [(12, 0.8), (4, 0.6), (4, 0.9)]
    assert ended(settings, short_is_worse) == [12, 1, 4]


def test_hyperband_has_brackets_that_begin_later():
    settings = PrunerSettings(9, name="hyperband", reduction_factor=3)
    last = ended(settings, [(9, 1 - i / 40) for i in range(40)])
    assert set(last) == {1, 3, 9}
    assert last == ended(settings, [(9, 1 - i / 40) for i in range(40)]), "by the study's name and trials' numbers"


def test_a_sampler_learns_from_trials_of_all_of_hyperbands_brackets():
    seen: list[int] = []

    class Watching(optuna.samplers.RandomSampler):
        def sample_independent(self, study: optuna.Study, trial: FrozenTrial, *args: Any) -> Any:
            seen.append(len(study.get_trials(deepcopy=False)))
            return super().sample_independent(study, trial, *args)

    settings = PrunerSettings(9, name="hyperband")
    study = optuna.create_study(direction="maximize", sampler=Watching(), pruner=build_pruner(settings))
    for _ in range(6):
        trial = study.ask()
        trial.suggest_float("lr_max", 0, 1)
        report(study, trial, settings, 9, lambda share: share)
    assert seen == [1, 2, 3, 4, 5, 6]


def test_the_median_pruner_waits_for_trials_to_compare_with():
    settings = PrunerSettings(8, name="median", first_epoch=2, startup_trials=3)
    trials = [(8, f1) for f1 in (0.5, 0.6, 0.7, 0.55, 0.65)]
    assert ended(settings, trials) == [8, 8, 8, 2, 8]


def test_none_ends_nothing():
    assert ended(PrunerSettings(9, name="none"), [(9, 0.9), (9, 0.0)]) == [9, 9]


@pytest.mark.parametrize("name", [name for name in PRUNERS if name != "none"])
def test_a_score_that_is_no_number_ends_a_trial(name: str):
    settings = PrunerSettings(9, name=name)
    trials = [(9, 0.5), (9, 0.5), (9, math.nan)]
    study = optuna.create_study(study_name="sweep", direction="maximize", pruner=build_pruner(settings))
    for epochs, f1 in trials[:2]:
        report(study, study.ask(), settings, epochs, lambda share, f1=f1: f1)
    assert report(study, study.ask(), settings, 9, lambda share: math.nan) < 9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "ash"}, "name is 'ash'; expected one of none, asha, hyperband, median"),
        ({"objectives": 2}, "pruner is 'asha' with 2 objectives; expected 'none'"),
        ({"first_epoch": 10}, r"first_epoch is 10; expected 1 to last_epoch \(9\)"),
        ({"first_epoch": 0}, "first_epoch is 0"),
        ({"reduction_factor": 1}, "reduction_factor is 1; expected at least 2"),
        ({"startup_trials": -1}, "startup_trials is -1"),
        ({"validate_every": 0}, "validate_every is 0"),
        ({"last_epoch": 0}, "last_epoch is 0"),
    ],
)
def test_a_pruner_that_cant_be_is_refused(settings: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        build_pruner(PrunerSettings(**{"last_epoch": 9, **settings}))


def test_several_objectives_go_without_a_pruner():
    build_pruner(PrunerSettings(9, name="none", objectives=2))
