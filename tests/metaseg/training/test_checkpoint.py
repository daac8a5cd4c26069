"""Checkpoints: an interrupted training ends with the bits of one that wasn't, wherever it was interrupted."""

import dataclasses
import hashlib
import io
import subprocess
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from checkout import ROOT
from memory_checkpoints import MemoryCheckpoints, PowerError
from metaseg.config import EngineConfig, NetworkConfig, RunConfig, ScheduleConfig
from metaseg.data.dataset import Dataset
from metaseg.store.checkpoints import StoredCheckpoints
from metaseg.store.runs import Store
from metaseg.store.storage import StorageError
from metaseg.study.execution import execute
from metaseg.study.run_id import run_id
from metaseg.training import fit as module
from metaseg.training.checkpoint import DIGEST_BYTES, CheckpointWarning, State, pack, unpack
from metaseg.training.fit import Fitted, fit
from single_precision import IN_SCRIPT, in_single_precision

CPU = torch.device("cpu")


@pytest.fixture
def config(tiny_dataset) -> RunConfig:
    """Three epochs of four steps; the best validation isn't the last."""
    schedule = ScheduleConfig(epochs=3, cycles=1, lr_max=2e-2, batch_size=5, crop=16)
    return RunConfig("sme", "true", 0, tiny_dataset.fingerprint, NetworkConfig(width=4, depth=2), schedule)


@pytest.fixture(autouse=True)
def every_step_is_checked(monkeypatch):
    monkeypatch.setattr(module, "CHECK_STEPS", 1)


def without_timings(fitted: Fitted) -> list[object]:
    return [dataclasses.replace(epoch, seconds=0, images_per_second=0) for epoch in fitted.history]


def assert_same(one: Fitted, other: Fitted) -> None:
    assert without_timings(one) == without_timings(other)
    assert one.best_epoch == other.best_epoch
    weights, others = one.model.state_dict(), other.model.state_dict()
    assert all(torch.equal(weights[name], others[name]) for name in weights)


@pytest.mark.parametrize("saved", range(1, 13))
def test_a_training_that_goes_on_after_any_step_ends_with_the_same_bits(tiny_dataset, config, saved):
    """Saves 4, 8 and 12 are those at an epoch's end, after its validation; the others fall into an epoch."""
    whole = fit(config, tiny_dataset, CPU)
    checkpoints = MemoryCheckpoints(until=saved)
    epochs: list[int] = []
    with pytest.raises(PowerError):
        fit(config, tiny_dataset, CPU, lambda epoch: epochs.append(epoch.epoch), checkpoints)
    resumed = fit(config, tiny_dataset, CPU, lambda epoch: epochs.append(epoch.epoch), checkpoints)
    assert_same(resumed, whole)
    assert epochs == [1, 2, 3], "neither gap nor repetition"


def test_positions_sort_as_training_goes_on(tiny_dataset, config):
    checkpoints = MemoryCheckpoints(until=99)
    fit(config, tiny_dataset, CPU, checkpoints=checkpoints)
    positions = [position for position, _ in checkpoints.states]
    assert len(positions) == 12
    assert positions == sorted(positions)


@pytest.mark.parametrize("damage", [lambda content: content[:-100], lambda content: b"", lambda content: content[:500]
                                    + b"x" + content[501:]], ids=["truncated", "empty", "altered"])  # fmt: skip
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(tiny_dataset, config, damage):
    whole = fit(config, tiny_dataset, CPU)
    checkpoints = MemoryCheckpoints(until=7)
    with pytest.raises(PowerError):
        fit(config, tiny_dataset, CPU, checkpoints=checkpoints)
    name, content = checkpoints.states[-1]
    checkpoints.states[-1] = (name, damage(content))
    with pytest.warns(CheckpointWarning, match=f"{name} is skipped: its .* bytes don't have the checksum"):
        assert_same(fit(config, tiny_dataset, CPU, checkpoints=checkpoints), whole)


