"""Overhead of the engine per run: runs of known length in this process, by the engine, and by other ways of Ray.

    python -m benchmarks.engine_overhead                # about ten minutes on two cores; leave the machine alone
    python -m benchmarks.engine_overhead --runs 10 100 --repeats 1 --tune-runs 0

A run sleeps, tells of an epoch, and commits files of a small network's sizes to a store in a folder. Ways take turns,
so that all of them see the same noise. For each, with n runs on s slots:

- start: seconds from the call to the first run's beginning, Ray being up already;
- overhead: (seconds from then to the end) * s / n, minus the run's length in this process, store writes included;
  with its share of the start: the same from the call on.

It writes the figures, with the machine, to `benchmarks/results/engine_overhead.json`.
"""

import io
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray
import torch
import tyro
from ray import train, tune
from ray.train.torch import TorchTrainer
from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe_machine, write_json
from metaseg.config import DataConfig, EngineConfig, NetworkConfig, RunConfig, ScheduleConfig
from metaseg.data.dataset import Dataset
from metaseg.data.preparation import prepare
from metaseg.engine import run_study
from metaseg.simulators.settings import SyntheticConfig
from metaseg.simulators.seven_cells import make_seven_cells
from metaseg.store.runs import Store
from metaseg.study.plan import Study, plan
from metaseg.study.run_id import run_id
from metaseg.training.history import Epoch

SLOTS = 2
SECONDS = 0.2
"""Time that a run sleeps."""

FILES = {"config.json": 2_000, "history.parquet": 5_000, "images.parquet": 15_000, "weights.safetensors": 500_000}
"""Bytes of a run's files."""


@dataclass(frozen=True)
class Options:
    """Amount of work to measure."""

    runs: tuple[int, ...] = (10, 100, 1000)
    """Sizes of the studies."""

    task_runs: tuple[int, ...] = (10, 100)
    """Numbers of plain Ray tasks."""

    tune_runs: int = 6
    """Runs by Tune trials that hold a TorchTrainer of one worker; 0 leaves them out."""

    repeats: int = 3
    """Times that all is measured."""


def nap(
    config: RunConfig,
    dataset: Dataset,
    store: Store,
    device: torch.device,
    on_epoch: Callable[[Epoch], None],
    engine: EngineConfig,
) -> None:
    """Take the place of training."""
    begun = Path(store.where) / "begun"
    if not begun.exists():
        begun.write_text(str(time.time()))
    time.sleep(SECONDS)
    on_epoch(Epoch(1, 1.0, 0.5, 1e-3, 100.0, SECONDS))
    store.commit_run(run_id(config), {name: bytes(size) for name, size in FILES.items()})


def in_process(study: Study, store: Store) -> None:
    """One run after the other, in this process."""
    for run in study.runs:
        nap(run.config, study.dataset, store, torch.device("cpu"), lambda epoch: None, EngineConfig())


def by_engine(study: Study, store: Store) -> None:
    """Run the study in the way of `metaseg.cli.study_page`."""
    run_study(study, store, EngineConfig(), Console(file=io.StringIO()), nap)


def by_tasks(study: Study, store: Store) -> None:
    """A plain Ray task each: no claims, no retries, no progress."""
    dataset = study.dataset.path

    @ray.remote(num_cpus=1, max_retries=0)
    def task(config: RunConfig) -> None:
        opened = Store.at(store.where)
        nap(config, Dataset.open(dataset), opened, torch.device("cpu"), lambda epoch: None, EngineConfig())

    ray.get([task.remote(run.config) for run in study.runs])


