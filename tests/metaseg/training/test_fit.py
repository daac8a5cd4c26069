"""Training one run in plain PyTorch: reproducible, independent of the number of workers, and loud when it fails."""

import dataclasses
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from checkout import ROOT
from metaseg.config import ConfigError, NetworkConfig, RunConfig, ScheduleConfig
from metaseg.data.counter_random import permutation
from metaseg.store.runs import Store
from metaseg.study.execution import execute
from metaseg.study.run_id import run_id
from metaseg.training.evaluate import evaluate
from metaseg.training.fit import DivergedError, build_network, fit
from single_precision import in_single_precision

CPU = torch.device("cpu")


@pytest.fixture
def config(tiny_dataset) -> RunConfig:
    network = NetworkConfig(width=4, depth=2)
    schedule = ScheduleConfig(epochs=3, cycles=1, lr_max=3e-3, batch_size=5, crop=16)
    return RunConfig("sme", "true", 0, tiny_dataset.fingerprint, network, schedule)


def test_training_learns_and_keeps_the_best_validated_weights(tiny_dataset, config):
    config = dataclasses.replace(config, schedule=dataclasses.replace(config.schedule, epochs=15, lr_max=2e-2))
    fitted = fit(config, tiny_dataset, CPU)
    losses = [epoch.train_loss for epoch in fitted.history]
    assert losses[-1] < 0.7 * losses[0]
    scores = [epoch.val_f1 for epoch in fitted.history]
    assert fitted.best_epoch == 1 + int(np.argmax(scores))
    counts = evaluate(fitted.model, tiny_dataset, tiny_dataset.indices("val"), fitted.vectors, CPU)
    tp, fp, fn, _ = np.moveaxis(counts, -1, 0)
    assert (2 * tp / (2 * tp + fp + fn)).mean() == pytest.approx(max(scores))


