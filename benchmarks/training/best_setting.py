"""The number format and memory format in which a peer's network trains fastest on this machine, by a short probe."""

import random
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median

import torch
from torch import nn

from benchmarks.training.bare import ALL, Arithmetic, wait
from benchmarks.training.loop import Loss, Stepper
from benchmarks.training.work import Work
from metaseg.training.fit import encode_metadata

ROUNDS = 3
_found: dict[tuple[object, ...], Arithmetic] = {}
"""Settings by peer and work: what is measured once holds for all parts and seeds."""


def seconds_by_setting(
    work: Work, make: Callable[[], tuple[nn.Module, Loss]], settings: list[Arithmetic], rounds: int = ROUNDS
) -> dict[Arithmetic, float]:
    """Median time of a step with each setting, on a batch of noise; settings take turns, after a step to warm up."""
    generator = torch.Generator().manual_seed(0)
    count, crop = work.size.batch, work.size.crop
    image = torch.randn(count, work.dataset.channels, crop, crop, generator=generator).to(work.device)
    mask = torch.randint(2, (count, crop, crop), generator=generator, dtype=torch.uint8).to(work.device)
    metadata = encode_metadata(work.config(), work.dataset)[1][:count].to(work.device)
    steppers = {each: Stepper(*make(), work.device, each, 1e-4) for each in settings}
    taken: dict[Arithmetic, list[float]] = {each: [] for each in settings}
    order, shuffled = list(settings), random.Random(0)
    for number in range(rounds + 1):
        shuffled.shuffle(order)
        for each in order:
            wait(work.device)
            started = time.perf_counter()
            steppers[each].step(image, mask, metadata)
            wait(work.device)
            if number:
                taken[each].append(time.perf_counter() - started)
    return {each: median(times) for each, times in taken.items()}


def best_setting(name: str, work: Work, make: Callable[[], tuple[nn.Module, Loss]], compiled: bool) -> Arithmetic:
    """The fastest of float32 and bfloat16, with channels last or not, and each compiled too if `compiled`.

    Compiled steps are compared without their warm-up.
    """
    key = (name, work.size, str(work.device), work.threads, compiled)
    if key not in _found:
        settings = [*ALL, *(replace(each, compiled=True) for each in ALL if compiled)]
        seconds = seconds_by_setting(work, make, settings)
        _found[key] = min(seconds, key=seconds.__getitem__)
    return _found[key]
