"""Claims: two drivers on one store don't train the same run.

A driver shows that it lives by a file that it keeps changing, `sessions/<session>.json`. A claim is a file that only
one of those who try can create: `claims/<run id>.<generation>`, which names a session. The highest generation holds. A
claim whose session is dead is overtaken by creating the next generation, which again only one can.

No clocks are compared: a session is dead when *this* process has watched it for `LEASE_SECONDS` without a change, or
when its process was on this machine and isn't there any more. Files in these folders that nobody here has
written (what sync clients and editors leave) aren't claims; a claim or session that can't be read is watched as long as
one of another machine: it may be half written. Claims save work; what keeps results right is that a run is committed
whole and once, whoever trains it.
"""

import contextlib
import hashlib
import os
import platform
import re
import threading
import time
import uuid
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaseg.store.runs import from_json, to_json
from metaseg.store.storage import UNREADABLE, Storage

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


@dataclass(frozen=True)
class Sign:
    """A driver's sign of life, as others read it."""

    machine: str
    pid: int
    started: str | None
    """When its process did, in the kernel's ticks."""
    content: dict[str, Any]

    @classmethod
    def parse(cls, content: bytes | None) -> "Sign | None":
        """None where it can't be read: there is none, it is half written, or it isn't one."""
        about = from_json(content) or {}
        host, pid, started = about.get("machine"), about.get("pid"), about.get("started")
        if not isinstance(host, str) or not isinstance(pid, int) or not isinstance(started, str | None):
            return None
        return cls(host, pid, started, about)

    @property
    def is_of_this_machine(self) -> bool:
        """Whether its process is one that this process could see."""
        return self.machine == machine() and self.started is not None

    @property
    def is_gone(self) -> bool:
        """Whether its process, of this machine, has ended."""
        return bool(process_start(self.pid) != self.started)


CLAIM = re.compile(r"(?P<run>.+)\.(?P<generation>[1-9][0-9]*)")
"""A claim's name; others in the folder are none of ours."""


SESSION = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""A session's name."""


def tidy(storage: Storage, done: Set[str]) -> list[str]:
    """Remove what killed drivers have left: claims of runs that are done, and signs of life on this machine.

    Returns:
        Names of the files that others have left, which stay.
    """
    foreign = []
    for name in storage.names("claims"):
        claim = CLAIM.fullmatch(name)
        if claim is None:
            foreign.append(f"claims/{name}")
        elif claim["run"] in done:
            _remove(storage, f"claims/{name}")
    for name in storage.names("sessions"):
        content = _content(storage, f"sessions/{name}")
        sign = Sign.parse(content)
        if sign is None and content is not None:
            foreign.append(f"sessions/{name}")
        elif sign and sign.is_of_this_machine and sign.is_gone:
            _remove(storage, f"sessions/{name}")
    return foreign


def _content(storage: Storage, name: str) -> bytes | None:
    """A file's content: None where there is none, nothing where it can't be read: a folder, another user's file."""
    try:
        return storage.read_or_none(name)
    except UNREADABLE:
        return b""


def _remove(storage: Storage, name: str) -> None:
    """Remove a file; what others have put in its place stays."""
    with contextlib.suppress(*UNREADABLE):
        storage.delete(name)


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
        self._watched: dict[str, tuple[str, float]] = {}
        """What files contained (digest), and since when it has been the same."""
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
            _remove(self._storage, _claim(run_id, generation))

    def abandon(self) -> None:
        """Give everything back at once: the driver is about to end, in whatever state it is."""
        self._stop.set()
        for run_id in list(self._won):
            self.release(run_id)
        self._storage.delete(self._name(self.id))

    def taken(self) -> set[str]:
        """Ids of the runs that living sessions hold, this one's among them."""
        claims = filter(None, map(CLAIM.fullmatch, self._storage.names("claims")))
        return {claim["run"] for claim in claims if not self._is_given_up(f"claims/{claim[0]}")}

    def is_dead(self, session: str) -> bool:
        """Whether another session's driver is known to have ended."""
        name = self._name(session)
        content = _content(self._storage, name)
        if content is None:
            return True
        sign = Sign.parse(content)
        dead = sign.is_gone if sign and sign.is_of_this_machine else self._has_stood_still(name, content)
        if dead:
            _remove(self._storage, name)
        return dead

    def _has_stood_still(self, name: str, content: bytes) -> bool:
        """Whether a file has been watched for `LEASE_SECONDS` without a change."""
        digest = hashlib.sha256(content).hexdigest()
        before, since = self._watched.get(name, ("", 0.0))
        if before != digest:
            self._watched[name] = (digest, time.monotonic())
            return False
        return time.monotonic() - since > LEASE_SECONDS

    def _generations(self, run_id: str) -> list[int]:
        claims = filter(None, map(CLAIM.fullmatch, self._storage.names("claims")))
        return [int(claim["generation"]) for claim in claims if claim["run"] == run_id]

    def _is_given_up(self, claim: str) -> bool:
        content = _content(self._storage, claim)
        if content is None:
            return True
        session = (from_json(content) or {}).get("session")
        if not isinstance(session, str) or not SESSION.fullmatch(session):
            return self._has_stood_still(claim, content)
        return self.is_dead(session)

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
