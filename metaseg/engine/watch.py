"""A watch on the cluster's head: a minute after its head has died, Ray would end a driver without a message."""

import contextlib
import os
import threading
from collections.abc import Iterator

import ray
from rich.console import Console
from rich.text import Text

from metaseg.engine.ray_address import answers
from metaseg.store.claims import Claimant

LOOK_SECONDS = 5.0
"""Time between two looks."""
LOOKS = 2
"""Number of looks in a row without an answer after which the head is lost. If the machine is silent, each takes up to
ten seconds."""

LOST = 1
"""Exit code if the head is lost."""


@contextlib.contextmanager
def watched(claims: Claimant, console: Console) -> Iterator[None]:
    """Context in which this process prints a line, gives up its claims and ends if the head doesn't answer any more.

    It has to end, since a call of the main thread to Ray can't be interrupted by then.
    """
    head, stop = ray.get_runtime_context().gcs_address, threading.Event()

    def watch() -> None:
        silent = 0
        while silent < LOOKS and not stop.wait(LOOK_SECONDS):
            silent = 0 if answers(head) else silent + 1
        if stop.is_set():
            return
        line = (
            f"lost the Ray cluster at {head}: its head doesn't answer. Finished runs and checkpoints are kept; the "
            "same command again goes on"
        )
        console.print(Text.assemble(("error: ", "bold red"), line), soft_wrap=True)
        console.file.flush()
        farewell = threading.Timer(LOOK_SECONDS, os._exit, (LOST,))  # the store may be gone with the head
        farewell.daemon = True
        farewell.start()
        claims.abandon()
        os._exit(LOST)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
