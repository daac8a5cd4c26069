"""Trials whose score is a formula of their settings: what a sweep's driver does is the same, and takes no training.

`python tests/support/closed_form.py STORE CACHE TRIALS SAMPLER` is a driver of its own, to be killed.
"""

import io
import math
import os
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from metaseg.config import EngineConfig, NetworkConfig, RunConfig, ScheduleConfig
from metaseg.data.dataset import Dataset
from metaseg.store.runs import Store
from metaseg.study.arms import ARMS
from metaseg.study.run_id import run_id
from metaseg.sweeps.dimensions import Choice, Float
from metaseg.sweeps.search import SearchConfig
from metaseg.sweeps.space import Space
from metaseg.sweeps.sweep import Sweep
from metaseg.sweeps.trial import Facts, Judge

NAME = "page.sme"
EPOCHS = 9
SPACE = Space((Float("lr_max", 1e-4, 1.0, log=True), Choice("batch_size", (2, 4, 8))))
SCHEDULE = ScheduleConfig(epochs=EPOCHS, cycles=1, lr_min=1e-5, lr_max=1e-2, batch_size=4, crop=16)


def make_sweep(dataset: Dataset, **search: object) -> Sweep:
    """A sweep over learning rate and batch size."""
    network = NetworkConfig(width=2, depth=1, reduction=1)
    return Sweep(NAME, dataset, ARMS["sme"], network, SCHEDULE, SPACE, replace(SearchConfig(), **search))


def score(config: RunConfig) -> float:
    """Best, 0.9, at a learning rate of 0.01 and batches of 4."""
    return (
        0.9
        - 0.1 * (math.log10(config.schedule.lr_max) + 2) ** 2
        - 0.05 * abs(math.log2(config.schedule.batch_size) - 2)
    )


def executions(store: Store) -> Counter[int]:
    """Number of times that each trial was started."""
    folder = Path(store.where) / "executions"
    return Counter(int(path.name.partition("-")[0]) for path in folder.iterdir()) if folder.exists() else Counter()


def begin(store: Store, number: int) -> int:
    """Note that a trial is begun, and say how often it has been before."""
    folder = Path(store.where) / "executions"
    folder.mkdir(exist_ok=True)
    before = len(list(folder.glob(f"{number}-*")))
    (folder / f"{number}-{before}-{os.getpid()}").touch()
    return before


def execute(
    config: RunConfig,
    dataset: Dataset,
    store: Store,
    device: torch.device,
    measured: tuple[str, ...],
    origin: tuple[str, int],
    judge: Judge,
    engine: EngineConfig,
) -> Facts:
    """Take the place of `metaseg.sweeps.trial.execute_trial`."""
    begin(store, origin[1])
    costs = dict.fromkeys(measured, 100.0 * config.schedule.batch_size)
    curve: list[tuple[int, float]] = []
    for epoch in range(1, config.schedule.epochs + 1):
        curve.append((epoch, score(config) * (1 - 0.5**epoch)))
        if judge(*curve[-1]) and epoch < config.schedule.epochs:
            return _facts("pruned", config, curve, costs)
    return _facts("complete", config, curve, costs)


def _facts(state: str, config: RunConfig, curve: list[tuple[int, float]], costs: dict[str, float]) -> Facts:
    values = {"val_f1": max(value for _, value in curve), **costs}
    planned, epochs = config.schedule.epochs, len(curve)
    return Facts(state, run_id(config), values, False, epochs, planned, 16 * epochs, 0.0, tuple(curve))


def main(where: str, cache: str, trials: str, sampler: str) -> None:
    """Run a sweep in a Ray of this process's own."""
    import ray

    from metaseg.engine.tuning import run_sweep

    ray.cloudpickle.register_pickle_by_value(sys.modules[execute.__module__])
    sweep = make_sweep(Dataset.open(Path(cache)), trials=int(trials), sampler=sampler)
    began = time.monotonic()
    run_sweep(sweep, Store.at(where), EngineConfig(), Console(file=io.StringIO()), sys.argv, execute)
    print(f"{time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
