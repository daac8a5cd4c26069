"""Time of a training step and of an evaluation, by operator."""

from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.training.bare import BareForward, BareLoop
from benchmarks.training.contender import Contender
from benchmarks.training.trainers import evaluation_limit, usual_limit
from benchmarks.training.work import Work

MOST = 12
"""Operators that are named; the others are summed."""


def operators(contender: Contender, device: torch.device) -> list[dict[str, Any]]:
    """Each operator's share of a lap's time on the device, without what it calls; the largest first."""
    contender.lap()  # warms up
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=kinds) as profiled:
        contender.lap()
    # Kernels are listed beside the operators that they belong to, and would count twice.
    listed = [each for each in profiled.key_averages() if each.device_type == DeviceType.CPU]
    spent = {
        each.key: (each.self_device_time_total if device.type == "cuda" else each.self_cpu_time_total, each.count)
        for each in listed
        if not each.is_user_annotation
    }
    whole = sum(time for time, _ in spent.values())
    order = sorted(spent, key=lambda name: spent[name][0], reverse=True)
    rows: list[dict[str, Any]] = [
        {"operator": name, "share": spent[name][0] / whole, "calls": spent[name][1]} for name in order[:MOST]
    ]
    rest = order[MOST:]
    calls = sum(spent[name][1] for name in rest)
    return [*rows, {"operator": "others", "share": sum(spent[name][0] for name in rest) / whole, "calls": calls}]


def profiles(work: Work) -> list[dict[str, Any]]:
    """Operators of the bare loop and of the bare forward pass, each in the arithmetic that we choose for the device.

    Everything besides them is what the ratios of the other parts show.
    """
    parts: dict[str, Contender] = {
        "training": BareLoop(work, usual_limit(work.device)),
        "evaluation": BareForward(work, evaluation_limit(work.device)),
    }
    return [{"of": name, **row} for name, part in parts.items() for row in operators(part, work.device)]
