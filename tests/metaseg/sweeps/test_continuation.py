"""Continuing a sweep: with its trials, with a wider space, and never with another sweep's trials."""

import json
from dataclasses import replace

import optuna
import pytest
from optuna.trial import TrialState

from metaseg.config import ArchitectureConfig, ConfigError, LossConfig
from metaseg.study.arms import ARMS
from metaseg.sweeps.continuation import open_sweep
from metaseg.sweeps.dimensions import Choice, Integer
from metaseg.sweeps.search import SearchConfig
from metaseg.sweeps.space import Space
from small_sweep import NETWORK, SPACE, ask_and_tell, closed_form


def test_a_sweep_goes_on_with_its_trials_numbers_and_settings(sweep, store):
    first = [ask_and_tell(sweep, open_sweep(sweep, store, []), closed_form) for _ in range(3)]
    study = open_sweep(replace(sweep, search=replace(sweep.search, trials=9)), store, [])
    assert [trial.params for trial in study.trials] == first
    assert study.ask().number == 3
    assert json.loads(store.storage.read("sweeps/page.sme/sweep.json"))["generation"] == 1


def test_a_wider_space_keeps_trials_under_their_numbers_and_proposes_in_it(sweep, store):
    study = open_sweep(sweep, store, [])
    before = [ask_and_tell(sweep, study, closed_form) for _ in range(4)]
    half_done = study.ask()
    sweep.space.suggest(half_done)
    wider = replace(sweep, space=SPACE.changed(["lr_max=1e-3..1e0", "batch_size=2,4,8", "cycles=1..3"]))
    study = open_sweep(wider, store, [])
    assert [trial.number for trial in study.trials] == [0, 1, 2, 3, 4]
    assert [trial.value for trial in study.trials[:4]] == [closed_form(params) for params in before]
    assert {trial.params["cycles"] for trial in study.trials} == {1}, "what all trials had before it was searched"
    assert study.trials[4].state is TrialState.RUNNING
    proposed = [ask_and_tell(wider, study, closed_form) for _ in range(12)]
    assert {params["batch_size"] for params in proposed} == {2, 4, 8}
    assert max(params["lr_max"] for params in proposed) > 1e-1


def test_scores_at_shares_of_shorter_trainings_arent_compared_with_those_of_longer_ones(sweep, store):
    study = open_sweep(sweep, store, [])
    trial = study.ask()
    sweep.space.suggest(trial)
    trial.report(0.5, 4)
    longer = replace(sweep, space=SPACE.changed(["epochs=4..8"]))
    assert open_sweep(sweep, store, []).trials[0].intermediate_values == {4: 0.5}
    assert open_sweep(longer, store, []).trials[0].intermediate_values == {}


def test_a_death_while_the_space_is_widened_loses_nothing(sweep, store, monkeypatch):
    study = open_sweep(sweep, store, [])
    for _ in range(3):
        ask_and_tell(sweep, study, closed_form)
    wider = replace(sweep, space=SPACE.changed(["lr_max=1e-3..1e0"]))
    add, added = optuna.Study.add_trial, []

    def die_at_the_second(study, trial):
        if added:
            raise KeyboardInterrupt
        added.append(trial)
        add(study, trial)

    monkeypatch.setattr(optuna.Study, "add_trial", die_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        open_sweep(wider, store, [])
    monkeypatch.undo()
    assert len(open_sweep(wider, store, []).trials) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"space": SPACE.changed(["lr_max=1e-3..2e-3"])}, "isn't in the space any more"),
        ({"space": SPACE.changed(["batch_size=8,16"])}, "isn't in the space any more"),
        ({"space": Space((Choice("batch_size", (2, 4)),))}, "which the space doesn't have any more"),
        ({"arm": ARMS["me"]}, "whose arm settings is"),
        ({"network": replace(NETWORK, width=4)}, "with width 2; this one has 4"),
        ({"search": SearchConfig(objectives=("val_f1", "parameters"), pruner="none")}, "whose objectives is"),
    ],
)
def test_another_sweep_under_the_name_is_refused(sweep, store, change, message):
    study = open_sweep(sweep, store, [])
    for _ in range(3):
        ask_and_tell(sweep, study, closed_form)
    with pytest.raises(ConfigError, match=message):
        open_sweep(replace(sweep, **change), store, [])


@pytest.mark.parametrize(("part", "value"), [("generation", "x"), ("space", []), ("network", 3), ("constraints", None)])
def test_a_sweeps_record_with_a_part_of_another_kind_is_named(sweep, store, part, value):
    open_sweep(sweep, store, [])
    record = json.loads(store.storage.read("sweeps/page.sme/sweep.json"))
    for changed in ({**record, part: value}, {key: kept for key, kept in record.items() if key != part}):
        store.storage.write("sweeps/page.sme/sweep.json", json.dumps(changed).encode())
        with pytest.raises(ConfigError, match=r"page.sme/sweep.json: not a sweep's record"):
            open_sweep(sweep, store, [])


def test_pruners_meet_scores_of_trials_that_a_killed_driver_left(sweep, store):
    """Rungs are in the journal: a driver that goes on judges by them."""
    sweep = replace(sweep, search=replace(sweep.search, pruner="asha"), space=Space((Integer("cycles", 1, 8),)))
    for score in (0.9, 0.8, 0.7, 0.1):
        study = open_sweep(sweep, store, [])
        trial = study.ask()
        sweep.space.suggest(trial)
        trial.report(score, 2)
        pruned = trial.should_prune()
    assert pruned


def test_a_sweep_by_another_loss_is_another_sweep_and_one_by_the_default_is_recorded_as_before(sweep, store):
    open_sweep(sweep, store, [])
    assert not {"loss", "early_stopping"} & json.loads(store.storage.read("sweeps/page.sme/sweep.json")).keys()
    for other, named in (
        (replace(sweep, loss=LossConfig("cross-entropy")), "loss"),
        (replace(sweep, early_stopping=3), "early stopping"),
        (replace(sweep, architecture=ArchitectureConfig("resdunet")), "architecture"),
    ):
        assert other.config({}) != sweep.config({})
        with pytest.raises(ConfigError, match=f"whose {named} is None; this one's is .*: give it another --name"):
            open_sweep(other, store, [])
        renamed = replace(other, name=f"page.{named.replace(' ', '-')}")
        open_sweep(renamed, store, [])
        open_sweep(renamed, store, [])


def test_a_loss_that_doesnt_fit_the_classes_is_refused_before_a_trial(sweep):
    with pytest.raises(ConfigError, match="expected 2 numbers: of background and of the class"):
        replace(sweep, loss=LossConfig(class_weights=(1, 2, 3)))
