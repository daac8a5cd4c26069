"""Data-parallel training: one worker against two, and against two runs that have nothing to do with each other."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
import torch.distributed as dist
import torch.multiprocessing

from benchmarks.training.contender import NotMeasuredError
from benchmarks.training.rounds import Spread
from benchmarks.training.work import Work
from metaseg.config import RunConfig
from metaseg.data.dataset import Dataset
from metaseg.training.fit import fit

WORKERS = 2


def train(rank: int, workers: int, together: bool, config: RunConfig, dataset: Path, device: str, folder: Path) -> None:
    """One worker, in a process of its own; writes its crops a second, of all epochs but the first, to `folder`."""
    torch.set_num_threads(1)
    place = torch.device(device, rank) if device == "cuda" else torch.device(device)  # "cuda:0" is a GPU for all
    if together:
        backend = "nccl" if place.type == "cuda" else "gloo"
        rendezvous = f"file://{folder / 'rendezvous'}"
        dist.init_process_group(backend, init_method=rendezvous, rank=rank, world_size=workers)
    history = fit(config, Dataset.open(dataset), place).history
    (folder / f"{rank}.json").write_text(json.dumps([epoch.images_per_second for epoch in history[1:]]))
    if together:
        dist.destroy_process_group()


def rate(work: Work, config: RunConfig, workers: int, together: bool, device: str) -> float:
    """Crops a second of `workers` processes: of one run that they share, or of a run each.

    On "cuda" each has a GPU of its own, on "cuda:0" all have this one.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arguments = (workers, together, config, work.dataset.path, device, folder)
        torch.multiprocessing.spawn(train, arguments, nprocs=workers)
        rates = [median(json.loads((folder / f"{rank}.json").read_text())) for rank in range(workers)]
    return rates[0] if together else sum(rates)


def efficiency(work: Work, rounds: int, epochs: int) -> dict[str, dict[str, float]]:
    """Crops a second of each way, interleaved, and what two workers get of the ideal.

    Strong scaling: two workers share the batch; weak: each has a batch of its own. Ideal is twice one worker's rate;
    `of_side_by_side` is relative to two runs at once instead, which share the machine's memory but wait for nothing.

    Raises:
        NotMeasuredError: fewer GPUs than workers.
    """
    if work.device.type == "cuda" and torch.cuda.device_count() < WORKERS:
        raise NotMeasuredError(f"{torch.cuda.device_count()} GPU; data-parallel workers need {WORKERS}")
    shared = work.config(epochs=epochs, validate_every=epochs)
    own = replace(shared, schedule=replace(shared.schedule, batch_size=WORKERS * work.size.batch))
    ways = {
        "one": (shared, 1, False), "strong": (shared, WORKERS, True), "weak": (own, WORKERS, True),
        "side by side": (shared, WORKERS, False),
    }  # fmt: skip
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (config, workers, together) in ways.items():
            rates[name].append(rate(work, config, workers, together, work.device.type))
    figures = {name: vars(Spread.of(values)) for name, values in rates.items()}
    for name in ("strong", "weak", "side by side"):
        ideal = [WORKERS * one for one in rates["one"]]
        shares = [got / most for got, most in zip(rates[name], ideal, strict=True)]
        figures[f"{name} of ideal"] = vars(Spread.of(shares))
    for name in ("strong", "weak"):
        shares = [got / most for got, most in zip(rates[name], rates["side by side"], strict=True)]
        figures[f"{name} of side by side"] = vars(Spread.of(shares))
    return figures
