"""A seat: a slot as the scheduler sees it."""

import time
from dataclasses import dataclass, field
from typing import Any

from metaseg.study.plan import PlannedRun


@dataclass(eq=False)
class Seat:
    """A slot actor, and what the scheduler knows about it."""

    slot: Any
    """Handle of the `Slot` actor."""
    workers: tuple[int, ...]
    """Number of workers of the runs that fit it, or the least and the most."""
    future: Any = None
    """Ray's future of the slot's start, or of its run's end; None while it is idle."""
    run: PlannedRun | None = None
    """The run that it trains; None while it is starting or idle."""
    begun: bool = False
    """True once the run's workers have started."""
    since: float = field(default_factory=time.monotonic)
    """Time of its last change between starting, idle and busy."""
