"""Followers of a study: told of its runs while it is trained."""

from typing import Protocol

from metaseg.study.plan import PlannedRun
from metaseg.training.history import Epoch


class Follower(Protocol):
    """Someone to tell. Its methods return at once and raise nothing, since the scheduler calls them in its loop."""

    def started(self, run: PlannedRun) -> None:
        """A slot has taken the run, for the first time or after a fault."""

    def epoch(self, run: PlannedRun, epoch: Epoch) -> None:
        """The run has finished an epoch; one that resumes from a checkpoint may finish some again."""

    def done(self, run: PlannedRun) -> None:
        """The run is in the store."""

    def failed(self, run: PlannedRun) -> None:
        """The run has ended with an error that a retry doesn't change."""
