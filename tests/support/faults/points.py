"""Points of a run at which its process waits, once, for a test to do to it, or to others, what the test is about.

`FAULTS` names a folder. A file `RUN.POINT.armed` there makes the run's process wait at the point: it writes
`RUN.POINT.reached`, which says who it is, and goes on when there is `RUN.POINT.done`, if it still can. `RUN.steps` gets
a line a training step, `RUN.attempts` one each time that the run is begun.

The project itself has no such points: its functions are replaced here, in the processes of a study that `study.py`
starts.
"""

import functools
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

POINTS = ("step", "checkpoint", "report", "collection")
EPOCH = 2
"""Epoch of the first three points."""

WAIT_SECONDS = 60.0


class Here:
    """Current activity of this process."""

    folder: Path
    run = ""
    rank = 0
    last = 0
    """The last worker's rank."""
    epoch = step = 0


def wait_at(folder: Path, run: str, point: str, node: str = "") -> None:
    """Wait, if this point is armed, until a test has done its deed."""
    try:
        os.rename(folder / f"{run}.{point}.armed", folder / f"{run}.{point}.taken")
    except FileNotFoundError:
        return
    about = folder / f"{run}.{point}.about"
    about.write_text(json.dumps({"pid": os.getpid(), "node": node}))
    os.rename(about, folder / f"{run}.{point}.reached")
    deadline = time.monotonic() + WAIT_SECONDS
    while not (folder / f"{run}.{point}.done").exists() and time.monotonic() < deadline:
        time.sleep(0.02)


def _reach(point: str, rank: int = 0) -> None:
    import ray

    if Here.run and Here.rank == rank:
        wait_at(Here.folder, Here.run, point, ray.get_runtime_context().get_node_id())


def _note(kind: str, line: str) -> None:
    with (Here.folder / f"{Here.run}.{kind}").open("a") as file:
        file.write(line + "\n")


def half_written(path: Path, content: bytes) -> None:
    """Leave half of a file, as a process that dies while it writes."""
    with path.open("wb") as file:
        file.write(content[: len(content) // 2])
        file.flush()
        os.fsync(file.fileno())


@functools.cache
def _install() -> None:
    """Replace functions of this process, once."""
    from metaseg.store import folder
    from metaseg.training import fit, step

    batches, loss, save, write = fit.epoch_batches, step.supervised_loss, fit.save, folder._write_flushed

    def epoch_batches(*arguments: Any, epoch: int, first_step: int, **more: Any) -> Iterator[Any]:
        for number, batch in enumerate(batches(*arguments, epoch=epoch, first_step=first_step, **more), first_step + 1):
            Here.epoch, Here.step = epoch, number
            if Here.rank == 0:
                _note("steps", f"{epoch} {number}")
            yield batch

    def supervised_loss(*arguments: Any) -> Any:
        losses = loss(*arguments)
        if Here.epoch == EPOCH and Here.step == 3:
            _reach("step", Here.last)  # of several workers, not the one that keeps checkpoints
        return losses

    def save_checkpoint(*arguments: Any) -> None:
        if Here.epoch == EPOCH:
            _reach("report")
        save(*arguments)

    def write_flushed(path: Path, content: bytes) -> None:
        point = {"checkpoints": "checkpoint", "runs": "collection"}.get(path.parents[1].name)
        if point and (Here.epoch == EPOCH if point == "checkpoint" else path.name == "weights.safetensors"):
            half_written(path, content)
            _reach(point)
        write(path, content)

    fit.epoch_batches, step.supervised_loss, fit.save = epoch_batches, supervised_loss, save_checkpoint
    folder._write_flushed = write_flushed


def execute(folder: Path, config: Any, *rest: Any) -> None:
    """`metaseg.study.execution.execute`, with points."""
    from metaseg.study.execution import execute
    from metaseg.study.run_id import run_id
    from metaseg.training.world import World

    world = World.current()
    Here.folder, Here.run, Here.rank, Here.last = folder, run_id(config), world.rank, world.size - 1
    Here.epoch = Here.step = 0
    _install()
    if Here.rank == 0:
        _note("attempts", str(os.getpid()))
    try:
        execute(config, *rest)
    finally:
        Here.run = ""
