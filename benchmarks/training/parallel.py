"""Data-parallel training: one worker against two, and against two runs that have nothing to do with each other."""

import json
import tempfile
import time
from dataclasses import replace
from multiprocessing.synchronize import Barrier
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing

from benchmarks.training.contender import NotMeasuredError
from benchmarks.training.rounds import Spread
from benchmarks.training.work import Work
from metaseg.config import RunConfig
from metaseg.data.dataset import Dataset
from metaseg.device import keep_freed_memory
from metaseg.training.fit import fit
from metaseg.training.history import Epoch

WORKERS = 2


def train(
    rank: int, workers: int, together: bool, config: RunConfig, dataset: Path, device: str, folder: Path, start: Barrier
) -> None:
    """One worker, in a process of its own; writes to `folder` when its second epoch began and its last but one ended.

    The first warms up, and all wait for each other at its end; the last one has a validation.
    """
    torch.set_num_threads(1)
    keep_freed_memory()
    place = torch.device(device, rank) if device == "cuda" else torch.device(device)  # "cuda:0" is a GPU for all
    if together:
        backend = "nccl" if place.type == "cuda" else "gloo"
        rendezvous = f"file://{folder / 'rendezvous'}"
        dist.init_process_group(backend, init_method=rendezvous, rank=rank, world_size=workers)
    times: list[float] = []

    def on_epoch(epoch: Epoch) -> None:
        if epoch.epoch == 1:
            start.wait()
        if epoch.epoch in (1, config.schedule.epochs - 1):
            times.append(time.time())

    fit(config, Dataset.open(dataset), place, on_epoch)
    (folder / f"{rank}.json").write_text(json.dumps(times))
    if together:
        dist.destroy_process_group()


def rate(work: Work, config: RunConfig, workers: int, together: bool, device: str) -> float:
    """Crops a second of `workers` processes, until the last is done: of a run that they share, or of a run each.

    On "cuda" each has a GPU of its own, on "cuda:0" all have this one.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = torch.multiprocessing.get_context("spawn").Barrier(workers)
        arguments = (workers, together, config, work.dataset.path, device, folder, start)
        torch.multiprocessing.spawn(train, arguments, nprocs=workers)
        begun, ended = zip(*(json.loads((folder / f"{rank}.json").read_text()) for rank in range(workers)), strict=True)
    crops = work.crops * (config.schedule.epochs - 2) * (1 if together else workers)
    return crops / (max(ended) - min(begun))


def efficiency(work: Work, rounds: int, epochs: int) -> dict[str, dict[str, float]]:
    """Crops a second of each way, interleaved, and what two workers get of the ideal.

    Strong scaling: two workers share the batch; weak: each has a batch of its own. Ideal is twice one worker's rate;
    `of_side_by_side` is relative to two runs at once instead, which share the machine's memory but wait for nothing.
    `halves` are two such runs with half the batch each: what two workers that share a batch would reach if they never
    waited for each other, the ceiling that small batches set.

    Raises:
        NotMeasuredError: fewer GPUs than workers.
    """
    if work.device.type == "cuda" and torch.cuda.device_count() < WORKERS:
        raise NotMeasuredError(f"{torch.cuda.device_count()} GPU; data-parallel workers need {WORKERS}")
    shared = work.config(epochs=epochs, validate_every=epochs)
    own = replace(shared, schedule=replace(shared.schedule, batch_size=WORKERS * work.size.batch))
    half = replace(shared, schedule=replace(shared.schedule, batch_size=work.size.batch // WORKERS))
    ways = {
        "one": (shared, 1, False), "strong": (shared, WORKERS, True), "weak": (own, WORKERS, True),
        "side by side": (shared, WORKERS, False), "halves": (half, WORKERS, False),
    }  # fmt: skip
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (config, workers, together) in ways.items():
            rates[name].append(rate(work, config, workers, together, work.device.type))
    figures = {name: vars(Spread.of(values)) for name, values in rates.items()}
    for name in ("strong", "weak", "side by side", "halves"):
        ideal = [WORKERS * one for one in rates["one"]]
        shares = [got / most for got, most in zip(rates[name], ideal, strict=True)]
        figures[f"{name} of ideal"] = vars(Spread.of(shares))
    for name in ("strong", "weak"):
        shares = [got / most for got, most in zip(rates[name], rates["side by side"], strict=True)]
        figures[f"{name} of side by side"] = vars(Spread.of(shares))
    shares = [got / most for got, most in zip(rates["strong"], rates["halves"], strict=True)]
    figures["strong of halves"] = vars(Spread.of(shares))
    return figures
