"""The engine on real Ray: everything missing is trained, nothing twice, and a failure neither hides nor spreads."""

import dataclasses
import io
import json
import socket

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from metaseg.config import ConfigError, NetworkConfig, ScheduleConfig
from metaseg.engine import run_study
from metaseg.engine import session as module
from metaseg.engine.session import Capacity, address
from metaseg.run import execute
from metaseg.store import Store
from metaseg.study import Study, plan

SCHEDULE = ScheduleConfig(epochs=3, cycles=1, batch_size=5, crop=16)


pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.fixture
def study(tiny_dataset) -> Study:
    return plan("study", tiny_dataset, ["baseline", "sme", "film"], 2, NetworkConfig(width=4, depth=2), SCHEDULE)


def train(study: Study, store: Store, workers: int = 1) -> tuple[list[str], dict[str, str], str]:
    """Labels of trained and of failed runs, and what was printed."""
    console = Console(file=io.StringIO(), width=200)
    outcome = run_study(study, store, workers, console)
    return (
        [run.label for run in outcome.trained],
        {run.label: reason for run, reason in outcome.failed.items()},
        console.file.getvalue(),
    )


def test_a_study_is_trained_once_and_equals_plain_pytorch(study, tmp_path):
    store = Store(tmp_path / "ray")
    trained, failed, output = train(study, store)
    assert sorted(trained) == sorted(run.label for run in study.runs)
    assert not failed
    assert study.missing(store) == ()
    assert "done   sme seed 1" in output
    assert "(6/6)" in output

    plain = Store(tmp_path / "plain")
    execute(study.runs[1].config, study.dataset, plain, torch.device("cpu"))
    for name in ("images.parquet", "weights.safetensors"):
        by_ray, by_hand = (where.run_folder(study.runs[1].run_id) / name for where in (store, plain))
        assert by_ray.read_bytes() == by_hand.read_bytes()

    stamps = {path: path.stat().st_mtime_ns for path in store.root.rglob("*") if path.is_file()}
    assert train(study, store) == ([], {}, "")
    assert {path: path.stat().st_mtime_ns for path in store.root.rglob("*") if path.is_file()} == stamps


def test_a_run_that_fails_is_recorded_and_doesnt_stop_the_others(study, tmp_path):
    wild = dataclasses.replace(SCHEDULE, lr_min=1e30, lr_max=1e38)
    broken = dataclasses.replace(study.runs[0], config=dataclasses.replace(study.runs[0].config, schedule=wild))
    study = dataclasses.replace(study, runs=(broken, *study.runs[1:3]))
    store = Store(tmp_path)
    trained, failed, output = train(study, store)
    assert sorted(trained) == sorted(run.label for run in study.runs[1:])
    assert list(failed) == ["baseline seed 0"]
    assert failed["baseline seed 0"].startswith("DivergedError: training loss is")
    assert "FAILED baseline seed 0" in output
    record = json.loads(store.failure(broken.run_id).read_text())
    assert any("in fit" in line for line in record["traceback"])
    assert study.missing(store) == (broken,)


def test_two_workers_train_the_run_that_one_worker_trains(study, tmp_path):
    one, two = Store(tmp_path / "one"), Store(tmp_path / "two")
    study = dataclasses.replace(study, runs=study.runs[1:2])
    assert train(study, one)[0] == train(study, two, workers=2)[0] == ["sme seed 0"]
    (run,) = study.runs
    weights = [load_file(store.run_folder(run.run_id) / "weights.safetensors") for store in (one, two)]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name], rtol=1e-4, atol=1e-5)
    losses = [pd.read_parquet(store.run_folder(run.run_id) / "history.parquet")["train_loss"] for store in (one, two)]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    assert json.loads((two.run_folder(run.run_id) / "config.json").read_text())["hardware"]["workers"] == 2
    assert not list((two.root / "ray").iterdir()), "Ray Train's own records are cleared away"


def test_a_failure_of_several_workers_is_explained_by_its_cause(study, tmp_path):
    wild = dataclasses.replace(SCHEDULE, lr_min=1e30, lr_max=1e38)
    broken = dataclasses.replace(study.runs[0], config=dataclasses.replace(study.runs[0].config, schedule=wild))
    _, failed, _ = train(dataclasses.replace(study, runs=(broken,)), Store(tmp_path), workers=2)
    assert failed["baseline seed 0"].startswith("DivergedError: training loss is")


def test_a_dead_clusters_note_is_passed_over_and_a_living_ones_followed(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with socket.socket() as living:
        living.bind(("127.0.0.1", 0))
        living.listen()
        note = f"127.0.0.1:{living.getsockname()[1]}"
        monkeypatch.setattr(module, "find_bootstrap_address", lambda folder: note)
        assert address() is None
    assert address() == "local"
    monkeypatch.setenv("RAY_ADDRESS", note)
    assert address() is None, "an address that was given is tried, dead or not"
    monkeypatch.delenv("RAY_ADDRESS")
    monkeypatch.setattr(module, "find_bootstrap_address", lambda folder: None)
    assert address() is None


def test_more_workers_than_ray_has_is_said_before_anything_waits(study, tmp_path):
    with pytest.raises(ConfigError, match="workers_per_run is 5; expected at most 2: Ray has 2 CPU cores"):
        train(study, Store(tmp_path), workers=5)


@pytest.mark.parametrize(
    ("capacity", "workers", "runs"),
    [(Capacity(2, False), 1, 2), (Capacity(2, False), 2, 1), (Capacity(8, True), 3, 2), (Capacity(5, False), 2, 2)],
)
def test_runs_at_once_never_need_more_than_there_is(capacity, workers, runs):
    assert capacity.runs_at_once(workers) == runs
    assert capacity.runs_at_once(workers) * workers <= capacity.workers
