"""The engine on real Ray: everything missing is trained, nothing twice, and a failure neither hides nor spreads."""

import dataclasses
import io
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import ray
import torch
from rich.console import Console
from safetensors.torch import load_file

import single_precision
from metaseg.config import ConfigError, EngineConfig, NetworkConfig, RunConfig, ScheduleConfig
from metaseg.engine import Outcome, run_study, scheduler
from metaseg.engine.failure import CodeChangedError
from metaseg.engine.worker import Execute, require_same_code
from metaseg.store.claims import Claimant
from metaseg.store.runs import Store
from metaseg.store.storage import StorageError
from metaseg.study.execution import execute
from metaseg.study.plan import PlannedRun, Study, plan
from metaseg.study.run_id import run_id
from metaseg.training import TRAINING_VERSION

SCHEDULE = ScheduleConfig(epochs=3, cycles=1, batch_size=5, crop=16)


pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.fixture
def study(tiny_dataset) -> Study:
    return plan("study", tiny_dataset, ["baseline", "sme", "film"], 2, NetworkConfig(width=4, depth=2), SCHEDULE)


# Functions of this file run in Ray's workers, which can't import it.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


def train(
    study: Study, store: Store, *workers: int, execute: Execute = execute
) -> tuple[list[str], dict[str, str], str]:
    """Labels of trained and of failed runs, and what was printed."""
    console = Console(file=io.StringIO(), width=200)
    outcome = run_study(study, store, EngineConfig(workers_per_run=workers or (1,)), console, execute)
    return (
        [run.label for run in outcome.trained],
        {run.label: reason for run, reason in outcome.failed.items()},
        console.file.getvalue(),
    )


def folder(store: Store, run: PlannedRun) -> Path:
    return Path(store.run_folder(run.run_id))


def test_a_study_is_trained_once_and_equals_plain_pytorch(study, tmp_path):
    store = Store.at(tmp_path / "ray")
    trained, failed, output = train(study, store)
    assert sorted(trained) == sorted(run.label for run in study.runs)
    assert not failed
    assert study.missing(store) == ()
    assert "done   sme seed 1" in output
    assert "(6/6)" in output

    plain = Store.at(tmp_path / "plain")
    execute(study.runs[1].config, study.dataset, plain, torch.device("cpu"))
    for name in ("images.parquet", "weights.safetensors"):
        by_ray, by_hand = (folder(where, study.runs[1]) / name for where in (store, plain))
        assert by_ray.read_bytes() == by_hand.read_bytes()

    stamps = {path: path.stat().st_mtime_ns for path in store.scratch.rglob("*") if path.is_file()}
    assert train(study, store) == ([], {}, "")
    assert {path: path.stat().st_mtime_ns for path in store.scratch.rglob("*") if path.is_file()} == stamps


def test_a_run_that_fails_is_recorded_and_doesnt_stop_the_others(study, tmp_path):
    wild = dataclasses.replace(SCHEDULE, lr_min=1e30, lr_max=1e38)
    broken = dataclasses.replace(study.runs[0], config=dataclasses.replace(study.runs[0].config, schedule=wild))
    study = dataclasses.replace(study, runs=(broken, *study.runs[1:3]))
    store = Store.at(tmp_path)
    trained, failed, output = train(study, store)
    assert sorted(trained) == sorted(run.label for run in study.runs[1:])
    assert list(failed) == ["baseline seed 0"]
    assert failed["baseline seed 0"].startswith("DivergedError: training loss is")
    assert "FAILED baseline seed 0" in output
    record = json.loads(store.storage.read(f"failures/{broken.run_id}.json"))
    assert any("in fit" in line for line in record["traceback"])
    assert study.missing(store) == (broken,)


def test_two_workers_train_the_run_that_one_worker_trains(study, tmp_path):
    one, two = Store.at(tmp_path / "one"), Store.at(tmp_path / "two")
    study = dataclasses.replace(study, runs=study.runs[1:2])
    alone, together = (
        train(study, store, *workers, execute=single_precision.execute) for store, workers in ((one, ()), (two, (2,)))
    )
    assert alone[0] == together[0] == ["sme seed 0"]
    (run,) = study.runs
    weights = [load_file(folder(store, run) / "weights.safetensors") for store in (one, two)]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name], rtol=1e-4, atol=1e-5)
    losses = [pd.read_parquet(folder(store, run) / "history.parquet")["train_loss"] for store in (one, two)]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    assert json.loads((folder(two, run) / "config.json").read_text())["hardware"]["workers"] == 2


