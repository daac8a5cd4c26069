"""The engine on real Ray: everything missing is trained, nothing twice, and a failure neither hides nor spreads."""

import dataclasses
import io
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import ray
import torch
from rich.console import Console
from safetensors.torch import load_file

import single_precision
from metaseg.config import ConfigError, EngineConfig, NetworkConfig
from metaseg.engine import run_study, scheduler
from metaseg.engine.failure import CodeChangedError
from metaseg.engine.worker import Execute, require_same_code
from metaseg.store.runs import Store
from metaseg.study.execution import execute
from metaseg.study.plan import PlannedRun, Study, plan
from metaseg.study.run_id import run_id
from metaseg.training import TRAINING_VERSION
from small_study import SCHEDULE, small_study

pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.fixture
def study(tiny_dataset) -> Study:
    return small_study(tiny_dataset)


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


def test_each_fold_is_trained_on_its_own_images_as_by_plain_pytorch(folded_dataset, tmp_path):
    study = plan("folds", folded_dataset, ["baseline"], 1, NetworkConfig(width=4, depth=2), SCHEDULE)
    store, plain = Store.at(tmp_path / "ray"), Store.at(tmp_path / "plain")
    trained, _, output = train(study, store)
    assert sorted(trained) == [f"baseline seed 0 fold {fold}" for fold in "012"]
    assert "done   baseline seed 0 fold 2" in output
    execute(study.runs[2].config, folded_dataset, plain, torch.device("cpu"))
    for name in ("images.parquet", "weights.safetensors"):
        by_ray, by_hand = (folder(where, study.runs[2]) / name for where in (store, plain))
        assert by_ray.read_bytes() == by_hand.read_bytes()


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
