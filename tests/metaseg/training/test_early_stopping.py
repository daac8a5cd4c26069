"""Early stopping: where validation stops improving, wherever a training was interrupted."""

import ast
import dataclasses
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from checkout import ROOT
from memory_checkpoints import MemoryCheckpoints, PowerError
from metaseg.config import ConfigError, NetworkConfig, RunConfig, ScheduleConfig
from metaseg.scoring.run import score_run
from metaseg.store.runs import Store
from metaseg.study.execution import execute
from metaseg.study.run_id import run_id
from metaseg.training import fit as module
from metaseg.training.early_stopping import has_stalled
from metaseg.training.fit import Fitted, fit
from metaseg.training.history import Epoch

CPU = torch.device("cpu")


def history_of(scores: list[float | None]) -> list[Epoch]:
    return [Epoch(number, 0.5, score, 1e-3, 40.0, 1.0) for number, score in enumerate(scores, start=1)]


@given(
    scores=st.lists(st.one_of(st.none(), st.sampled_from([0.0, 0.25, 0.5, 0.75])), max_size=12),
    patience=st.integers(1, 4),
)
def test_a_history_has_stalled_after_so_many_validations_without_a_better_one(scores, patience) -> None:
    best, waited = -1.0, 0
    for score in scores:
        if score is not None:
            best, waited = (score, 0) if score > best else (best, waited + 1)
    assert has_stalled(history_of(scores), patience) == (waited >= patience)
    assert not has_stalled(history_of(scores), None)


@pytest.fixture
def config(tiny_dataset) -> RunConfig:
    """Twelve epochs of four steps, validated every second; nothing is learned, so that F1 soon isn't better."""
    schedule = ScheduleConfig(epochs=12, cycles=1, lr_max=2e-2, batch_size=5, crop=16, validate_every=2)
    network = NetworkConfig(width=4, depth=1)
    return RunConfig("se", "absent", 0, tiny_dataset.fingerprint, network, schedule, early_stopping=2)


@pytest.fixture(autouse=True)
def validation_gets_worse_after_the_fourth_epoch(monkeypatch):
    """Scores of validations, in order: 0.25, 0.5, 0.375, 0.5 (equal isn't better), and 1 if it went on."""
    scores = iter([])

    def restart() -> None:
        nonlocal scores
        scores = iter([0.25, 0.5, 0.375, 0.5, 1.0, 1.0])

    monkeypatch.setattr(module, "f1_score", lambda counts: torch.tensor([next(scores)]))
    restart()
    return restart


def without_timings(fitted: Fitted) -> list[Epoch]:
    return [dataclasses.replace(epoch, seconds=0, images_per_second=0) for epoch in fitted.history]


def test_training_ends_and_the_best_weights_are_those_of_a_whole_training(tiny_dataset, config, request) -> None:
    restart = request.getfixturevalue("validation_gets_worse_after_the_fourth_epoch")
    stopped = fit(config, tiny_dataset, CPU)
    assert [epoch.epoch for epoch in stopped.history] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert stopped.best_epoch == 4
    restart()
    whole = fit(dataclasses.replace(config, early_stopping=None), tiny_dataset, CPU)
    assert len(whole.history) == 12
    assert whole.best_epoch == 10
    # The learning rate's course is that of all twelve epochs.
    assert without_timings(stopped) == without_timings(whole)[:8]


@pytest.mark.parametrize("saved", [3, 4, 7, 8])
def test_an_interrupted_training_stops_where_an_uninterrupted_one_does(tiny_dataset, config, saved, request) -> None:
    """Also if it was interrupted after the last epoch, before anybody knew that it was the last."""
    restart = request.getfixturevalue("validation_gets_worse_after_the_fourth_epoch")
    whole = fit(config, tiny_dataset, CPU)
    restart()
    checkpoints = MemoryCheckpoints(until=saved, epochs_alone=True)
    with pytest.raises(PowerError):
        fit(config, tiny_dataset, CPU, checkpoints=checkpoints)
    resumed = fit(config, tiny_dataset, CPU, checkpoints=checkpoints)
    assert without_timings(resumed) == without_timings(whole)
    assert resumed.best_epoch == whole.best_epoch == 4
    weights, others = resumed.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(weights[name], others[name]) for name in weights)


def test_a_stopped_run_is_complete_and_can_be_scored(tiny_dataset, config, tmp_path, monkeypatch) -> None:
    store = Store.at(tmp_path)
    execute(config, tiny_dataset, store, CPU)
    run = run_id(config)
    assert store.done() == {run}
    folder = Path(store.run_folder(run))
    assert len(pd.read_parquet(folder / "history.parquet")) == 8
    assert store.open_run(run).description()["early_stopping"] == 2
    monkeypatch.setattr(Store, "fetch_dataset", lambda store, fingerprint: tiny_dataset.path)
    assert score_run(store, run, ["objects"])["differing_images"] == 0


def test_a_patience_below_one_is_refused(config) -> None:
    with pytest.raises(ConfigError, match="early_stopping is 0; expected at least 1 validation"):
        dataclasses.replace(config, early_stopping=0)


WORKER = """
import sys
from pathlib import Path
import torch, torch.distributed as dist
sys.path[:0] = sys.argv[5:]
import metaseg.device; metaseg.device.half_precision = lambda device: None
from metaseg.config import NetworkConfig, RunConfig, ScheduleConfig
from metaseg.data.dataset import Dataset
from metaseg.training.fit import fit
rank, rendezvous, data, out = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
dataset = Dataset.open(data)
config = RunConfig("se", "absent", 0, dataset.fingerprint, NetworkConfig(width=4, depth=1),
                   ScheduleConfig(epochs=30, cycles=1, lr_max=2e-2, batch_size=5, crop=16), early_stopping=2)
fitted = fit(config, dataset, torch.device("cpu"))
(out / str(rank)).write_text(repr([epoch.val_f1 for epoch in fitted.history]))
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_workers_of_a_run_stop_together(tiny_dataset, tmp_path) -> None:
    """One that stopped alone would leave the others waiting for ever."""
    arguments = [str(tmp_path / "rendezvous"), str(tiny_dataset.path), str(tmp_path), str(ROOT)]
    workers = [subprocess.Popen([sys.executable, "-c", WORKER, str(rank), *arguments]) for rank in range(2)]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    first, second = (ast.literal_eval((tmp_path / str(rank)).read_text()) for rank in range(2))
    assert first == second
    assert 3 <= len(first) < 30
    assert has_stalled(history_of(first), 2)
    assert not has_stalled(history_of(first[:-1]), 2)
