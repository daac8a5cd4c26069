"""Sweeps: what they propose, keep and go on from, without Ray."""

import errno
import json
import os
from dataclasses import replace

import numpy as np
import optuna
import pandas as pd
import pytest
import torch
from optuna.trial import TrialState

from metaseg.config import ConfigError, EngineConfig, NetworkConfig, ScheduleConfig
from metaseg.data.dataset import TestWithheldError
from metaseg.store.runs import Store
from metaseg.study.execution import execute
from metaseg.study.plan import ARMS
from metaseg.sweeps.continuation import open_sweep
from metaseg.sweeps.dimensions import Choice, Float, Integer
from metaseg.sweeps.journal import mend_journal
from metaseg.sweeps.outcome import best_trial, tell
from metaseg.sweeps.space import Space
from metaseg.sweeps.status import sweep_statuses
from metaseg.sweeps.sweep import FACTS, SearchConfig, Sweep
from metaseg.sweeps.table import write_table
from metaseg.sweeps.trial import execute_trial

CPU = torch.device("cpu")
SPACE = Space((Float("lr_max", 1e-3, 1e-1, log=True), Choice("batch_size", (2, 4))))
NETWORK = NetworkConfig(width=2, depth=1, reduction=1)
SCHEDULE = ScheduleConfig(epochs=4, cycles=1, lr_max=1e-2, batch_size=4, crop=16, validate_every=2)


@pytest.fixture
def store(tmp_path):
    return Store.at(tmp_path / "store")


@pytest.fixture
def sweep(tiny_dataset):
    search = SearchConfig(trials=6, startup=3, pruner="none")
    return Sweep("page.sme", tiny_dataset, ARMS["sme"], NETWORK, SCHEDULE, SPACE, search)


def facts(score, state="complete", **more):
    told = {"state": state, "run_id": "0" * 16, "values": {"val_f1": score}, "reused": False, "epochs": 4}
    return {**told, "epochs_planned": 4, "image_epochs": 48, "seconds": 1.0, "curve": [[4, score]], "error": "", **more}


def ask_and_tell(sweep, study, score, **more):
    trial = study.ask()
    params = sweep.space.suggest(trial)
    told = facts(score(params) if callable(score) else score, **more)
    trial.set_user_attr(FACTS, told)
    tell(study, study.get_trials(deepcopy=False)[trial.number], told, sweep)
    return params


def closed_form(params):
    return 1 - (np.log10(params["lr_max"]) + 2) ** 2


def run_trial(sweep, store, params, judge=lambda epoch, score: False, number=0, measured=()):
    origin = (sweep.name, number)
    config = sweep.config(params)
    return execute_trial(config, sweep.dataset, store, CPU, measured, origin, judge, EngineConfig())


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


def test_a_line_that_a_power_failure_left_unfinished_is_cut_off(sweep, store):
    study = open_sweep(sweep, store, [])
    ask_and_tell(sweep, study, closed_form)
    journal = store.storage.path("sweeps/page.sme/journal.log")
    with journal.open("ab") as file:
        file.write(b'{"op_code":4,"worker_id":"x')
    ask_and_tell(sweep, open_sweep(sweep, store, []), closed_form)
    assert len(open_sweep(sweep, store, []).trials) == 2


@pytest.mark.parametrize("tail", [b"\0" * 40, b"\0" * 40 + b"\n", b"garbage\n", b"[1]\nx\n", b"\xff\xfe\n"])
def test_last_lines_that_are_none_are_cut_off(sweep, store, tail):
    ask_and_tell(sweep, open_sweep(sweep, store, []), closed_form)
    journal = store.storage.path("sweeps/page.sme/journal.log")
    whole = journal.read_bytes()
    journal.write_bytes(whole + tail)
    mend_journal(store.storage, sweep.name)
    assert journal.read_bytes() == whole
    ask_and_tell(sweep, open_sweep(sweep, store, []), closed_form)
    assert len(open_sweep(sweep, store, []).trials) == 2


