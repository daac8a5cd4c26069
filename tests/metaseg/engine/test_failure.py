"""Causes of failures, found inside Ray's errors."""

import pickle

import pytest
import torch
from ray.core.generated.common_pb2 import ActorDiedErrorContext, NodeDeathInfo
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayActorError, RayTaskError
from ray.train import WorkerGroupError
from ray.train.v2._internal.exceptions import (
    UserExceptionWithTraceback,
    WorkerGroupStartupTimeoutError,
    WorkerHealthCheckFailedError,
)
from ray.train.v2.api.exceptions import ControllerError

from metaseg.config import ConfigError
from metaseg.engine.failure import Kind, explain
from metaseg.store.storage import StorageError
from metaseg.training.fit import DivergedError

GLOO = RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer")
DETAIL = "Worker exits with an exit code 1. The process receives a SIGTERM."


def died(kind: str = "SYSTEM_ERROR", detail: str = DETAIL, node_death: int | None = None) -> ActorDiedError:
    """Ray's error about a dead actor."""
    context = ActorDiedErrorContext(
        actor_id=b"0" * 16,
        error_message="The actor is dead because its worker process has died. "
        f"Worker exit type: {kind} Worker exit detail: {detail}",
    )
    if node_death is not None:
        context.node_death_info.reason = node_death
    return ActorDiedError(context)


def preempted() -> ActorDiedError:
    return died(node_death=NodeDeathInfo.AUTOSCALER_DRAIN_PREEMPTED)


def out_of_memory() -> ActorDiedError:
    return died("NODE_OUT_OF_MEMORY", "Task was killed due to the node running low on memory.")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (DivergedError("training loss is nan"), Kind.RUN),
        (ConfigError("width is 0"), Kind.RUN),
        (ValueError("a bug in a block"), Kind.RUN),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), Kind.RUN),
        (torch.OutOfMemoryError("CUDA out of memory"), Kind.RUN),
        (MemoryError(), Kind.RUN),
        (out_of_memory(), Kind.RUN),
        (died(), Kind.MACHINE),
        (ActorUnavailableError("no answer", b"0" * 16), Kind.MACHINE),
        (ConnectionResetError("reset"), Kind.MACHINE),
        (FileNotFoundError("images.bin"), Kind.MACHINE),  # the driver has made it: a folder is away
        (torch.distributed.DistNetworkError("timed out"), Kind.MACHINE),
        (GLOO, Kind.MACHINE),
        (WorkerGroupStartupTimeoutError(2), Kind.MACHINE),
        (preempted(), Kind.PREEMPTION),
        (StorageError("/store is full: No space left on device"), Kind.STORE),
    ],
)
def test_kinds_are_told_apart_bare_and_wrapped(error, kind):
    assert explain(error).kind is kind
    assert explain(WorkerGroupError("failed", {0: error})).kind is kind
    assert explain(ControllerError(error)).kind is kind
    assert explain(WorkerGroupError("failed", {0: WorkerHealthCheckFailedError("failed", error)})).kind is kind
    assert explain(WorkerGroupError("failed", {0: UserExceptionWithTraceback(error, "Traceback ...")})).kind is kind
    if not isinstance(error, RayActorError):  # these can't be sent: why a slot explains its failures itself
        assert explain(RayTaskError("fit", "Traceback ...", error)).kind is kind


@pytest.mark.parametrize(
    ("failures", "kind"),
    [
        ({0: GLOO, 1: died()}, Kind.MACHINE),
        ({0: GLOO, 1: preempted()}, Kind.PREEMPTION),
        ({0: died(), 1: DivergedError("training loss is nan")}, Kind.RUN),
        ({0: torch.OutOfMemoryError("CUDA out of memory"), 1: GLOO}, Kind.RUN),
        ({0: GLOO, 1: StorageError("full")}, Kind.STORE),
    ],
)
def test_of_several_workers_the_cause_counts_not_its_consequences(failures, kind):
    assert explain(WorkerGroupError("failed", failures)).kind is kind
    assert explain(WorkerGroupError("failed", dict(reversed(failures.items())))).kind is kind


def test_the_reason_is_a_line_that_says_what_died():
    assert explain(died()).reason == "its process died: exits with an exit code 1. The process receives a SIGTERM."
    assert explain(died(detail="Worker exits with a connection error code 2. End of file")).reason == "its process died"
    assert explain(out_of_memory()).reason.startswith("out of memory: Ray ended its process: Task was killed")
    assert explain(DivergedError("loss is nan\nand more")).reason == "DivergedError: loss is nan"
    assert "DivergedError" in explain(DivergedError("loss is nan")).traceback


def test_the_stores_error_keeps_its_kind_between_processes():
    error = pickle.loads(pickle.dumps(StorageError(28, "/store is full")))
    assert explain(error).kind is Kind.STORE
