"""Claims: two drivers on one store don't train the same run.

A driver shows that it lives by a file that it keeps changing, `sessions/<session>.json`. A claim is a file that only
one of those who try can create: `claims/<run id>.<generation>`, which names a session. The highest generation holds. A
claim whose session is dead is overtaken by creating the next generation, which again only one can.

No clocks are compared: a session is dead when *this* process has watched it for `LEASE_SECONDS` without a change, or
when its process was on this machine and isn't there any more. Claims save work; what keeps results right is that a run
is committed whole and once, whoever trains it.
"""

import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Set
from pathlib import Path
from typing import Any

from metaseg.storage import Storage
from metaseg.store import to_json

BEAT_SECONDS = 5.0
LEASE_SECONDS = 60.0
"""Many beats: a driver that is slow to write isn't dead. A dead driver's runs on another machine wait for so long."""


def machine() -> str:
    """Names this machine until it restarts, and the space in which its process numbers mean something."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{platform.node()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return platform.node()


def process_start(pid: int) -> str | None:
    """When a process of this machine started, in the kernel's ticks; None where it isn't there or nobody can tell."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def is_of_this_machine(session: dict[str, Any]) -> bool:
    """Whether a session's process is one that this process could see."""
    return session["machine"] == machine() and session["started"] is not None


def is_gone(session: dict[str, Any]) -> bool:
    """Whether the process of a session of this machine has ended."""
    return bool(process_start(session["pid"]) != session["started"])


def tidy(storage: Storage, done: Set[str]) -> None:
    """Remove what killed drivers have left: claims of runs that are done, and signs of life on this machine."""
    for name in storage.names("claims"):
        if name.rpartition(".")[0] in done:
            storage.delete(f"claims/{name}")
    for name in storage.names("sessions"):
        content = storage.read_or_none(f"sessions/{name}")
        session = json.loads(content) if content else None
        if session and is_of_this_machine(session) and is_gone(session):
            storage.delete(f"sessions/{name}")


class Session:
    """A driver's sign of life in the store, kept by a thread; `status` is what others are told of it.

    Use as a context manager. What it has claimed and not given back on leaving stays behind, and is found dead.
    """

    def __init__(self, storage: Storage) -> None:
        self.id = uuid.uuid4().hex[:12]
        self.status: dict[str, Any] = {}
        self._storage = storage
        self._beat = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, daemon=True)
        self._watched: dict[str, tuple[int, float]] = {}
        self._won: dict[str, int] = {}

    def __enter__(self) -> "Session":
        self._write()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join(timeout=BEAT_SECONDS)
        self._storage.delete(self._name(self.id))

    def claim(self, run_id: str) -> bool:
        """Try to take a run for this session; whoever has it should look once more whether the run is done."""
        mine = to_json({"session": self.id, "once": uuid.uuid4().hex})
        generation = 1
        while not self._storage.create(_claim(run_id, generation), mine):
            generation = max(self._generations(run_id), default=0)
            if generation and not self._is_given_up(_claim(run_id, generation)):
                return False
            generation += 1
        self._won[run_id] = generation
        return True

    def release(self, run_id: str) -> None:
        """Give a run of this session back: it is done, or it has failed."""
        # The newest first: were this to stop in the middle, what is left would be dead claims and no gap under them.
        for generation in range(self._won.pop(run_id), 0, -1):
            self._storage.delete(_claim(run_id, generation))

    def abandon(self) -> None:
        """Give everything back at once: the driver is about to end, in whatever state it is."""
        self._stop.set()
        for run_id in list(self._won):
            self.release(run_id)
        self._storage.delete(self._name(self.id))

    def taken(self) -> set[str]:
        """Ids of the runs that living sessions hold, this one's among them."""
        claims = [(name, name.rpartition(".")[0]) for name in self._storage.names("claims")]
        return {run_id for name, run_id in claims if not self._is_given_up(f"claims/{name}")}

    def is_dead(self, session: str) -> bool:
        """Whether another session's driver is known to have ended."""
        content = self._storage.read_or_none(self._name(session))
        if content is None:
            return True
        about = json.loads(content)
        if is_of_this_machine(about):
            dead = is_gone(about)
        else:
            beat, since = self._watched.get(session, (None, 0.0))
            if beat != about["beat"]:
                self._watched[session] = (about["beat"], time.monotonic())
                return False
            dead = time.monotonic() - since > LEASE_SECONDS
        if dead:
            self._storage.delete(self._name(session))
        return dead

    def _generations(self, run_id: str) -> list[int]:
        names = (name.rpartition(".") for name in self._storage.names("claims"))
        return [int(generation) for run, _, generation in names if run == run_id]

    def _is_given_up(self, claim: str) -> bool:
        content = self._storage.read_or_none(claim)
        return content is None or self.is_dead(json.loads(content)["session"])

    def _name(self, session: str) -> str:
        return f"sessions/{session}.json"

    def _keep_beating(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            try:
                self._write()
            except OSError:
                continue  # the next beat may be seen

    def _write(self) -> None:
        self._beat += 1
        about = {
            "host": platform.node(),
            "pid": os.getpid(),
            "machine": machine(),
            "started": process_start(os.getpid()),
            "beat": self._beat,
            "time": time.time(),
            "status": self.status,
        }
        self._storage.write(self._name(self.id), to_json(about), patience=0)


def _claim(run_id: str, generation: int) -> str:
    return f"claims/{run_id}.{generation}"
