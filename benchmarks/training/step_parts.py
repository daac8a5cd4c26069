"""Parts of a training step of ours by time: what comes on top of the network's arithmetic."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, ParamSpec, TypeVar
from unittest.mock import patch

import torch

from benchmarks.training.rounds import Spread
from benchmarks.training.work import Work
from metaseg.training import fit as fitting
from metaseg.training import step as stepping
from metaseg.training.step import Step

P, R = ParamSpec("P"), TypeVar("R")
ARITHMETIC = ("forward", "loss", "backward")


class Clock:
    """Seconds by part, of an epoch at a time."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def timed(self, part: str, function: Callable[P, R]) -> Callable[P, R]:
        """The function, timed."""

        def run(*arguments: P.args, **named: P.kwargs) -> R:
            started = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                self.seconds[part] += time.perf_counter() - started

        return run

    def batches(self, made: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        """A maker of batches whose making is timed."""

        def run(*arguments: Any, **named: Any) -> Iterator[Any]:
            following = self.timed("crops", made(*arguments, **named).__next__)
            while True:
                try:
                    batch = following()
                except StopIteration:
                    return
                yield batch

        return run


def step_parts(work: Work, epochs: int) -> list[dict[str, Any]]:
    """A row a part: its share of the time of an epoch's training, with quartiles over epochs but the first.

    `arithmetic` is forward pass, loss and backward pass together; `beyond` all else.
    """
    clock, shares = Clock(), defaultdict[str, list[float]](list)
    real = Step.taken

    def taken(step: Step, *arguments: torch.Tensor) -> torch.Tensor:
        forward = clock.timed("forward", type(step.network).forward)
        with patch.object(type(step.network), "forward", forward):
            return real(step, *arguments)

    def told(epoch: fitting.Epoch) -> None:
        training = work.crops / epoch.images_per_second
        if epoch.epoch > 1:
            spent = dict(clock.seconds)
            arithmetic = sum(spent.get(part, 0.0) for part in ARITHMETIC)
            for part, seconds in {**spent, "arithmetic": arithmetic, "beyond": training - arithmetic}.items():
                shares[part].append(seconds / training)
        clock.seconds.clear()

    with ExitStack() as stack:
        for owner, name, part in (
            (stepping, "supervised_loss", "loss"), (torch.Tensor, "backward", "backward"),
            (torch.optim.AdamW, "step", "optimizer"), (torch.optim.lr_scheduler.CyclicLR, "step", "schedule"),
            (fitting, "seed_generators", "seeds"),
        ):  # fmt: skip
            stack.enter_context(patch.object(owner, name, clock.timed(part, getattr(owner, name))))
        stack.enter_context(patch.object(fitting, "epoch_batches", clock.batches(fitting.epoch_batches)))
        stack.enter_context(patch.object(Step, "taken", taken))
        fitting.fit(work.config(epochs=epochs, validate_every=epochs), work.dataset, work.device, told)
    return [{"part": part, "share": vars(Spread.of(found))} for part, found in shares.items()]
