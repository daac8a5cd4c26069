"""The outcome of training a study: which runs were trained, which failed and why."""

from dataclasses import dataclass

from metaseg.study.plan import PlannedRun


@dataclass(frozen=True)
class Outcome:
    """The outcome of one command that trained a study."""

    trained: tuple[PlannedRun, ...]
    """Runs that this command trained; other drivers may have trained more."""
    failed: dict[PlannedRun, str]
    """Failed runs, each with the reason in one line."""
    faults: int
    """Number of times that a run was retried."""
