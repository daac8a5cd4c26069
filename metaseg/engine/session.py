"""The connection to Ray: to the cluster at hand if there is one, else to one started for this process."""

import contextlib
import gc
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Future, wait
from typing import ClassVar

# Before ray is imported: studies run where the network is closed, and a study's data are nobody's statistics.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
import ray._private.worker as ray_worker
from ray._common.utils import get_default_system_temp_dir
from ray._private import ray_constants
from ray._private.services import find_bootstrap_address

from metaseg.config import ConfigError
from metaseg.engine.ray_address import address
from metaseg.engine.token import keep_token_private

FREE_BYTES = 256 << 20
"""Free space that Ray needs for its sockets and logs. With less it doesn't start, and doesn't say so."""

SOCKET_PATH = 107 if sys.platform == "linux" else 103
"""Longest path of a socket, in bytes."""
BELOW = "/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""The longest path that Ray makes under its temporary folder."""


def require_ground() -> None:
    """Check the folder that Ray would be started in.

    Raises:
        ConfigError: its path is too long for sockets.
        OSError: it is full, or can't be written to.
    """
    folder = get_default_system_temp_dir()
    longest = SOCKET_PATH - len(BELOW)
    change = "set RAY_TMPDIR to another folder"
    if len(os.fsencode(folder)) > longest:
        raise ConfigError(
            f"Ray's temporary folder is {folder!r}, {len(os.fsencode(folder))} bytes; expected at most {longest}, as "
            "paths of sockets are short: set RAY_TMPDIR to a shorter one, /tmp for instance"
        )
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1 << 16))
    except OSError as error:
        raise OSError(f"Ray can't be started in {folder}: {error.strerror}; {change}, or free some space") from None
    if (free := shutil.disk_usage(folder).free) < FREE_BYTES:
        raise OSError(
            f"{folder} has {free >> 20} MiB free; expected at least {FREE_BYTES >> 20} for Ray's temporary files: "
            f"free some space, or {change}"
        )


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """Let a Ray that is started here listen on 127.0.0.1 alone, metrics and all.

    Ray itself does so on macOS and Windows, where it supports clusters of one machine only.
    """
    name, before = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, ray_constants.ENABLE_RAY_CLUSTER
    given = os.environ.get(name)
    os.environ[name] = "0"
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
        if given is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = given


@contextlib.contextmanager
def _without_raylets_messages() -> Iterator[None]:
    """Suppress the raylet's messages: a worker's death would print half a page, whatever `log_to_driver` says.

    The study reports it in one line, and Ray's own logs have the rest.
    """
    print_message = ray_worker.print_to_stdstream
    ray_worker.print_to_stdstream = lambda *_, **__: None
    try:
        yield
    finally:
        ray_worker.print_to_stdstream = print_message


@contextlib.contextmanager
def _same_handler_of_sigterm() -> Iterator[None]:
    """Restore SIGTERM's handler: Ray sets its own on connecting and none on disconnecting; both end the process."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def _connect() -> None:
    where = address()
    if where is None and not os.environ.get("RAY_ADDRESS") and not find_bootstrap_address(None):
        where = "local"
    keep_token_private(create=where == "local")
    if where is None:
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
        return
    require_ground()
    with _on_loopback():
        ray.init(
            where,
            include_dashboard=False,  # nobody would look at that of a Ray which ends with this process
            log_to_driver=False,
            logging_level=logging.ERROR,
            _node_ip_address="127.0.0.1",
        )


class EarlyStart:
    """A connection to Ray that is made in the background, beside whatever takes time before runs can be trained.

    The next `session` takes it over, and raises what its making raised.
    """

    _latest: ClassVar["EarlyStart | None"] = None

    def __init__(self) -> None:
        self._made: Future[bool] = Future()
        """True if there was no connection before."""
        EarlyStart._latest = self
        threading.Thread(target=self._make, daemon=True).start()

    def _make(self) -> None:
        if ray.is_initialized():
            self._made.set_result(False)
            return
        try:
            _connect()
        except BaseException as error:  # the session's, whatever it is
            self._made.set_exception(error)
            return
        self._made.set_result(True)
        # Linux ends Ray's processes with the thread that has started them.
        threading.Event().wait()

    @classmethod
    def take(cls) -> bool:
        """Wait for a connection that nobody has taken yet; True if one was made."""
        early, cls._latest = cls._latest, None
        return early is not None and early._made.result()

    def end(self) -> None:
        """Disconnect, if no session has taken the connection."""
        if EarlyStart._latest is not self:
            return
        EarlyStart._latest = None
        wait([self._made])
        if self._made.exception() is None and self._made.result():
            ray.shutdown()


@contextlib.contextmanager
def session() -> Iterator[None]:
    """Connect to Ray; on leaving, disconnect, and stop Ray where this process started it.

    `ray.init` finds a cluster by `RAY_ADDRESS` (which `ray job submit` sets) or by `ray start` on this machine. If the
    process is connected already, as a notebook may be, that connection is used and kept.
    """
    early = EarlyStart.take()
    if ray.is_initialized() and not early:
        yield
        return
    with _without_raylets_messages():
        if not early:
            with _same_handler_of_sigterm():
                _connect()
        # While actors wait for room, Ray has all processes collect garbage every ten seconds: what is there already
        # needn't be looked through each time.
        gc.freeze()
        try:
            yield
        finally:
            gc.unfreeze()
            with _same_handler_of_sigterm():
                ray.shutdown()
