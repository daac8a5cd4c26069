"""Overhead of a sweep per trial: a thousand trials whose score is a formula, and trainings of about a second.

    python -m benchmarks.sweep_overhead                 # two minutes on two cores; leave the machine alone
    python -m benchmarks.sweep_overhead --trials 200 --samplers qmc --trainings 0

Trials end one after the other on s slots; from one end to the end n trials later, seconds * s / n is what a slot takes
for a trial. A formula takes no time, so that this is overhead: proposing, Ray Tune, the journal, judging each epoch.
Of a training, the seconds that its epochs took are subtracted. The first trials' start isn't in it but told apart: from
the call to the first end, Ray being up already.

It writes the figures, with the machine, to `benchmarks/results/sweep_overhead.json`.
"""

import io
import math
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe_machine, write_json
from metaseg.config import DataConfig, EngineConfig, NetworkConfig, RunConfig, ScheduleConfig
from metaseg.data.dataset import Dataset
from metaseg.data.preparation import prepare
from metaseg.engine.tuning import run_sweep
from metaseg.simulators.settings import SyntheticConfig
from metaseg.simulators.seven_cells import make_seven_cells
from metaseg.store.runs import Store
from metaseg.study.arms import ARMS
from metaseg.study.run_id import run_id
from metaseg.sweeps.dimensions import Choice, Float
from metaseg.sweeps.search import SearchConfig
from metaseg.sweeps.space import Space
from metaseg.sweeps.sweep import FACTS, Sweep
from metaseg.sweeps.trial import Execute, Facts, Judge, execute_trial

SLOTS = 2
PARTS = 10
"""Maximum number of parts in which a sweep's trials are timed; a part has at least ten trials."""

NETWORK = NetworkConfig(width=4, depth=2, reduction=1)
SCHEDULE = ScheduleConfig(epochs=9, cycles=1, batch_size=4, crop=64)
SPACE = Space((Float("lr_max", 1e-3, 1.0, log=True), Choice("batch_size", (2, 4, 8)), Float("weight_decay", 0, 0.1)))


@dataclass(frozen=True)
class Options:
    """Amount of work to measure."""

    trials: int = 1000
    """Trials of each sweep over a formula."""

    samplers: tuple[str, ...] = ("random", "qmc", "tpe")
    """Samplers that propose the trials."""

    trainings: int = 40
    """Trials of a sweep that trains; 0 leaves it out."""


def formula(
    config: RunConfig,
    dataset: Dataset,
    store: Store,
    device: torch.device,
    measured: tuple[str, ...],
    origin: tuple[str, int],
    judge: Judge,
    engine: EngineConfig,
) -> Facts:
    """Take the place of training: a score that is best at a rate of 0.01 and batches of 4."""
    schedule = config.schedule
    best = 0.9 - 0.1 * (math.log10(schedule.lr_max) + 2) ** 2 - 0.05 * abs(math.log2(schedule.batch_size) - 2)
    curve: list[tuple[int, float]] = []
    for epoch in range(1, schedule.epochs + 1):
        curve.append((epoch, best * (1 - 0.5**epoch)))
        if judge(*curve[-1]) and epoch < schedule.epochs:
            break
    ended, score = len(curve), curve[-1][1]
    state = "complete" if ended == schedule.epochs else "pruned"
    return Facts(state, run_id(config), {"val_f1": score}, False, ended, schedule.epochs, ended, 0.0, tuple(curve))


def measure(dataset: Dataset, sampler: str, trials: int, execute: Execute) -> dict[str, Any]:
    """Seconds of overhead a trial, part by part, and to the first end."""
    folder = tempfile.mkdtemp(prefix="metaseg-benchmark-")
    sweep = Sweep("overhead", dataset, ARMS["sme"], NETWORK, SCHEDULE, SPACE, SearchConfig(trials, sampler))
    began = time.time()
    study = run_sweep(sweep, Store.at(folder), EngineConfig(), Console(file=io.StringIO()), [], execute)
    seconds = time.time() - began
    done = [trial for trial in study.get_trials(deepcopy=False) if trial.datetime_complete]
    assert len(done) == trials
    done.sort(key=lambda trial: trial.datetime_complete)
    ends = [trial.datetime_complete.timestamp() for trial in done]
    overhead, parts = [], max(1, min(PARTS, trials // 10))
    for part in range(parts):
        # From the end of the last trial before; of the first part, from the end of the first trial of each slot.
        first, last = max(SLOTS - 1, part * trials // parts - 1), (part + 1) * trials // parts - 1
        trained = statistics.mean(trial.user_attrs[FACTS]["seconds"] for trial in done[first + 1 : last + 1])
        overhead.append((ends[last] - ends[first]) * SLOTS / (last - first) - trained)
    shutil.rmtree(folder)
    return {
        "sampler": sampler, "pruner": sweep.search.pruner, "trials": trials, "seconds": seconds,
        "to_first_end": ends[0] - began,
        "trained_seconds_a_trial": statistics.mean(trial.user_attrs[FACTS]["seconds"] for trial in done),
        "overhead_a_trial": overhead,
    }  # fmt: skip


def main(options: Options) -> None:
    """Measure, print and write."""
    console = Console()
    data = Path(tempfile.mkdtemp(prefix="metaseg-benchmark-"))
    manifest = make_seven_cells(data, SyntheticConfig(size=64, images_per_line=6, wells_per_line=6))
    dataset = prepare(manifest, DataConfig(), data / "cache")
    ways: list[tuple[str, str, int, Execute]] = [
        *(("formula", sampler, options.trials, formula) for sampler in options.samplers),
        *([("training", "tpe", options.trainings, execute_trial)] if options.trainings else []),
    ]
    ray.init("local", num_cpus=SLOTS, log_to_driver=False)
    rows = []
    for name, sampler, trials, execute in ways:
        console.print(f"{name}, {trials} trials by {sampler}", style="dim")
        rows.append({"trial": name, **measure(dataset, sampler, trials, execute)})
    ray.shutdown()
    shutil.rmtree(data)

    table = Table(
        "trial", "sampler", "trials", "overhead a trial, s: first tenth", "last tenth", "most", "first end, s"
    )
    for row in rows:
        parts = row["overhead_a_trial"]
        figures = (f"{value:.3f}" for value in (parts[0], parts[-1], max(parts), row["to_first_end"]))
        table.add_row(row["trial"], row["sampler"], str(row["trials"]), *figures)
    console.print(table)
    path = write_json("sweep_overhead", {"machine": describe_machine(), "slots": SLOTS, "sweeps": rows})
    console.print(f"Written: {path}")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