@pytest.mark.parametrize(
    "line",
    [b"garbage", b"{}", b'{"op_code": 99, "worker_id": "x"}', b"[1]", b"[" * 10_000, b"\xff\xfe", b'{"op_code": 4}'],
)
def test_a_journal_that_is_none_in_its_midst_is_named(sweep, store, line):
    ask_and_tell(sweep, open_sweep(sweep, store, []), closed_form)
    journal = store.storage.path("sweeps/page.sme/journal.log")
    lines = journal.read_bytes().splitlines()
    journal.write_bytes(b"\n".join([lines[0], line, *lines[1:], b""]))
    with pytest.raises(ConfigError, match=r"page.sme/journal.log: not a sweep's journal \(.*\); restore it, or"):
        open_sweep(sweep, store, [])
    unreadable: list[str] = []
    assert not list(sweep_statuses(store, unreadable))
    assert unreadable == [store.storage.locate("sweeps/page.sme")]


def test_on_a_disk_without_links_a_sweep_goes_on_as_on_others(sweep, store, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    for name in ("link", "symlink"):
        monkeypatch.setattr(os, name, refuse)
    for trials in (1, 2):
        ask_and_tell(sweep, open_sweep(sweep, store, []), closed_form)
        assert len(open_sweep(sweep, store, []).trials) == trials
    assert sorted(os.listdir(store.storage.path("sweeps/page.sme"))) == ["journal.log", "sweep.json"]


@pytest.mark.parametrize(("part", "value"), [("generation", "x"), ("space", []), ("network", 3), ("constraints", None)])
def test_a_sweeps_record_with_a_part_of_another_kind_is_named(sweep, store, part, value):
    open_sweep(sweep, store, [])
    record = json.loads(store.storage.read("sweeps/page.sme/sweep.json"))
    for changed in ({**record, part: value}, {key: kept for key, kept in record.items() if key != part}):
        store.storage.write("sweeps/page.sme/sweep.json", json.dumps(changed).encode())
        with pytest.raises(ConfigError, match=r"page.sme/sweep.json: not a sweep's record"):
            open_sweep(sweep, store, [])


def test_a_trial_never_reads_a_test_image(sweep, store, tmp_path):
    """Not by mistake either: its dataset refuses, and other test images give the same trial."""
    withheld = sweep.dataset.without_test()
    test = int(sweep.dataset.indices("test")[0])
    for read in (withheld.image, withheld.mask):
        with pytest.raises(TestWithheldError, match="is withheld"):
            read(test)
    with pytest.raises(TestWithheldError):
        withheld.indices("test")
    np.testing.assert_array_equal(
        withheld.image(0) if test else withheld.image(1), sweep.dataset.image(0 if test else 1)
    )

    noise = np.random.default_rng(0)
    images = sweep.dataset.pixels[0].copy()
    for sample in sweep.dataset.indices("test"):
        start, end = sweep.dataset.starts[0][sample : sample + 2]
        images[start:end] = noise.integers(0, 256, end - start)
    spoilt = replace(sweep.dataset)
    spoilt.__dict__["_images"] = images
    params = {"lr_max": 1e-2, "batch_size": 2}
    clean = run_trial(sweep, store, params)
    again = run_trial(replace(sweep, dataset=spoilt), Store.at(tmp_path / "other"), params)
    assert again.curve == clean.curve


def test_a_trial_keeps_its_history_and_is_taken_from_the_store_the_second_time(sweep, store):
    params = {"lr_max": 1e-2, "batch_size": 2}
    first = run_trial(sweep, store, params, measured=("parameters",))
    assert (first.state, first.reused, first.epochs) == ("complete", False, 4)
    assert first.values["val_f1"] == max(score for _, score in first.curve)
    assert [epoch for epoch, _ in first.curve] == [2, 4]
    told = []
    again = run_trial(sweep, store, params, lambda epoch, score: bool(told.append((epoch, score))), number=1)
    assert again.reused
    assert tuple(told) == again.curve == first.curve
    assert not run_trial(sweep, store, params).reused, "a death between training and telling isn't a reuse"
    assert not store.done(), "a trial is no run: it has no test results"


def test_a_run_of_a_study_is_reused_by_a_sweep(sweep, store):
    params = {"lr_max": 1e-2, "batch_size": 2}
    execute(sweep.config(params), sweep.dataset, store, CPU)
    assert run_trial(sweep, store, params).reused


def test_a_pruned_trial_ends_where_the_judge_says(sweep, store):
    pruned = run_trial(sweep, store, {"lr_max": 1e-2, "batch_size": 2}, lambda epoch, score: epoch == 2)
    assert (pruned.state, pruned.epochs, pruned.image_epochs) == ("pruned", 2, 2 * len(sweep.dataset.indices("train")))
    assert store.find_trained(pruned.run_id) is None


def test_a_trial_that_diverges_has_failed_and_says_why(sweep, store, monkeypatch):
    monkeypatch.setattr(
        "metaseg.training.fit.segmentation_loss", lambda logits, *target: logits.mean((1, 2, 3)) * np.nan
    )
    failed = run_trial(sweep, store, {"lr_max": 1e-2, "batch_size": 2})
    assert (failed.state, failed.diverged, failed.curve) == ("failed", True, ())
    assert "training loss is nan" in failed.error


@pytest.mark.parametrize(("diverged", "state"), [(True, TrialState.PRUNED), (False, TrialState.FAIL)])
def test_samplers_learn_of_trials_that_diverge_and_not_of_machines_that_fail(sweep, store, diverged, state):
    study = open_sweep(sweep, store, [])
    ask_and_tell(sweep, study, 0.0, state="failed", curve=(), values={}, diverged=diverged)
    assert [trial.state for trial in study.trials] == [state]


def test_the_best_trial_is_complete_and_keeps_to_constraints(sweep, store):
    search = replace(sweep.search, constraints=("parameters<=100",))
    sweep = replace(sweep, search=search)
    study = open_sweep(sweep, store, [])
    for score, parameters, state in (
        (0.5, 90, "complete"),
        (0.9, 110, "complete"),
        (0.8, 90, "pruned"),
        (0.5, 1, "complete"),
    ):
        told = {"values": {"val_f1": score, "parameters": parameters}}
        ask_and_tell(sweep, study, score, state=state, **told)
    assert best_trial(sweep, study).number == 0
    table = write_table(sweep, study, store)
    assert table["feasible"].tolist() == [True, False, True, True]
    pd.testing.assert_frame_equal(pd.read_parquet(store.storage.path("sweeps/page.sme/trials.parquet")), table)


def test_an_objective_that_isnt_reported_fails_at_once(sweep, store):
    sweep = replace(sweep, search=replace(sweep.search, objectives=("val_f1", "flops")))
    with pytest.raises(ConfigError, match=r"objective 'flops' of trial 0 .* wasn't reported"):
        ask_and_tell(sweep, open_sweep(sweep, store, []), 0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arm": ARMS["baseline-stratified"]}, "is several networks"),
        ({"name": "../../elsewhere"}, "name of the sweep is '../../elsewhere': it holds '/'"),
        ({"search": SearchConfig(constraints=("params<=3",))}, "constraint is 'params<=3'"),
        ({"search": SearchConfig(objectives=("val_f1", "speed"))}, "unknown objective 'speed'"),
        ({"space": Space((Float("lr_max", 1e-5, 1e-4),))}, "lr_min"),
    ],
)
def test_sweeps_that_cant_be_are_refused_before_anything_is_trained(sweep, change, message):
    with pytest.raises(ConfigError, match=message):
        replace(sweep, **change)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trials": 0}, "trials is 0"),
        ({"objectives": ("parameters",)}, "expected val_f1 among them"),
        ({"objectives": ("val_f1", "val_f1")}, "each only once"),
        ({"max_epochs": 0}, "max_epochs is 0"),
    ],
)
def test_searches_that_cant_be_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        SearchConfig(**settings)


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


def test_the_record_says_what_is_searched(sweep, store):
    open_sweep(sweep, store, ["python", "page.py"])
    record = json.loads(store.storage.read("sweeps/page.sme/sweep.json"))
    assert record["arm"] == "sme"
    assert record["generation"] == 1
    assert json.loads(record["space"]["batch_size"])["attributes"]["choices"] == [2, 4]
    assert record["command"] == "python page.py"
