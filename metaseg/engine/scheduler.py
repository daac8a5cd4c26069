"""The scheduler: gives a study's missing runs to slots, as many at once as Ray has room for."""

import contextlib
import traceback
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from rich.console import Console

from metaseg.engine.progress import StudyProgress
from metaseg.engine.session import session
from metaseg.engine.worker import Board, Job, Slot
from metaseg.store import Store
from metaseg.study import PlannedRun, Study

POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Outcome:
    """How a study ended."""

    trained: tuple[PlannedRun, ...]
    failed: dict[PlannedRun, str]
    """Failed runs and why, in a line."""


def run_study(study: Study, store: Store, workers_per_run: int, console: Console) -> Outcome:
    """Train what the store doesn't have yet of the study. Ray isn't started when nothing is missing.

    A run that fails is recorded in the store with its traceback and doesn't stop the others.

    Raises:
        ConfigError: a run needs more workers than Ray has CPU cores or GPUs.
    """
    missing = study.missing(store)
    if not missing:
        return Outcome((), {})
    console.print("Starting Ray ...", style="dim")
    with session() as capacity:
        slots = min(len(missing), capacity.runs_at_once(workers_per_run))
        kind = "GPU" if capacity.gpu else "CPU core"
        console.print(f"{len(missing)} runs to train, {slots} at once, {workers_per_run} {kind}(s) each.", style="dim")
        with StudyProgress(missing, console) as progress:
            return _train(missing, study, store, progress, slots, workers_per_run, capacity.gpu)


def _train(
    missing: tuple[PlannedRun, ...],
    study: Study,
    store: Store,
    progress: StudyProgress,
    slots: int,
    workers_per_run: int,
    gpu: bool,
) -> Outcome:
    one_worker = workers_per_run == 1
    slot_actor: Any = ray.remote(num_cpus=int(one_worker), num_gpus=int(one_worker and gpu), max_restarts=-1)(Slot)
    board_actor: Any = ray.remote(num_cpus=0, max_restarts=-1)(Board)
    board = board_actor.remote()
    waiting = list(reversed(missing))
    busy: dict[Any, tuple[Any, PlannedRun | None]] = {}
    for _ in range(slots):
        slot = slot_actor.remote(workers_per_run, gpu)
        busy[slot.ready.remote()] = (slot, None)

    trained: list[PlannedRun] = []
    failed: dict[PlannedRun, str] = {}
    # A slot still waiting for its resources is no reason to wait once no run is left for it.
    while waiting or any(run for _, run in busy.values()):
        finished, _ = ray.wait(list(busy), timeout=POLL_SECONDS)
        with contextlib.suppress(RayError):  # the board is being restarted: no news
            progress.update(ray.get(board.take.remote()))
        for future in finished:
            slot, run = busy.pop(future)
            try:
                ray.get(future)
                if run is not None:
                    trained.append(run)
                    progress.done(run)
            except Exception as error:
                if run is None:
                    raise
                reason, trace = _explain(error)
                failed[run] = reason
                store.record_failure(run.run_id, reason, trace)
                progress.failed(run, reason)
            if waiting:
                next_run = waiting.pop()
                job = Job(next_run.config, study.dataset.path, store.root, board)
                busy[slot.fit.remote(job)] = (slot, next_run)
                progress.started(next_run)
    return Outcome(tuple(trained), failed)


def _explain(error: Exception) -> tuple[str, str]:
    """A line that says why a run failed, and the traceback of where it did."""
    cause: BaseException = error.cause if isinstance(error, RayTaskError) and error.cause else error
    lines = str(cause).strip().splitlines() or [""]
    return f"{type(cause).__name__}: {lines[0]}", "".join(traceback.format_exception(error))