def by_tune_and_trainer(study: Study, store: Store) -> None:
    """Run the study as Ray documents tuning with Ray Train: a trial fits a TorchTrainer, here with one worker."""
    dataset, records = study.dataset.path, tempfile.mkdtemp()

    def loop(settings: dict[str, Any]) -> None:
        opened = Store.at(store.where)
        report = lambda epoch: train.report(asdict(epoch))  # noqa: E731
        nap(settings["run"], Dataset.open(dataset), opened, torch.device("cpu"), report, EngineConfig())

    def trial(settings: dict[str, Any]) -> None:
        TorchTrainer(
            loop,
            train_loop_config=settings,
            scaling_config=train.ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
            run_config=train.RunConfig(name=run_id(settings["run"]), storage_path=records),
        ).fit()

    # Trials that reserve a core deadlock with their workers, and Ray takes no trial that reserves nothing.
    tuner = tune.Tuner(
        tune.with_resources(trial, {"cpu": 0, "memory": 1 << 20}),
        param_space={"run": tune.grid_search([run.config for run in study.runs])},
        tune_config=tune.TuneConfig(max_concurrent_trials=SLOTS),
        run_config=tune.RunConfig(storage_path=records, verbose=0),
    )
    results = tuner.fit()
    shutil.rmtree(records, ignore_errors=True)
    if results.errors:
        raise results.errors[0]


def measure(way: Callable[[Study, Store], None], study: Study, slots: int) -> dict[str, float]:
    """Seconds of a way for all runs of the study, in a new store."""
    folder = tempfile.mkdtemp(prefix="metaseg-benchmark-")
    store = Store.at(folder)
    began = time.time()
    way(study, store)
    ended = time.time()
    assert len(store.done()) == len(study.runs)
    first = float((Path(folder) / "begun").read_text())
    shutil.rmtree(folder)
    each = slots / len(study.runs)
    return {"start": first - began, "run": (ended - first) * each, "run_and_start": (ended - began) * each}


def spread(values: list[float]) -> str:
    """Median, least and most."""
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def main(options: Options) -> None:
    """Measure, print and write."""
    console = Console()
    data = Path(tempfile.mkdtemp(prefix="metaseg-benchmark-"))
    manifest = make_seven_cells(data, SyntheticConfig(size=64, images_per_line=6, wells_per_line=6))
    dataset = prepare(manifest, DataConfig(), data / "cache")
    ways: list[tuple[str, Callable[[Study, Store], None], int, int]] = [
        ("in this process", in_process, 50, 1),
        *(("engine", by_engine, runs, SLOTS) for runs in options.runs),
        *(("Ray tasks", by_tasks, runs, SLOTS) for runs in options.task_runs),
        *([("Tune + TorchTrainer", by_tune_and_trainer, options.tune_runs, SLOTS)] if options.tune_runs else []),
    ]
    ray.init(num_cpus=SLOTS, log_to_driver=False)
    measured: dict[tuple[str, int], list[dict[str, float]]] = {}
    plain = 0.0
    for repeat in range(options.repeats):
        for name, way, runs, slots in ways:
            console.print(f"repeat {repeat + 1} of {options.repeats}: {name}, {runs} runs", style="dim")
            study = plan("benchmark", dataset, ["baseline"], runs, NetworkConfig(), ScheduleConfig())
            figures = measure(way, study, slots)
            plain = figures["run"] if way is in_process else plain
            figures |= {"overhead": figures["run"] - plain, "overhead_and_start": figures["run_and_start"] - plain}
            measured.setdefault((name, runs), []).append(figures)
    ray.shutdown()
    shutil.rmtree(data)

    table = Table("way", "runs", "start, s", "overhead a run, s", "with its share of the start, s")
    rows = []
    for (name, runs), repeats in measured.items():
        columns = {key: [figures[key] for figures in repeats] for key in ("start", "overhead", "overhead_and_start")}
        rows.append({"way": name, "runs": runs, "seconds": columns})
        table.add_row(name, str(runs), *(spread(values) for values in columns.values()))
    console.print(table)
    lengths = [figures["run"] for figures in measured[ways[0][0], ways[0][2]]]
    path = write_json(
        "engine_overhead",
        {"machine": describe_machine(), "slots": SLOTS, "slept_seconds": SECONDS, "run_seconds": lengths, "ways": rows},
    )
    console.print(f"Written: {path}")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
