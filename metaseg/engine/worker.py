"""Code that runs in Ray's processes: the training function, and the slots that call it."""

import gc
import logging
import platform
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import ray.train
import torch
from ray.train import RunConfig as RayRunConfig
from ray.train import ScalingConfig
from ray.train.torch import TorchTrainer, get_device

from metaseg.config import EngineConfig, RunConfig
from metaseg.data.dataset import Dataset
from metaseg.device import keep_freed_memory
from metaseg.engine.failure import CodeChangedError, Failure, explain
from metaseg.store.runs import Store
from metaseg.study.run_id import run_id
from metaseg.training import TRAINING_VERSION
from metaseg.training.checkpoint import CheckpointWarning
from metaseg.training.history import Epoch

Execute = Callable[[RunConfig, Dataset, Store, torch.device, Callable[[Epoch], None], EngineConfig], None]
"""Function that computes a run in the current process group and commits it: `metaseg.study.execution.execute`."""


@dataclass(frozen=True)
class Job:
    """Everything a worker needs to know about a run; small, since data go through the store."""

    config: RunConfig
    run: str
    """The run's id, as the driver's code computes it."""
    version: int
    """`TRAINING_VERSION` of the driver's code."""
    dataset: Path
    """Folder of the decoded dataset on the driver's node, and on all nodes if the store is a folder."""
    store: str
    """Path or URL of the store."""
    engine: EngineConfig
    execute: Execute
    board: Any
    """Handle of the `Board` actor."""


VISIBLE_SECONDS = 60.0
"""Time to wait for a dataset: network folders show another machine's files late, and may be away for a while."""

open_store = cache(Store.at)
"""Open a store, with one connection per process."""


@lru_cache(maxsize=4)
def open_dataset(path: Path) -> Dataset:
    """A decoded dataset; its memory maps are kept from run to run."""
    return Dataset.open(path)


def wait_for(dataset: Path) -> None:
    """Wait until a dataset's folder is there; raises `OSError` if it doesn't come: the node's fault, not the run's."""
    deadline = time.monotonic() + VISIBLE_SECONDS
    while not dataset.exists():
        if time.monotonic() > deadline:
            raise OSError(
                f"{dataset} isn't there on node {platform.node()}; expected the store in a folder that all nodes "
                "share, or in a bucket"
            )
        time.sleep(1)


def open_both(where: str, folder: Path, config: RunConfig) -> tuple[Store, Dataset]:
    """The store, and the run's decoded dataset on this machine, as the run's fold sees it.

    Args:
        where: path or URL of the store.
        folder: of the dataset on the driver's node, and on all nodes if the store is a folder.
        config: the run's configuration.
    """
    if "://" not in where:
        wait_for(folder)  # lest an empty mount point be taken for the store
    store = open_store(where)
    dataset = open_dataset(folder if folder.exists() else store.fetch_dataset(config.dataset))
    return store, dataset.of_fold(config.fold)


def require_same_code(config: RunConfig, run: str, version: int) -> None:
    """Check that this process has the driver's code: a worker imports the files that are there when it starts.

    Raises:
        CodeChangedError: it computes another run id, or has another training version.
    """
    try:
        here = run_id(config)
    except (AttributeError, TypeError):  # fields have come or gone
        here = "nothing that it knows"
    if (here, TRAINING_VERSION) != (run, version):
        raise CodeChangedError(
            f"metaseg's code on node {platform.node()} isn't what this command was started with (run {run}, training "
            f"version {version}, is {here}, version {TRAINING_VERSION}, there): give the command again once all nodes "
            "have one version"
        )


def training_function(settings: dict[str, Job]) -> None:
    """Train one run in this process, one of the run's workers. Ray Train calls it, in local mode or in workers."""
    job, run = settings["job"], settings["job"].run
    require_same_code(job.config, run, job.version)
    store, dataset = open_both(job.store, job.dataset, job.config)
    first = ray.train.get_context().get_world_rank() == 0
    if first:
        job.board.post.remote(run, None)

    def on_epoch(epoch: Epoch) -> None:
        if first:
            job.board.post.remote(run, epoch)
        ray.train.report(asdict(epoch))

    with warnings.catch_warnings():
        warnings.simplefilter("always", CheckpointWarning)
        show = warnings.showwarning

        def tell(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, CheckpointWarning):
                job.board.post.remote(run, str(message))
            else:
                show(message, category, *where, **more)

        warnings.showwarning = tell
        job.execute(job.config, dataset, store, get_device(), on_epoch, job.engine)


def scaling(workers: tuple[int, ...], cpus: float, gpus: float) -> ScalingConfig:
    """Ray Train's layout of a run: a single worker is the calling process; several have processes of their own."""
    one = workers[-1] == 1
    number: Any = 0 if one else workers[0] if len(workers) == 1 else workers
    return ScalingConfig(
        num_workers=number,
        use_gpu=gpus > 0,
        resources_per_worker=None if one else {"CPU": cpus, **({"GPU": gpus} if gpus else {})},
    )


def fit_with_train(
    function: Callable[[dict[str, Any]], None], settings: dict[str, Any], scaling: ScalingConfig, name: str
) -> None:
    """Call `function(settings)` in each of Ray Train's workers; raises what they do, wrapped by Ray."""
    # Ray Train's own records of a run, which nobody reads, since results and checkpoints go to the store. Each attempt
    # gets a new folder, since Ray Train would resume from an old one.
    records = tempfile.mkdtemp(prefix="metaseg-ray-train-")
    try:
        TorchTrainer(
            function,
            train_loop_config=settings,
            scaling_config=scaling,
            run_config=RayRunConfig(name=name, storage_path=records),
        ).fit()
    finally:
        shutil.rmtree(records, ignore_errors=True)


class Slot:
    """An actor in which one run at a time is fitted with Ray Train, kept warm from run to run.

    A run of one worker trains in the slot's process (Ray Train's local mode), so the slot holds the worker's CPU or
    GPU. The workers of a larger run have processes of their own, which hold the resources; the slot then holds none
    and waits for them.
    """

    def __init__(self, workers: tuple[int, ...], cpus: float, gpus: float) -> None:
        logging.getLogger("ray.train").setLevel(logging.WARNING)
        keep_freed_memory()  # before there are threads with heaps of their own
        gc.freeze()  # see `metaseg.engine.session`: half a second every ten seconds
        self._scaling = scaling(workers, cpus, gpus)

    def ready(self) -> None:
        """Return once the slot has its resources and its imports."""

    def fit(self, job: Job) -> Failure | None:
        """Fit a run; it is in the store if this returns None.

        Failures are explained here, since some of Ray's errors can't be sent to another process.
        """
        try:
            fit_with_train(training_function, {"job": job}, self._scaling, job.run)
        except Exception as error:
            return explain(error)
        return None
