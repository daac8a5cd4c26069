"""Claims: two drivers on one store don't train the same run.

Each driver is a claimant: it keeps a heartbeat file, `sessions/<claimant>.json`, that it rewrites all the time. A claim
is a file that names a claimant, `claims/<run id>.<generation>`; of all drivers that try to create it, only one can. The
highest generation is valid. A claim whose claimant is dead is overtaken by creating the next generation, which again
only one driver can.

No clocks are compared: a claimant is dead when *this* process has watched its heartbeat for `LEASE_SECONDS` without a
change, or when its process was on this machine and has ended. Other files in these folders (left by sync clients and
editors) aren't claims; a claim or heartbeat that can't be read may be half written, so it is watched as long as one of
another machine. Claims only save work: results are right without them, since a run is committed whole and once, whoever
trains it.
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
"""Time between heartbeats."""

LEASE_SECONDS = 60.0
"""Time without a heartbeat after which a driver is dead. Many beats, since a slow driver isn't dead; the runs of a
driver that died on another machine wait this long."""


def machine() -> str:
    """An id of this machine until it restarts, and of the namespace in which its process numbers are valid."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{platform.node()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return platform.node()


def process_start(pid: int) -> str | None:
    """Start time of a process of this machine, in kernel ticks; None if it doesn't exist or the time is unknown."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


@dataclass(frozen=True)
class Heartbeat:
    """A driver's heartbeat file, as others read it."""

    machine: str
    pid: int
    started: str | None
    """Start time of its process, in kernel ticks."""

    @classmethod
    def parse(cls, content: bytes | None) -> "Heartbeat | None":
        """A heartbeat, or None if there is none, it is half written, or the content is something else."""
        about = from_json(content) or {}
        host, pid, started = about.get("machine"), about.get("pid"), about.get("started")
        if not isinstance(host, str) or not isinstance(pid, int) or not isinstance(started, str | None):
            return None
        return cls(host, pid, started)

    @property
    def is_of_this_machine(self) -> bool:
        """True if this process could see the driver's process."""
        return self.machine == machine() and self.started is not None

    @property
    def is_gone(self) -> bool:
        """True if the driver's process, on this machine, has ended."""
        return bool(process_start(self.pid) != self.started)


CLAIM = re.compile(r"(?P<run>.+)\.(?P<generation>[1-9][0-9]*)")
"""Name of a claim's file; files with other names aren't ours."""

CLAIMANT = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Id of a claimant."""


def tidy(storage: Storage, done: Set[str]) -> list[str]:
    """Remove the files of killed drivers: claims of runs that are done, and heartbeats of this machine.

    Returns:
        Names of the files that other programs have left; they stay.
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
        heartbeat = Heartbeat.parse(content)
        if heartbeat is None and content is not None:
            foreign.append(f"sessions/{name}")
        elif heartbeat and heartbeat.is_of_this_machine and heartbeat.is_gone:
            _remove(storage, f"sessions/{name}")
    return foreign


def _content(storage: Storage, name: str) -> bytes | None:
    """A file's content: None if there is no file, empty if it can't be read (a folder, another user's file)."""
    try:
        return storage.read_or_none(name)
    except UNREADABLE:
        return b""


def _remove(storage: Storage, name: str) -> None:
    """Remove a file; anything unreadable that others have put in its place stays."""
    with contextlib.suppress(*UNREADABLE):
        storage.delete(name)


class Claimant:
    """A driver that claims runs. A thread keeps its heartbeat in the store, together with `status` for others to read.

    Use as a context manager. Claims that aren't released on leaving stay behind, and others find them dead.
    """

    def __init__(self, storage: Storage) -> None:
        self.id = uuid.uuid4().hex[:12]
        self.status: dict[str, Any] = {}
        self._storage = storage
        self._beat = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, daemon=True)
        self._watched: dict[str, tuple[str, float]] = {}
        """Digest of each watched file's content, and since when it has been the same."""
        self._won: dict[str, int] = {}
        """Generations of the claims that this claimant holds, by run id."""

    def __enter__(self) -> "Claimant":
        self._write()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join(timeout=BEAT_SECONDS)
        self._storage.delete(self._name(self.id))

    def claim(self, run_id: str) -> bool:
        """Try to claim a run; returns True on success. The caller should then check once more that it isn't done."""
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
        """Give up the claim on a run that is done or has failed."""
        # The newest first: if this stopped in the middle, it would leave dead claims without a gap below them.
        for generation in range(self._won.pop(run_id), 0, -1):
            _remove(self._storage, _claim(run_id, generation))

    def abandon(self) -> None:
        """Give up all claims at once, because the driver is about to end, in whatever state it is."""
        self._stop.set()
        for run_id in list(self._won):
            self.release(run_id)
        self._storage.delete(self._name(self.id))

    def taken(self) -> set[str]:
        """Ids of the runs that living claimants hold, this one included."""
        claims = filter(None, map(CLAIM.fullmatch, self._storage.names("claims")))
        return {claim["run"] for claim in claims if not self._is_given_up(f"claims/{claim[0]}")}

    def is_dead(self, claimant: str) -> bool:
        """Return True if another claimant's driver is known to have ended."""
        name = self._name(claimant)
        content = _content(self._storage, name)
        if content is None:
            return True
        heartbeat = Heartbeat.parse(content)
        here = heartbeat if heartbeat and heartbeat.is_of_this_machine else None
        dead = here.is_gone if here else self._has_stood_still(name, content)
        if dead:
            _remove(self._storage, name)
        return dead

    def _has_stood_still(self, name: str, content: bytes) -> bool:
        """Return True if a file has been watched for `LEASE_SECONDS` without a change."""
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
        claimant = (from_json(content) or {}).get("session")
        if not isinstance(claimant, str) or not CLAIMANT.fullmatch(claimant):
            return self._has_stood_still(claim, content)
        return self.is_dead(claimant)

    def _name(self, claimant: str) -> str:
        return f"sessions/{claimant}.json"

    def _keep_beating(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            try:
                self._write()
            except OSError:
                continue  # the next beat may succeed

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