def sealed(content: object) -> bytes:
    """Any content with a right checksum."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return hashlib.sha256(buffer.getvalue()).digest() + buffer.getvalue()


def altered(change: str):
    """A state of the training, changed in one place, with a right checksum."""

    def alter(content: bytes) -> bytes:
        loaded = torch.load(io.BytesIO(content[DIGEST_BYTES:]), weights_only=True)
        match change:
            case "another network":
                loaded["parts"]["network"] = {"weight": torch.zeros(3)}
            case "other shapes":
                network = loaded["parts"]["network"]
                loaded["parts"]["network"] = {name: torch.zeros(1, 2, 3) for name in network}
            case "no optimizer":
                del loaded["parts"]["optimizer"]
            case "another optimizer":
                loaded["parts"]["optimizer"]["param_groups"] = []
            case "another scheduler":
                loaded["parts"]["scheduler"] = {"foo": 1}
            case "parts of another type":
                loaded["parts"] = 7
            case "an epoch that is none":
                loaded["state"]["epoch"] = "two"
            case "best weights of another network":
                loaded["state"]["best_weights"] = {"weight": torch.zeros(3)}
            case "best weights of other shapes":
                best = loaded["state"]["best_weights"]
                loaded["state"]["best_weights"] = {name: torch.zeros(1, 2, 3) for name in best}
            case "no best weights":
                loaded["state"]["best_weights"], loaded["state"]["best_epoch"] = {}, 0
            case "moments of other shapes":
                loaded["parts"]["optimizer"]["state"][0]["exp_avg"] = torch.zeros(1, 2, 3)
            case "no moments":
                loaded["parts"]["optimizer"]["state"] = {0: {}}
            case "a learning rate that is none":
                loaded["parts"]["optimizer"]["param_groups"][0]["lr"] = "fast"
            case "a schedule that is none":
                loaded["parts"]["scheduler"]["_last_lr"] = None
            case "a far epoch":
                loaded["state"]["epoch"] = 10**9
            case "a history that is none":
                loaded["state"]["history"][0]["train_loss"] = "low"
            case "sums that are none":
                loaded["state"]["loss_sums"] = ["much"]
            case "another training":
                loaded["state"]["run"] = loaded["state"]["run"].replace('"seed": 0', '"seed": 1')
            case "fields of another version":
                loaded["state"]["colour"] = "red"
        return sealed(loaded)

    return alter


FOREIGN = {
    "a number": lambda content: sealed(7),
    "an empty object": lambda content: sealed({}),
    "only a checksum": lambda content: hashlib.sha256(b"").digest(),
    "text": lambda content: hashlib.sha256(b"hello").digest() + b"hello",
} | {
    change: altered(change)
    for change in (
        "another network", "other shapes", "no optimizer", "another optimizer", "another scheduler",
        "parts of another type", "an epoch that is none", "best weights of another network",
        "fields of another version", "best weights of other shapes", "no best weights", "moments of other shapes",
        "no moments", "a learning rate that is none", "a schedule that is none", "a far epoch",
        "a history that is none", "sums that are none", "another training",
    )
}  # fmt: skip


@pytest.mark.parametrize("foreign", FOREIGN)
def test_a_whole_checkpoint_that_isnt_this_trainings_is_passed_over_and_leaves_no_trace(tiny_dataset, config, foreign):
    whole = fit(config, tiny_dataset, CPU)
    checkpoints = MemoryCheckpoints(until=6)
    with pytest.raises(PowerError):
        fit(config, tiny_dataset, CPU, checkpoints=checkpoints)
    name, content = checkpoints.states[-1]
    checkpoints.states[-1] = (name, FOREIGN[foreign](content))
    with pytest.warns(CheckpointWarning, match=f"{name} is skipped: "):
        assert_same(fit(config, tiny_dataset, CPU, checkpoints=checkpoints), whole)
    checkpoints = MemoryCheckpoints(until=99)
    checkpoints.states = [(name, FOREIGN[foreign](content))]
    with pytest.warns(CheckpointWarning, match=f"{name} is skipped: "):
        assert_same(fit(config, tiny_dataset, CPU, checkpoints=checkpoints), whole)


def test_a_state_from_before_trainings_were_named_is_taken_up(tiny_dataset, config):
    whole = fit(config, tiny_dataset, CPU)
    checkpoints = MemoryCheckpoints(until=6)
    with pytest.raises(PowerError):
        fit(config, tiny_dataset, CPU, checkpoints=checkpoints)
    name, content = checkpoints.states[-1]
    loaded = torch.load(io.BytesIO(content[DIGEST_BYTES:]), weights_only=True)
    del loaded["state"]["run"]
    checkpoints = MemoryCheckpoints(until=99)
    checkpoints.states = [(name, sealed(loaded))]
    epochs: list[int] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", CheckpointWarning)
        resumed = fit(config, tiny_dataset, CPU, lambda epoch: epochs.append(epoch.epoch), checkpoints)
    assert_same(resumed, whole)
    assert epochs == [2, 3]


@pytest.mark.parametrize("shape", ["cyclic", "one-cycle", "cosine", "constant"])
def test_a_state_of_every_schedule_is_taken_up(tiny_dataset, config, shape):
    config = dataclasses.replace(config, schedule=dataclasses.replace(config.schedule, shape=shape))
    checkpoints = MemoryCheckpoints(until=6)
    with pytest.raises(PowerError):
        fit(config, tiny_dataset, CPU, checkpoints=checkpoints)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CheckpointWarning)
        assert_same(fit(config, tiny_dataset, CPU, checkpoints=checkpoints), fit(config, tiny_dataset, CPU))


def test_a_state_of_another_format_is_refused(monkeypatch):
    content = pack(State(), {})
    assert unpack(content) == (State(), {})
    monkeypatch.setattr("metaseg.training.checkpoint.FORMAT", 2)
    with pytest.raises(ValueError, match="its format is 1; expected 2"):
        unpack(content)


def test_nothing_in_a_checkpoint_can_run_code():
    class Evil:
        def __reduce__(self):
            return (print, ("run",))

        def state_dict(self):
            return self

    with pytest.raises(ValueError, match="isn't a checkpoint: UnpicklingError: Weights only load failed"):
        unpack(pack(State(), {"network": Evil()}))


def test_checkpoints_are_due_by_minutes_and_by_epochs(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("metaseg.store.checkpoints.time.monotonic", lambda: now[0])
    engine = EngineConfig(checkpoint_minutes=5, checkpoint_epochs=10)
    checkpoints = StoredCheckpoints(Store.at(tmp_path), "abc", engine)
    assert not checkpoints.is_due(3, epoch_ended=True)
    assert checkpoints.is_due(10, epoch_ended=True)
    assert not checkpoints.is_due(10, epoch_ended=False)
    now[0] = 301.0
    assert checkpoints.is_due(3, epoch_ended=False)
    checkpoints.save("p", b"state")
    assert not checkpoints.is_due(3, epoch_ended=False)


def test_training_goes_on_where_the_store_doesnt_take_checkpoints(tiny_dataset, config, tmp_path, monkeypatch):
    store = Store.at(tmp_path)

    def full(self, name, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("metaseg.store.folder.FolderStorage._write", full)
    with pytest.warns(CheckpointWarning, match="no checkpoint of run .*: .* is full"):
        execute(config, tiny_dataset, store, CPU, engine=EngineConfig(checkpoint_epochs=1))
    assert store.is_done(run_id(config)), "publishing writes in another way"
    monkeypatch.undo()
    monkeypatch.setattr("metaseg.store.folder._write_flushed", lambda path, content: full(None, "", b""))
    with pytest.raises(StorageError, match="is full"):
        execute(dataclasses.replace(config, seed=1), tiny_dataset, store, CPU)


WORKER = """
import os, sys, warnings
from pathlib import Path
import torch, torch.distributed as dist
sys.path[:0] = sys.argv[6:]
from metaseg.config import EngineConfig, NetworkConfig, RunConfig, ScheduleConfig
from metaseg.data.dataset import Dataset
from metaseg.study.execution import execute
from metaseg.store.runs import Store
from metaseg.training import fit
fit.CHECK_STEPS = 2
rank, rendezvous, data, store, last = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4], int(sys.argv[5])
dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
dataset = Dataset.open(data)
config = RunConfig("sme", "true", 0, dataset.fingerprint, NetworkConfig(width=4, depth=2),
                   ScheduleConfig(epochs=3, cycles=1, lr_max=2e-2, batch_size=5, crop=16))