def test_the_same_run_twice_gives_the_same_bits(tiny_dataset, config, tmp_path):
    for folder in ("first", "second"):
        execute(config, tiny_dataset, Store.at(tmp_path / folder), CPU)
    for name in ("images.parquet", "weights.safetensors"):
        first, second = ((tmp_path / folder / "runs" / run_id(config) / name) for folder in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_trains_in_mixed_precision_to_about_the_cpus_result(tiny_dataset, config):
    cpu, gpu = (fit(config, tiny_dataset, torch.device(device)) for device in ("cpu", "cuda"))
    losses = [[epoch.train_loss for epoch in fitted.history] for fitted in (cpu, gpu)]
    np.testing.assert_allclose(*losses, rtol=0.05)
    test = tiny_dataset.indices("test")
    counts = evaluate(gpu.model, tiny_dataset, test, gpu.vectors, torch.device("cuda"))
    sizes = tiny_dataset.table.loc[test, "height"] * tiny_dataset.table.loc[test, "width"]
    assert (counts.sum(axis=(1, 2)) == sizes.to_numpy()).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_isnt_waited_for_within_an_epoch(tiny_dataset, config):
    """The number of waits in an epoch doesn't grow with its steps."""

    def waits(batch_size: int) -> int:
        schedule = dataclasses.replace(config.schedule, epochs=1, batch_size=batch_size)
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                fit(dataclasses.replace(config, schedule=schedule), tiny_dataset, torch.device("cuda"))
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return sum("synchroniz" in str(each.message) for each in caught)

    waits(4)  # what is loaded once is loaded now
    assert waits(1) == waits(4) > 0  # the losses' sum and the counts are waited for


def test_another_seed_is_another_network(config):
    first = build_network(config, 1, 1, 3)
    second = build_network(dataclasses.replace(config, seed=1), 1, 1, 3)
    assert not torch.equal(first.head.weight, second.head.weight)


def test_a_fold_is_another_network_in_another_order_and_none_is_as_before(tiny_dataset, folded_dataset, config):
    runs = [dataclasses.replace(config, fold=fold) for fold in (None, "0", "1")]
    assert runs[0].stream == config.seed
    first = [next(build_network(run, 1, 1, 3).parameters()).flatten() for run in runs]
    assert len({tuple(weights.tolist()) for weights in first}) == 3
    orders = [permutation(run.stream, 1, np.arange(20)).tolist() for run in runs]
    assert orders[0] != orders[1] != orders[2]
    with pytest.raises(ConfigError, match=r"fold is '0'; dataset 'tiny.*' has no folds"):
        fit(runs[1], tiny_dataset, CPU)
    with pytest.raises(ConfigError, match=r"fold is None; dataset 'tiny.*' has 0, 1, 2"):
        fit(dataclasses.replace(config, dataset=folded_dataset.fingerprint), folded_dataset, CPU)


WORKER = """
import dataclasses, sys
from pathlib import Path
import torch, torch.distributed as dist
sys.path[:0] = sys.argv[5:]
import metaseg.device; metaseg.device.half_precision = lambda device: None
from metaseg.config import NetworkConfig, RunConfig, ScheduleConfig
from metaseg.data.dataset import Dataset
from metaseg.study.execution import execute
from metaseg.store.runs import Store
from metaseg.training.fit import fit
from metaseg.training.world import World
rank, rendezvous, data, store = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
dataset = Dataset.open(data)
config = RunConfig("sme", "true", 0, dataset.fingerprint, NetworkConfig(width=4, depth=2),
                   ScheduleConfig(epochs=3, cycles=1, lr_max=3e-3, batch_size=5, crop=16))
execute(config, dataset, Store.at(store), torch.device("cpu"))
shared_batches = dataclasses.replace(config.schedule, batch_size=4)  # 2 samples each, also in the last step
averaging = dataclasses.replace(config, block="cbn", schedule=shared_batches)
torch.save(dict(fit(averaging, dataset, torch.device("cpu")).model.named_buffers()), f"{rendezvous}-averages-{rank}")
dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def two_workers(tiny_dataset, tmp_path_factory) -> Path:
    """Folder with the store of a run that two workers trained, and the running averages of each in another."""
    folder = tmp_path_factory.mktemp("two")
    arguments = [str(folder / "rendezvous"), str(tiny_dataset.path), str(folder / "store"), str(ROOT)]
    workers = [subprocess.Popen([sys.executable, "-c", WORKER, str(rank), *arguments]) for rank in range(2)]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    return folder


@in_single_precision()
def test_two_workers_give_the_result_of_one(two_workers, tiny_dataset, config, tmp_path):
    """Including a last step (of 1 sample) that leaves the second worker without one."""
    assert len(tiny_dataset.indices("train")) % config.schedule.batch_size == 1
    execute(config, tiny_dataset, Store.at(tmp_path), CPU)

    one, two = (
        Path(store.run_folder(run_id(config))) for store in (Store.at(tmp_path), Store.at(two_workers / "store"))
    )
    history = [pd.read_parquet(folder / "history.parquet") for folder in (one, two)]
    np.testing.assert_allclose(history[0]["train_loss"], history[1]["train_loss"], rtol=1e-5)
    weights = [load_file(folder / "weights.safetensors") for folder in (one, two)]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name], rtol=1e-4, atol=1e-5)
    images = [pd.read_parquet(folder / "images.parquet") for folder in (one, two)]
    assert images[0]["image"].tolist() == images[1]["image"].tolist()
    pixels = images[0][["tp", "fp", "fn", "tn"]].sum().sum()
    assert (images[0]["tp"] - images[1]["tp"]).abs().sum() < 2e-3 * pixels


def test_workers_end_with_the_same_running_averages_although_each_sees_samples_of_its_own(two_workers):
    first, second = (torch.load(two_workers / f"rendezvous-averages-{rank}") for rank in range(2))
    assert len(first) == 3 * 5, "mean, variance and number of batches of each block"
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_loss_that_isnt_finite_stops_the_run(tiny_dataset, config):
    wild = dataclasses.replace(config, schedule=dataclasses.replace(config.schedule, lr_min=1e30, lr_max=1e38))
    with pytest.raises(DivergedError, match=r"training loss is (nan|inf) in epoch 1 of 3 .*block 'sme', seed 0"):
        fit(wild, tiny_dataset, CPU)


def test_another_dataset_than_the_runs_is_refused(tiny_dataset, config):
    with pytest.raises(ConfigError, match="the run expects somebody-elses"):
        fit(dataclasses.replace(config, dataset="somebody-elses"), tiny_dataset, CPU)


def test_validation_comes_every_nth_epoch_and_at_the_end(tiny_dataset, config):
    config = dataclasses.replace(config, schedule=dataclasses.replace(config.schedule, epochs=5, validate_every=2))
    validated = [epoch.epoch for epoch in fit(config, tiny_dataset, CPU).history if epoch.val_f1 is not None]
    assert validated == [2, 4, 5]


def test_history_has_a_row_an_epoch_and_images_a_row_an_image(tiny_dataset, config, tmp_path):
    store = Store.at(tmp_path)
    execute(config, tiny_dataset, store, CPU)
    folder = Path(store.run_folder(run_id(config)))
    history = pd.read_parquet(folder / "history.parquet")
    assert history["epoch"].tolist() == [1, 2, 3]
    images = pd.read_parquet(folder / "images.parquet")
    images = images[images["evaluation"] == "as-trained"]
    test = tiny_dataset.table.iloc[tiny_dataset.indices("test")]
    assert images["image"].tolist() == test["image"].tolist()
    assert images["meta_line"].tolist() == test["line"].tolist()
    assert (images[["tp", "fp", "fn", "tn"]].sum(axis=1) == (test["height"] * test["width"]).to_numpy()).all()
    truth = [int(tiny_dataset.mask(sample).sum()) for sample in tiny_dataset.indices("test")]
    assert (images["tp"] + images["fn"]).tolist() == truth
