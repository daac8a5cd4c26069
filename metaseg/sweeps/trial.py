"""A trial: trained and validated like a run, judged after each validation, and never tested."""

import contextlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pandas as pd
import torch

from metaseg.config import EngineConfig, RunConfig
from metaseg.data.dataset import Dataset
from metaseg.device import one_thread
from metaseg.store.checkpoints import StoredCheckpoints
from metaseg.store.runs import Store, to_json
from metaseg.study.execution import describe, initial_weights, to_parquet
from metaseg.study.run_id import run_id
from metaseg.sweeps.objectives import measure
from metaseg.training.arithmetic import named
from metaseg.training.checkpoint import unpack
from metaseg.training.fit import DivergedError, fit
from metaseg.training.history import Epoch
from metaseg.training.step import on_gpu
from metaseg.training.world import World

Judge = Callable[[int, float], bool]
"""Function of an epoch and its validation F1: True if the trial is to end. Only the first worker calls it."""


@dataclass(frozen=True)
class Facts:
    """The outcome of a trial."""

    state: Literal["complete", "pruned", "failed"]
    run_id: str
    values: dict[str, float]
    """Objectives and constrained quantities by name; `val_f1` is the best epoch's, and absent before the first one."""
    reused: bool
    """True if nothing was trained, because the store had the run."""
    epochs: int
    """Number of epochs trained, by a reused run too."""
    epochs_planned: int
    image_epochs: int
    """Number of epochs times number of training images."""
    seconds: float
    """Time of training and validation."""
    curve: tuple[tuple[int, float], ...]
    """Validated epochs and their validation F1."""
    error: str = ""
    """The reason of a failure in one line."""
    diverged: bool = False
    """True if it failed because its loss became NaN or infinite."""


Execute = Callable[
    [RunConfig, Dataset, Store, torch.device, tuple[str, ...], tuple[str, int], Judge, EngineConfig], Facts
]
"""Function that computes a trial in the current process group: `execute_trial`."""


class _Pruned(Exception):  # noqa: N818 - no error: it leaves training
    """The judge has ended the trial."""


def execute_trial(
    config: RunConfig,
    dataset: Dataset,
    store: Store,
    device: torch.device,
    measured: tuple[str, ...],
    origin: tuple[str, int],
    judge: Judge,
    engine: EngineConfig,
) -> Facts:
    """Train and validate a run, unless the store has it from any study or sweep. Test images can't be read.

    Every worker of a process group must call this; the first one writes.

    Args:
        config: the trial's resolved configuration.
        dataset: the decoded samples.
        store: the store of runs and trials.
        device: this worker's device.
        measured: names of the quantities to measure besides validation F1.
        origin: name of the sweep and number of the trial.
        judge: called after each validation; its answers don't matter if the store has the run.
        engine: says when checkpoints are saved.

    Returns:
        The outcome, on every worker. A trial that diverges has failed.
    """
    dataset, run = dataset.of_fold(config.fold).without_test(), run_id(config)
    values = {name: measure(name, config, dataset, device) for name in measured}
    images = len(dataset.indices("train", config.subset))
    scores: dict[int, float] = {}
    seconds: dict[int, float] = {}

    def facts(state: Literal["complete", "pruned", "failed"], reused: bool = False, error: str = "") -> Facts:
        best = {"val_f1": max(scores.values())} if scores else {}
        planned, curve, last = config.schedule.epochs, tuple(sorted(scores.items())), max(seconds, default=0)
        spent, found = sum(seconds.values()), {**best, **values}
        return Facts(state, run, found, reused, last, planned, last * images, spent, curve, error, diverged=bool(error))

    def note(epoch: Epoch) -> None:
        seconds[epoch.epoch] = epoch.seconds
        if epoch.val_f1 is not None:
            scores[epoch.epoch] = epoch.val_f1

    def on_epoch(epoch: Epoch) -> None:
        note(epoch)
        if epoch.val_f1 is None:
            return
        ends = World.current().agree(World.current().rank == 0 and judge(epoch.epoch, epoch.val_f1))
        if ends and epoch.epoch < config.schedule.epochs:
            raise _Pruned

    def recall() -> None:
        # A training that resumed from a checkpoint has only reported the rest.
        if 1 not in seconds:
            for epoch in _checkpointed(store, run):
                note(epoch)

    trained = store.find_trained(run)
    if trained is not None:
        history = trained.table("history.parquet", (), ("epoch", "seconds", "val_f1"))
        for row in history.to_dict("records"):
            seconds[int(row["epoch"])] = float(row["seconds"])
            if pd.notna(row["val_f1"]):
                scores[int(row["epoch"])] = float(row["val_f1"])
                judge(int(row["epoch"]), float(row["val_f1"]))
        return facts("complete", reused=trained.description().get("origin") != list(origin))

    checkpoints = StoredCheckpoints(store, run, engine)
    with one_thread(device):
        try:
            chosen = named(engine.arithmetic, device)
            capture = on_gpu if engine.cuda_graphs else None
            fitted = fit(
                config, dataset, device, on_epoch, checkpoints, initial_weights(config, store), chosen, capture
            )
        except _Pruned:
            recall()
            store.delete_checkpoints(run)
            return facts("pruned")
        except DivergedError as error:
            recall()
            return facts("failed", error=str(error))
    if World.current().rank == 0:
        table = pd.DataFrame([asdict(epoch) for epoch in fitted.history])
        about: dict[str, Any] = {**describe(config, dataset, fitted, device), "origin": list(origin)}
        store.commit_trial(run, {"config.json": to_json(about), "history.parquet": to_parquet(table)})
    for epoch in fitted.history:
        note(epoch)
    return facts("complete")


def _checkpointed(store: Store, run: str) -> list[Epoch]:
    """Finished epochs of the newest readable checkpoint."""
    for _, content in store.checkpoints(run):
        with contextlib.suppress(ValueError):  # half written; an older one may be whole
            return unpack(content)[0].history
    return []