saved = []
save = Store.save_checkpoint
def mortal(self, *arguments):
    save(self, *arguments)
    saved.append(arguments)
    if len(saved) == last:
        os._exit(9)
Store.save_checkpoint = mortal
execute(config, dataset, Store.at(store), torch.device("cpu"), engine=EngineConfig(checkpoint_minutes=1e-9))
dist.barrier()
dist.destroy_process_group()
"""


def run_two_workers(dataset: Dataset, folder: Path, store: Path, last: int, script: str = WORKER) -> list[int]:
    folder.mkdir()
    root = str(ROOT)
    arguments = [str(folder / "rendezvous"), str(dataset.path), str(store), str(last), root]
    workers = [
        subprocess.Popen([sys.executable, "-c", script, str(rank), *arguments], stderr=subprocess.DEVNULL)
        for rank in range(2)
    ]
    return [worker.wait(timeout=120) for worker in workers]


def test_two_workers_that_died_in_an_epoch_go_on_together_to_the_same_bits(tiny_dataset, config, tmp_path):
    assert run_two_workers(tiny_dataset, tmp_path / "a", tmp_path / "whole", last=99) == [0, 0]
    first, second = run_two_workers(tiny_dataset, tmp_path / "b", tmp_path / "broken", last=3)
    assert first == 9
    assert second != 0
    assert run_two_workers(tiny_dataset, tmp_path / "c", tmp_path / "broken", last=99) == [0, 0]
    whole, broken = (tmp_path / store / "runs" / run_id(config) for store in ("whole", "broken"))
    for name in ("images.parquet", "weights.safetensors"):
        assert (whole / name).read_bytes() == (broken / name).read_bytes()
    histories = [pd.read_parquet(folder / "history.parquet") for folder in (whole, broken)]
    for column in ("epoch", "train_loss", "val_f1", "learning_rate"):
        assert histories[0][column].tolist() == histories[1][column].tolist()
    assert load_file(whole / "weights.safetensors")


@in_single_precision()
def test_another_number_of_workers_takes_over_all_of_the_loss(tiny_dataset, config, tmp_path):
    paths = "sys.path[:0] = sys.argv[6:]\n"
    script = WORKER.replace(paths, paths + IN_SCRIPT)
    first, second = run_two_workers(tiny_dataset, tmp_path / "a", tmp_path / "store", 1, script)
    assert first == 9
    assert second != 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        execute(config, tiny_dataset, Store.at(tmp_path / "store"), CPU)
    history = pd.read_parquet(tmp_path / "store" / "runs" / run_id(config) / "history.parquet")
    alone = fit(config, tiny_dataset, CPU)
    assert history["train_loss"].tolist() == pytest.approx([epoch.train_loss for epoch in alone.history], rel=1e-4)