@pytest.mark.cluster
def test_a_failure_of_several_workers_is_explained_by_its_cause(study, tmp_path):
    wild = dataclasses.replace(SCHEDULE, lr_min=1e30, lr_max=1e38)
    broken = dataclasses.replace(study.runs[0], config=dataclasses.replace(study.runs[0].config, schedule=wild))
    _, failed, _ = train(dataclasses.replace(study, runs=(broken,)), Store.at(tmp_path), 2)
    assert failed["baseline seed 0"].startswith("DivergedError: training loss is")


def test_more_workers_than_ray_has_is_said_before_anything_waits(study, tmp_path):
    with pytest.raises(ConfigError, match="is 5; expected at most 2: Ray has room for 2 workers of 1 CPU"):
        train(study, Store.at(tmp_path), 5)


def test_code_that_has_changed_under_the_driver_is_told_in_a_line(study, tmp_path, monkeypatch):
    # The driver's; workers have theirs.
    monkeypatch.setattr(scheduler, "TRAINING_VERSION", TRAINING_VERSION + 1)
    store = Store.at(tmp_path)
    with pytest.raises(ConfigError, match="isn't what this command was started with") as told:
        train(study, store)
    assert "\n" not in str(told.value)
    assert not store.storage.names("claims")
    assert not store.failed()


def test_a_worker_compares_id_and_version_with_the_drivers(study):
    config = study.runs[0].config
    require_same_code(config, run_id(config), TRAINING_VERSION)
    for run, version in ((run_id(config), TRAINING_VERSION + 1), ("0" * 16, TRAINING_VERSION)):
        with pytest.raises(CodeChangedError, match=f"run {run}, training version {version}"):
            require_same_code(config, run, version)


def stand_still_once(config, dataset, store, device, on_epoch, engine) -> None:
    """The first attempt stops its own process for good."""
    if not attempts(store, config):
        os.kill(os.getpid(), signal.SIGSTOP)
    execute(config, dataset, store, device, on_epoch, engine)


@pytest.mark.cluster
def test_a_worker_that_stands_still_is_ended_and_its_run_tried_again(study, tmp_path):
    study = dataclasses.replace(study, runs=study.runs[:1])
    store, console = Store.at(tmp_path / "store"), Console(file=io.StringIO(), width=200)
    outcome = run_study(study, store, EngineConfig(stall_minutes=0.5), console, stand_still_once)
    assert outcome.faults == 1
    assert [run.label for run in outcome.trained] == ["baseline seed 0"]
    assert "no sign of life for 0.5 minutes" in console.file.getvalue()
    assert study.missing(store) == ()
    assert not store.storage.names("claims")


def attempts(store: Store, config: RunConfig) -> int:
    """Counts an attempt at the run, and says how many there have been before."""
    folder = Path(store.where).parent / "attempts" / run_id(config)
    folder.mkdir(parents=True, exist_ok=True)
    before = len(list(folder.iterdir()))
    (folder / str(before)).touch()
    return before


def dies_twice(config, dataset, store, *rest):
    if attempts(store, config) < 2:
        os._exit(1)
    execute(config, dataset, store, *rest)


def dies_always(config, dataset, store, *rest):
    attempts(store, config)
    os._exit(1)


def runs_out_of_memory(config, dataset, store, *rest):
    attempts(store, config)
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 99 GiB")


def finds_the_store_full(config, dataset, store, *rest):
    attempts(store, config)
    raise StorageError(f"{store.where} is full")


def run_with(function: Execute, study: Study, store: Store, **settings: object) -> tuple[Outcome, str]:
    console = Console(file=io.StringIO(), width=200)
    outcome = run_study(study, store, EngineConfig(**settings), console, function)
    return outcome, console.file.getvalue()


def tries(store: Store, run: PlannedRun) -> int:
    return len(list((Path(store.where).parent / "attempts" / run.run_id).iterdir()))


def test_a_run_whose_process_dies_is_tried_again_and_then_done(study, tmp_path):
    store = Store.at(tmp_path / "store")
    study = dataclasses.replace(study, runs=study.runs[:2])
    outcome, output = run_with(dies_twice, study, store)
    assert len(outcome.trained) == 2
    assert outcome.faults == 4
    assert [tries(store, run) for run in study.runs] == [3, 3]
    assert "again: its process died (retry 1 of 3)" in output
    assert "(retry 2 of 3)" in output


def test_a_run_whose_process_always_dies_is_given_up_and_recorded(study, tmp_path):
    store = Store.at(tmp_path / "store")
    study = dataclasses.replace(study, runs=study.runs[:1])
    outcome, _ = run_with(dies_always, study, store, max_retries=2)
    assert list(outcome.failed) == list(study.runs)
    assert tries(store, study.runs[0]) == 3
    assert store.failed() == {study.runs[0].run_id}
    assert store.storage.names("claims") == []


