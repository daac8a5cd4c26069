"""A bare training step of a small network, launched kernel by kernel, compiled, or captured once in a CUDA graph."""

import time
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.training.bare import Arithmetic, BareLoop, precision, wait
from benchmarks.training.contender import Contender
from benchmarks.training.ours import Ours
from benchmarks.training.work import Work
from metaseg.training.losses import segmentation_loss
from metaseg.training.step import Capture, on_gpu

STEPS = 200
"""Steps of a measurement."""


@dataclass(frozen=True)
class Speed:
    """Speed of a way of taking steps."""

    way: str
    images_per_second: float
    warm_up_seconds: float


def launches(work: Work, arithmetic: Arithmetic, compiled: bool) -> list[dict[str, Any]]:
    """A row a way: eager, replayed from a graph where there is a GPU, our training in both ways, and compiled if asked
    for."""
    rows = [_eager(work, arithmetic), _ours(work, None)]
    if work.device.type == "cuda":
        rows += [_graph(work, arithmetic), _ours(work, on_gpu)]
    if compiled:
        rows.append(_eager(work, Arithmetic(arithmetic.dtype, arithmetic.channels_last, compiled=True)))
    return [vars(row) for row in rows]


def _ours(work: Work, capture: Capture | None) -> Speed:
    """Our training, with its data path; the first epoch, which isn't counted, also captures."""
    started = time.perf_counter()
    ours = Ours(work, work.config(), capture=capture)
    try:
        return _timed("ours, launched" if capture is None else "ours, replayed", ours, work, started)
    finally:
        ours.close()


def _eager(work: Work, arithmetic: Arithmetic) -> Speed:
    started = time.perf_counter()
    return _timed(str(arithmetic), BareLoop(work, arithmetic), work, started)


def _timed(way: str, contender: Contender, work: Work, started: float) -> Speed:
    """The contender's speed over laps of `STEPS` steps and more; one before them warms up."""
    contender.lap()
    warm = time.perf_counter() - started
    images, seconds = 0, 0.0
    while images < STEPS * work.size.batch:
        lap = contender.lap()
        images, seconds = images + lap.images, seconds + lap.seconds
    return Speed(way, images / seconds, warm)


def _graph(work: Work, arithmetic: Arithmetic) -> Speed:
    """The same step, captured once and replayed: no kernel is launched by Python."""
    started = time.perf_counter()
    loop = BareLoop(work, arithmetic)
    optimizer = torch.optim.Adam(loop.model.parameters(), lr=1e-4, fused=True, capturable=True)
    scale = 2.0**10 if arithmetic.dtype == "float16" else 1.0

    def step() -> None:
        with precision(work.device, arithmetic.dtype):
            logits = loop.model(loop.image, loop.metadata)
        loss = segmentation_loss(logits, loop.target).mean() * scale
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    optimizer.zero_grad(set_to_none=True)
    with torch.cuda.graph(graph):
        step()
    wait(work.device)
    warm = time.perf_counter() - started
    started = time.perf_counter()
    for _ in range(STEPS):
        graph.replay()
    wait(work.device)
    return Speed(f"{arithmetic}, CUDA graph", STEPS * work.size.batch / (time.perf_counter() - started), warm)
