"""Contenders take turns, so that all of them see the same noise, and are compared within a round."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import quantiles

import torch

from benchmarks.training.contender import Contender, Lap


@dataclass(frozen=True)
class Spread:
    """Median and quartiles."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Median and quartiles of one or more values."""
        return cls(*(quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3))

    def __str__(self) -> str:
        digits = 2 if abs(self.median) < 10 else 0
        return f"{self.median:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


Flags = tuple[bool, bool]


@contextmanager
def own_flags(kept: dict[str, Flags], name: str) -> Iterator[None]:
    """cuDNN's switches are the process's: let a contender have those that it left behind, and others PyTorch's own."""
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = kept.get(name, before)
    try:
        yield
    finally:
        kept[name] = cudnn.deterministic, cudnn.benchmark
        cudnn.deterministic, cudnn.benchmark = before


def interleaved(
    contenders: Mapping[str, Contender], rounds: int, progress: Callable[[str], None] = lambda line: None
) -> dict[str, list[Lap]]:
    """A lap each to warm up, which isn't counted, then `rounds` laps each, every round in an order of its own."""
    shuffled, names = random.Random(0), list(contenders)
    laps: dict[str, list[Lap]] = {name: [] for name in names}
    flags: dict[str, Flags] = {}
    for number in range(rounds + 1):
        progress(f"round {number} of {rounds}" if number else "warming up")
        shuffled.shuffle(names)
        for name in names:
            with own_flags(flags, name):
                lap = contenders[name].lap()
            if number:
                laps[name].append(lap)
    return laps


def rates(laps: Sequence[Lap]) -> list[float]:
    """Images a second, of each lap."""
    return [lap.images / lap.seconds for lap in laps]


def ratios(laps: Sequence[Lap], limit: Sequence[Lap]) -> list[float]:
    """Images a second, as a share of what `limit` had in the same round."""
    return [rate / most for rate, most in zip(rates(laps), rates(limit), strict=True)]
