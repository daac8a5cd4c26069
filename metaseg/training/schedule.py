"""The optimizer of a run, and the schedule of its learning rate."""

import math

from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import CyclicLR, LambdaLR, LRScheduler

from metaseg.config import ScheduleConfig

RISE = 0.3
"""Fraction of a one-cycle schedule's steps in which the learning rate rises."""


def build_optimizer(model: nn.Module, schedule: ScheduleConfig) -> Optimizer:
    """AdamW on all parameters alike (Loshchilov and Hutter 2019); without weight decay it is Adam."""
    return AdamW(model.parameters(), lr=schedule.lr_max, weight_decay=schedule.weight_decay, fused=True)


def build_scheduler(optimizer: Optimizer, schedule: ScheduleConfig, steps: int) -> LRScheduler:
    """The learning rate schedule for an optimizer of `build_optimizer` over `steps` steps.

    - cyclic: linear from `lr_min` to `lr_max` and back, `cycles` times (Smith 2017; paper, section 2.2).
    - one-cycle: up from `lr_min` in the first 30 % of the steps and down to it in the others, both half a cosine (Smith
      and Topin 2019).
    - cosine: down from `lr_max` to `lr_min` by half a cosine (Loshchilov and Hutter 2017, without restarts).
    - constant: `lr_max`.
    """
    if schedule.shape == "cyclic":
        half_cycle = steps / (2 * schedule.cycles)
        return CyclicLR(optimizer, schedule.lr_min, schedule.lr_max, step_size_up=half_cycle, cycle_momentum=False)  # type: ignore[arg-type]

    def share_of_maximum(step: int) -> float:
        height = _height(schedule, step / steps)
        return height + (1 - height) * schedule.lr_min / schedule.lr_max

    return LambdaLR(optimizer, share_of_maximum)


def _height(schedule: ScheduleConfig, done: float) -> float:
    """Learning rate above `lr_min` as a fraction of `lr_max - lr_min`, when a fraction `done` of the steps is done."""
    if schedule.shape == "constant":
        return 1.0
    if schedule.shape == "cosine":
        return (1 + math.cos(math.pi * done)) / 2
    if done < RISE:
        return (1 - math.cos(math.pi * done / RISE)) / 2
    return (1 + math.cos(math.pi * (done - RISE) / (1 - RISE))) / 2
