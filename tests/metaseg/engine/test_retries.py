"""Runs that fail on real Ray: they are retried, a limited number of times, if a machine was the cause."""

import dataclasses
import io
import os
import signal
import sys
from pathlib import Path

import pytest
import ray
import torch
from rich.console import Console

from metaseg.config import EngineConfig, RunConfig
from metaseg.engine import run_study
from metaseg.store.runs import Store
from metaseg.store.storage import StorageError
from metaseg.study.execution import execute
from metaseg.study.plan import PlannedRun, Study
from metaseg.study.run_id import run_id
from small_study import run_with, small_study

pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.fixture
def study(tiny_dataset) -> Study:
    return small_study(tiny_dataset)


# Functions of this file run in Ray's workers, which can't import it.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


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
