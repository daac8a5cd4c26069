"""Sweeps on real Ray: every trial is recorded, nothing runs twice, and faults are retried or recorded."""

import io
import os
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import ray
import torch
from optuna.trial import TrialState
from rich.console import Console

import closed_form
from closed_form import NAME, begin, executions, make_sweep
from metaseg.cli.status import print_status
from metaseg.config import ConfigError, EngineConfig
from metaseg.engine.tuning import run_sweep
from metaseg.store.claims import Claimant
from metaseg.store.runs import Store
from metaseg.store.storage import StorageError
from metaseg.sweeps.continuation import open_sweep
from metaseg.sweeps.outcome import best_trial
from metaseg.sweeps.sweep import FACTS, Sweep
from metaseg.sweeps.trial import Execute, execute_trial

pytestmark = pytest.mark.usefixtures("local_ray")

# Ray's workers can't import what lies in this folder.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
ray.cloudpickle.register_pickle_by_value(closed_form)

ONE = EngineConfig(max_concurrent=1)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store.at(tmp_path / "store")


def run(sweep: Sweep, store: Store, engine: EngineConfig, execute: Execute = closed_form.execute) -> tuple[Any, str]:
    """Optuna's study, and what was printed."""
    console = Console(file=io.StringIO(), width=200)
    return run_sweep(sweep, store, engine, console, [], execute), console.file.getvalue()


def table_of(store: Store) -> pd.DataFrame:
    return pd.read_parquet(store.storage.path(f"sweeps/{NAME}/trials.parquet"))


def status_of(store: Store) -> str:
    console = Console(file=io.StringIO(), width=200)
    print_status(store, console)
    return console.file.getvalue()


def test_a_sweep_tells_all_trials_goes_on_with_more_and_starts_nothing_when_done(tiny_dataset, store):
    sweep = make_sweep(tiny_dataset, trials=16, sampler="tpe", pruner="asha")
    study, output = run(sweep, store, EngineConfig())
    first = study.trials
    states = [trial.state for trial in first]
    assert {*states} == {TrialState.COMPLETE, TrialState.PRUNED}
    assert [trial.number for trial in first] == list(range(16))
    assert executions(store) == dict.fromkeys(range(16), 1)
    assert output.count("done   sme trial") == states.count(TrialState.COMPLETE)
    assert output.count("pruned sme trial") == states.count(TrialState.PRUNED)

    table = table_of(store)
    assert table["number"].tolist() == list(range(16))
    assert [state.upper() for state in table["state"]] == [state.name for state in states]
    assert (table["epochs"] == table["curve_epoch"].map(len)).all()
    assert (table.loc[table["state"] == "pruned", "epochs"] < closed_form.EPOCHS).all()
    for row, trial in zip(table.to_dict("records"), first, strict=True):
        assert row["val_f1"] == pytest.approx(trial.value)
        assert row["param_lr_max"] == trial.params["lr_max"]

    more = replace(sweep, search=replace(sweep.search, trials=20))
    longer, _ = run(more, store, EngineConfig())
    assert [trial.params for trial in longer.trials[:16]] == [trial.params for trial in first]
    assert executions(store) == dict.fromkeys(range(20), 1)
    twenty = longer.trials
    done, output = run(more, store, EngineConfig())
    assert "Starting Ray" not in output
    assert done.trials == twenty
    assert store.storage.names("claims") == []

    best = best_trial(more, done)
    assert f"val F1 {best.value:.4f} by trial {best.number}: lr_max {best.params['lr_max']:.3g}" in status_of(store)
    counts = table_of(store)["state"].value_counts()
    row = next(line.split() for line in status_of(store).splitlines() if line.lstrip().startswith(NAME))
    assert row[1:] == ["20", str(counts["complete"]), str(counts["pruned"]), "0", "0"]


def test_objectives_in_any_order_constraints_and_a_budget_of_epochs(tiny_dataset, store):
    limits = {"objectives": ("parameters", "val_f1"), "constraints": ("flops<=500",), "max_epochs": 60}
    sweep = make_sweep(tiny_dataset, trials=50, sampler="tpe", pruner="none", startup=4, **limits)
    study, output = run(sweep, store, ONE)
    table = table_of(store)
    assert len(table) == 7, "of 9 epochs each; the 7th began when 54 had been trained"
    assert table["feasible"].tolist() == (table["param_batch_size"] < 8).tolist()
    assert not table["feasible"].all(), "else this test shows nothing"
    assert [trial.values for trial in study.trials] == table[["parameters", "val_f1"]].to_numpy().tolist()
    best = table[table["feasible"]].sort_values("val_f1").iloc[-1]
    assert f"by trial {best['number']}: " in status_of(store)
    starred = [line for line in output.splitlines() if "*best*" in line]
    assert f"trial {best['number']:>3} " in starred[-1]
    assert "Starting Ray" not in run(sweep, store, ONE)[1], "no epochs are left"


def fails_in_many_ways(config, dataset, store, device, measured, origin, judge, engine):
    before = begin(store, origin[1])
    if origin[1] == 1:
        raise ValueError("a mistake in the code")
    if origin[1] == 2:
        judge(1, 0.1)
        raise OSError("the disk is away")
    if origin[1] == 3 and before == 0:
        os._exit(1)
    return closed_form.execute(config, dataset, store, device, measured, origin, judge, engine)


