"""Causes of failed runs: the run itself, a machine or the store. The cause says whether a retry makes sense."""

import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import torch
from ray.exceptions import OutOfMemoryError as RayOutOfMemoryError
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.train import WorkerGroupError
from ray.train.v2._internal.exceptions import RayTrainError, WorkerHealthCheckFailedError
from ray.train.v2.api.exceptions import ControllerError, PreemptionError

from metaseg.store.storage import StorageError

OUT_OF_MEMORY = (torch.OutOfMemoryError, MemoryError, RayOutOfMemoryError)
RAYS_WORDS_FOR_OUT_OF_MEMORY = ("OUT_OF_MEMORY", "low on memory", "memory pressure")
"""Words in Ray's message about an actor that it has killed because its node ran out of memory."""

MACHINES = (RayError, RayTrainError, OSError, torch.distributed.DistError, torch.AcceleratorError)
"""Errors of processes, nodes, networks, disks and GPUs."""


class CodeChangedError(Exception):
    """A worker would train another run than the driver has asked for."""


class Kind(Enum):
    """The kind of a failure. If a failure has several causes, the first in this order counts."""

    CODE = "changed code"
    """The workers' code isn't the driver's any more: no run can go on."""
    RUN = "its own"
    """The run would fail again: it diverged, ran out of memory, has a wrong setting, or the code raised."""
    STORE = "the store's"
    """The store is full or can't be reached: no run can go on."""
    PREEMPTION = "a preemption"
    """The node was taken back: the run is retried, without counting."""
    MACHINE = "a machine's"
    """A process, node, network or device failed: the run is retried up to `max_retries` times."""


@dataclass(frozen=True)
class Failure:
    """A failed attempt at a run."""

    kind: Kind
    reason: str
    """The reason in one line."""
    traceback: str


def explain(error: BaseException) -> Failure:
    """Find the cause of an error that Ray or Ray Train has wrapped.

    When one of several workers dies, the others fail because it is missing; that must not be taken for the cause.
    """
    cause = min(_causes(error), key=lambda cause: list(Kind).index(_kind(cause)))
    return Failure(_kind(cause), _reason(cause), "".join(traceback.format_exception(error)))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The errors inside the wrappers of Ray and Ray Train."""
    inner = getattr(error, "_base_exc", None)  # Ray Train's wrapper of a worker's exception
    if isinstance(error, RayTaskError) and error.cause is not None:
        yield from _causes(error.cause)
    elif isinstance(error, WorkerGroupError) and error.worker_failures:
        for failure in error.worker_failures.values():
            yield from _causes(failure)
    elif isinstance(error, WorkerHealthCheckFailedError):
        yield from _causes(error.health_check_failure)
    elif isinstance(error, ControllerError):
        yield from _causes(error.controller_failure)
    elif isinstance(inner, BaseException):
        yield from _causes(inner)
    else:
        yield error


def _kind(cause: BaseException) -> Kind:
    if isinstance(cause, CodeChangedError):
        return Kind.CODE
    if isinstance(cause, StorageError):
        return Kind.STORE
    if isinstance(cause, OUT_OF_MEMORY):
        return Kind.RUN
    if isinstance(cause, RayActorError):
        if any(words in str(cause) for words in RAYS_WORDS_FOR_OUT_OF_MEMORY):
            return Kind.RUN
        return Kind.PREEMPTION if cause.preempted else Kind.MACHINE
    if isinstance(cause, PreemptionError):
        return Kind.PREEMPTION
    # gloo reports a lost neighbour by a plain RuntimeError.
    return Kind.MACHINE if isinstance(cause, MACHINES) or "gloo" in str(cause) else Kind.RUN


def _reason(cause: BaseException) -> str:
    if isinstance(cause, RayActorError):
        detail = str(cause).rpartition("Worker exit detail: ")[2] or str(cause)
        memory = any(words in str(cause) for words in RAYS_WORDS_FOR_OUT_OF_MEMORY)
        what = "out of memory: Ray ended its process" if memory else "its process died"
        words = detail.strip().splitlines()[0].removeprefix("Worker ").split(". Some common")[0]
        return what if "connection error code 2" in words else f"{what}: {words}"  # it says no more
    lines = str(cause).strip().splitlines() or [""]
    return f"{type(cause).__name__}: {lines[0]}"
