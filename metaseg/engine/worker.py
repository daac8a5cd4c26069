"""What runs inside Ray's processes: the training function, the slots that call it, and the board they report to."""

import logging
import platform
import shutil
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.train import RunConfig as RayRunConfig
from ray.train import ScalingConfig, WorkerGroupError
from ray.train.torch import TorchTrainer, get_device

from metaseg.config import ConfigError, RunConfig
from metaseg.data.dataset import Dataset
from metaseg.run import execute, run_id
from metaseg.store import Store
from metaseg.training.fit import Epoch


@dataclass(frozen=True)
class Job:
    """All that a worker needs to know of a run; small, since data travel by the store."""

    config: RunConfig
    dataset: Path
    store: Path
    board: Any
    """Handle of the `Board` actor."""


def training_function(settings: dict[str, Job]) -> None:
    """Train one run in this process, one of the run's workers. Ray Train calls it, in local mode or in workers."""
    job = settings["job"]
    device = get_device()
    if not job.dataset.exists():
        raise ConfigError(
            f"{job.dataset} isn't there on node {platform.node()}; expected the store in a folder that all nodes share"
        )
    rank = ray.train.get_context().get_world_rank()

    def on_epoch(epoch: Epoch) -> None:
        if rank == 0:
            job.board.post.remote(run_id(job.config), epoch)
        ray.train.report(asdict(epoch))

    execute(job.config, Dataset.open(job.dataset), Store(job.store), device, on_epoch)


class Board:
    """An actor that holds the epochs that runs have reported since the last look."""

    def __init__(self) -> None:
        self._news: list[tuple[str, Epoch]] = []

    def post(self, run: str, epoch: Epoch) -> None:
        """Put up a run's epoch."""
        self._news.append((run, epoch))

    def take(self) -> list[tuple[str, Epoch]]:
        """Take down what is up: run ids with an epoch each, oldest first."""
        news, self._news = self._news, []
        return news


class Slot:
    """An actor in which one run at a time is fitted with Ray Train, kept warm from run to run.

    A run of one worker trains in this very process (Ray Train's local mode), so the slot holds the worker's CPU or
    GPU. A run of several has workers of its own, which hold the resources; the slot then holds none and waits for
    them.
    """

    def __init__(self, workers_per_run: int, gpu: bool) -> None:
        logging.getLogger("ray.train").setLevel(logging.WARNING)
        self._scaling = ScalingConfig(
            num_workers=0 if workers_per_run == 1 else workers_per_run,
            use_gpu=gpu,
            resources_per_worker=None if workers_per_run == 1 else {"CPU": 1, **({"GPU": 1} if gpu else {})},
        )

    def ready(self) -> None:
        """Return once the slot has its resources and its imports."""

    def fit(self, job: Job) -> None:
        """Fit a run; it is in the store when this returns. Raises what training raised."""
        if Store(job.store).is_done(run_id(job.config)):
            return  # by another study, since this one was planned
        # Ray Train's own records: shared by the workers' nodes, as the store is, and of no use once the run has ended.
        # A name of its own for each attempt, since Ray Train would resume an old one.
        records = job.store / "ray" / f"{run_id(job.config)}-{uuid.uuid4().hex[:8]}"
        try:
            TorchTrainer(
                training_function,
                train_loop_config={"job": job},
                scaling_config=self._scaling,
                run_config=RayRunConfig(name=records.name, storage_path=str(records.parent)),
            ).fit()
        except WorkerGroupError as error:
            raise next(iter(error.worker_failures.values())) from error
        finally:
            shutil.rmtree(records, ignore_errors=True)
