"""Compilation of networks by `torch.compile`: whether it pays in a training, measured once on each machine."""

import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

LONG_SECONDS = 1200.0
"""Planned time of training from which compiling is considered: to measure it takes a minute."""

LEAST_GAIN = 2.0
"""Times that compiling must save what it takes."""

STEPS = 5
"""Steps that are timed, of which the fastest counts."""


@dataclass(frozen=True)
class Compilation:
    """Times of a training's steps, in seconds."""

    eager: float
    """A step, as it is."""
    compiled: float
    """A step of the compiled network; infinite where it can't be compiled."""
    warm_up: float
    """The first step of the compiled network."""

    def pays(self, steps: int) -> bool:
        """Return True if compiling saves clearly more time in so many steps than it takes."""
        return steps * (self.eager - self.compiled) > LEAST_GAIN * self.warm_up


def compiled(network: nn.Module, caches: Path) -> nn.Module:
    """The network, to be compiled when it is first called; what is compiled is kept in `caches`, for all processes."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(caches / "inductor" / platform.node()))
    result: nn.Module = torch.compile(network, dynamic=False)  # type: ignore[assignment]
    return result


def measure(eager: Callable[[], None], faster: Callable[[], None]) -> Compilation:
    """Measure steps of a network as it is and of the compiled one, in turns."""
    eager()
    started = time.perf_counter()
    try:
        faster()
    except RuntimeError:  # there is no C++ compiler, or it fails
        return Compilation(_seconds(eager), float("inf"), time.perf_counter() - started)
    warm_up = time.perf_counter() - started
    rounds = [(_seconds(eager), _seconds(faster)) for _ in range(STEPS)]
    return Compilation(min(one for one, _ in rounds), min(other for _, other in rounds), warm_up)


def read(file: Path) -> Compilation | None:
    """Read what was measured before; None where there is nothing that can be read."""
    try:
        return Compilation(**{name: float(value) for name, value in json.loads(file.read_bytes()).items()})
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def written(found: Compilation) -> str:
    """The content of a file for `read`."""
    return json.dumps(asdict(found), indent=2) + "\n"


def _seconds(step: Callable[[], None]) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started
