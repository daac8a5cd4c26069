"""The connection to Ray: to the cluster at hand if there is one, else to one started for this process."""

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator

# Before ray is imported: studies run where the network is closed, and a study's data are nobody's statistics.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
import ray._private.worker as ray_worker
from ray._private.services import find_bootstrap_address


def address() -> str | None:
    """What to tell `ray.init`: nothing, so that it looks for a cluster, or "local" where what it would find is dead.

    `ray start` notes its address on the machine, and a head that is killed leaves the note: `ray.init` would then wait
    for minutes and fail.
    """
    noted = find_bootstrap_address(None)
    if os.environ.get("RAY_ADDRESS") or not noted:
        return None
    host, _, port = noted.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except OSError:
        return "local"
    return None


@contextlib.contextmanager
def _without_raylets_messages() -> Iterator[None]:
    """A worker's death would be half a page in the midst of a study's lines, whatever `log_to_driver` says.

    The study tells of it in a line, and Ray's own logs have the rest.
    """
    print_message = ray_worker.print_to_stdstream
    ray_worker.print_to_stdstream = lambda *_, **__: None
    try:
        yield
    finally:
        ray_worker.print_to_stdstream = print_message


@contextlib.contextmanager
def _same_handler_of_sigterm() -> Iterator[None]:
    """Ray puts one of its own in its place on connecting, and none on disconnecting; both end the process."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


@contextlib.contextmanager
def session() -> Iterator[None]:
    """Connect to Ray; on leaving, disconnect, and stop Ray where this process started it.

    `ray.init` finds a cluster by `RAY_ADDRESS` (which `ray job submit` sets) or by `ray start` on this machine. Where
    the process has a connection already, as a notebook may, that one is used and kept.
    """
    if ray.is_initialized():
        yield
        return
    with _without_raylets_messages():
        with _same_handler_of_sigterm():
            ray.init(address(), log_to_driver=False, logging_level=logging.ERROR)
        try:
            yield
        finally:
            with _same_handler_of_sigterm():
                ray.shutdown()