def test_faults_of_machines_are_tried_again_and_a_trials_own_are_not(tiny_dataset, store):
    sweep = make_sweep(tiny_dataset, trials=5, pruner="none")
    study, output = run(sweep, store, replace(ONE, max_retries=1), fails_in_many_ways)
    done, failed = TrialState.COMPLETE, TrialState.FAIL
    assert [trial.state for trial in study.trials] == [done, failed, failed, done, done]
    assert {number: executions(store)[number] for number in (1, 2)} == {1: 1, 2: 2}
    assert table_of(store)["error"].tolist() == [
        "",
        "ValueError: a mistake in the code",
        *["OSError: the disk is away", "", ""],
    ]
    assert table_of(store)["state"].tolist() == ["complete", "failed", "failed", "complete", "complete"]
    assert "FAILED sme trial   1  ValueError: a mistake in the code" in output
    assert "note   sme trial   2 again: OSError: the disk is away" in output
    assert "note   sme trial   3 again: its process died" in output


def finds_the_store_full(config, dataset, store, *rest):
    raise StorageError(f"{store.where} is full")


def test_a_full_store_ends_the_sweep_and_its_trials_are_taken_up_again(tiny_dataset, store):
    sweep = make_sweep(tiny_dataset, trials=4, pruner="none")
    with pytest.raises(StorageError, match=r"^/.* is full$"):
        run(sweep, store, ONE, finds_the_store_full)
    study = open_sweep(sweep, store, [])
    (left,) = study.trials
    assert left.state is TrialState.RUNNING
    assert store.storage.names("claims") == []

    killed_before_telling = study.ask()
    params = sweep.space.suggest(killed_before_telling)
    curve = [[epoch, 0.5] for epoch in range(1, 10)]
    facts = {"state": "complete", "values": {"val_f1": 0.5}, "epochs": 9, "epochs_planned": 9, "curve": curve}
    killed_before_telling.set_user_attr(FACTS, facts)
    finished, _ = run(sweep, store, ONE)
    assert [trial.state for trial in finished.trials] == [TrialState.COMPLETE] * 4
    assert finished.trials[0].params == left.params
    assert (finished.trials[1].params, finished.trials[1].value) == (params, 0.5)
    assert executions(store) == {0: 1, 2: 1, 3: 1}


def test_a_second_driver_of_a_sweep_is_refused(tiny_dataset, store):
    with Claimant(store.storage) as other:
        assert other.claim(f"sweep-{NAME}")
        with pytest.raises(ConfigError, match=r"sweep 'page.sme' is being run by another driver: `metaseg status /"):
            run(make_sweep(tiny_dataset), store, ONE)
        assert store.storage.names("sweeps") == []


def test_more_workers_than_ray_has_is_said_before_anything_is_tried(tiny_dataset, store):
    with pytest.raises(ConfigError, match="workers_per_run is 5; expected at most 2"):
        run(make_sweep(tiny_dataset), store, EngineConfig(workers_per_run=(5,)))
    assert open_sweep(make_sweep(tiny_dataset), store, []).trials == []


def test_a_grid_that_is_smaller_than_the_sweep_is_refused_at_once(tiny_dataset, store):
    with pytest.raises(ConfigError, match="trials is 13; expected at most 12, the settings of the grid"):
        run(make_sweep(tiny_dataset, trials=13, sampler="grid"), store, ONE)


def test_a_pruned_trial_that_went_on_from_a_checkpoint_has_its_whole_curve(tiny_dataset, store, tmp_path):
    sweep = make_sweep(tiny_dataset)
    arguments = (torch.device("cpu"), (), (NAME, 0))

    def dies_at_the_fourth(epoch, score):
        if epoch == 4:
            raise KeyboardInterrupt

    config = sweep.config({"lr_max": 1e-2, "batch_size": 4})
    engine = EngineConfig(checkpoint_epochs=1)
    with pytest.raises(KeyboardInterrupt):
        execute_trial(config, tiny_dataset, store, *arguments, dies_at_the_fourth, engine)
    again = execute_trial(config, tiny_dataset, store, *arguments, lambda epoch, score: epoch == 5, engine)
    whole = Store.at(tmp_path / "whole")
    alone = execute_trial(config, tiny_dataset, whole, *arguments, lambda epoch, score: epoch == 5, engine)
    assert [epoch for epoch, _ in again.curve] == [1, 2, 3, 4, 5]
    assert replace(again, seconds=0) == replace(alone, seconds=0)
    assert store.storage.names("checkpoints") == []


def dies_always(config, dataset, store, *rest):
    begin(store, rest[2][1])
    os._exit(1)


@pytest.mark.cluster
def test_a_trial_whose_process_always_dies_is_given_up(tiny_dataset, store):
    study, _ = run(make_sweep(tiny_dataset, trials=1), store, replace(ONE, max_retries=2), dies_always)
    assert study.trials[0].state is TrialState.FAIL
    assert table_of(store)["error"].tolist() == ["its process died again and again"]
    assert executions(store) == {0: 3}


@pytest.mark.cluster
def test_a_trial_of_two_workers_is_the_trial_of_one_and_pruned_ones_end(tiny_dataset, store, tmp_path):
    """Asynchronous halving by Ray itself deadlocks where trials have workers of their own; these end by themselves."""
    sweep = make_sweep(tiny_dataset, trials=4, startup=4)
    one, two = Store.at(tmp_path / "one"), Store.at(tmp_path / "two")
    run(sweep, one, ONE, execute_trial)
    study, _ = run(sweep, two, EngineConfig(workers_per_run=(2,)), execute_trial)
    assert TrialState.PRUNED in {trial.state for trial in study.trials}
    alone, together = table_of(one), table_of(two)
    assert together["state"].tolist() == alone["state"].tolist()
    np.testing.assert_allclose(together["val_f1"], alone["val_f1"], atol=0.01)
