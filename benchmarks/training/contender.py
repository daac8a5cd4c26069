"""Contenders of a benchmark: the interface that they share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from benchmarks.training.work import Work


class NotMeasuredError(RuntimeError):
    """A contender can't take part on this machine; the message says what it would need."""


@dataclass(frozen=True)
class Lap:
    """A contender's turn: an epoch of training, or all validation images."""

    images: int
    """Crops trained with, or images evaluated."""
    seconds: float
    """Spent on them."""
    validation: float = 0.0
    """Seconds that the turn took besides, for validation."""


class Contender(Protocol):
    """Takes a turn when asked, and keeps still while others take theirs."""

    def lap(self) -> Lap:
        """Take a turn."""

    def close(self) -> None:
        """Let go of processes and threads."""


class Trainer(Contender, Protocol):
    """A contender that learns."""

    parameters: int
    """Weights of its network."""
    about: str
    """Note for the reader."""

    def score(self) -> float:
        """Mean F1 over the validation images at full size, now."""


MakeTrainer = Callable[[Work, int, int], Trainer]
"""Makes a trainer from the work, the seed, and the number of epochs in its schedule."""


def closest_width(parameters: Callable[[int], int], wanted: int) -> int:
    """The width with which a network that grows with it has closest to `wanted` parameters."""
    width = 1
    while parameters(width + 1) <= wanted:
        width += 1
    return min(width, width + 1, key=lambda each: abs(parameters(each) - wanted))