def test_a_run_that_is_out_of_memory_isnt_tried_again(study, tmp_path):
    store = Store.at(tmp_path / "store")
    outcome, _ = run_with(runs_out_of_memory, study, store)
    assert len(outcome.failed) == 6
    assert {tries(store, run) for run in study.runs} == {1}
    assert outcome.failed[study.runs[0]] == "OutOfMemoryError: CUDA out of memory. Tried to allocate 99 GiB"


def test_a_full_store_ends_the_study_and_leaves_no_claims(study, tmp_path):
    store = Store.at(tmp_path / "store")
    with pytest.raises(StorageError, match="is full"):
        run_with(finds_the_store_full, study, store)
    assert sum(len(list(folder.iterdir())) for folder in (tmp_path / "attempts").iterdir()) <= 3
    assert store.storage.names("claims") == []
    assert store.failed() == set()


def takes_a_while(config, dataset, store, device, on_epoch, engine):
    began = time.time()
    time.sleep(0.5)
    store.commit_run(run_id(config), {"times": f"{began} {time.time()}".encode()})


def most_at_once(study: Study, store: Store) -> int:
    spans = [list(map(float, store.storage.read(f"runs/{run.run_id}/times").split())) for run in study.runs]
    return max(sum(began <= moment < ended for began, ended in spans) for moment, _ in spans)


@pytest.mark.parametrize(("limit", "expected"), [(1, 1), (None, 2)])
def test_no_more_runs_are_trained_at_once_than_asked_for_and_no_core_idles(study, tmp_path, limit, expected):
    store = Store.at(tmp_path)
    run_with(takes_a_while, study, store, max_concurrent=limit)
    assert most_at_once(study, store) == expected


def test_half_a_core_a_worker_packs_twice_as_many(study, tmp_path):
    store = Store.at(tmp_path)
    run_with(takes_a_while, study, store, cpus_per_worker=0.5)
    assert most_at_once(study, store) > 2


def test_the_longest_runs_are_started_first(study, tmp_path):
    store = Store.at(tmp_path)
    longer = dataclasses.replace(SCHEDULE, epochs=9)
    runs = [
        dataclasses.replace(run, config=dataclasses.replace(run.config, schedule=longer if place >= 4 else SCHEDULE))
        for place, run in enumerate(study.runs)
    ]
    study = dataclasses.replace(study, runs=tuple(runs))
    run_with(takes_a_while, study, store, max_concurrent=1)
    began = {run.run_id: float(store.storage.read(f"runs/{run.run_id}/times").split()[0]) for run in study.runs}
    order = sorted(study.runs, key=lambda run: began[run.run_id])
    assert order == [*runs[4:], *runs[:4]]


@pytest.mark.cluster
def test_runs_of_one_and_of_two_workers_in_one_study_all_end(study, tmp_path):
    store = Store.at(tmp_path)
    runs = [dataclasses.replace(run, workers=(2,) if place % 3 == 1 else None) for place, run in enumerate(study.runs)]
    study = dataclasses.replace(study, runs=tuple(runs))
    outcome, _ = run_with(execute, study, store)
    assert set(outcome.trained) == set(study.runs)
    workers = [json.loads(store.storage.read(f"runs/{run.run_id}/config.json"))["hardware"]["workers"] for run in runs]
    assert workers == [1, 2, 1, 1, 2, 1]


@pytest.mark.cluster
def test_an_elastic_run_takes_what_there_is(study, tmp_path):
    study = dataclasses.replace(study, runs=study.runs[:1])
    store = Store.at(tmp_path)
    outcome, _ = run_with(execute, study, store, workers_per_run=(1, 8))
    assert outcome.trained == study.runs
    config = json.loads(store.storage.read(f"runs/{study.runs[0].run_id}/config.json"))
    assert config["hardware"]["workers"] == 2


def test_what_another_driver_holds_is_left_to_it_until_it_is_done_or_dead(study, tmp_path):
    store = Store.at(tmp_path)
    first, second, third = study.runs[:3]
    study = dataclasses.replace(study, runs=(first, second, third))
    with Claimant(store.storage) as other:
        other.claim(first.run_id)
        other.claim(second.run_id)
        done_soon = threading.Timer(6, lambda: store.commit_run(first.run_id, {"by": b"the other"}))
        gone_soon = threading.Timer(8, lambda: other.__exit__())
        done_soon.start()
        gone_soon.start()
        outcome, output = run_with(takes_a_while, study, store)
        gone_soon.join()
    assert set(outcome.trained) == {second, third}
    assert store.storage.read(f"runs/{first.run_id}/by") == b"the other"
    assert f"{first.label:<24} {first.run_id}          by another driver" in output
