"""The paper's network on a large device: images per second, share of peak, memory, and several runs packed on it."""

import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.training.bare import BareLoop, Dtype, wait
from benchmarks.training.ours import Ours
from benchmarks.training.parallel import rate
from benchmarks.training.rounds import Spread, interleaved, rates, ratios
from benchmarks.training.trainers import OURS, usual_limit
from benchmarks.training.work import Size, Work, make_work
from metaseg.cli.presets import PAPER_NETWORK

PAPER_SIDES = (512, 1080)
PACKED = (1, 2, 4, 8)


@dataclass(frozen=True)
class Peak:
    """Speed of the device when it multiplies two square matrices: no part of a network is faster."""

    side: int = 8192
    products: int = 20

    def measure(self, device: torch.device, dtype: Dtype) -> float:
        """FLOP/s."""
        matrix = torch.randn(self.side, self.side, device=device, dtype=getattr(torch, dtype))
        _ = matrix @ matrix  # warms up
        wait(device)
        started = time.perf_counter()
        for _ in range(self.products):
            _ = matrix @ matrix
        wait(device)
        return 2 * self.side**3 * self.products / (time.perf_counter() - started)


def flops(loop: BareLoop) -> float:
    """Operations per image, forward and backward: two for each multiplication of convolutions and matrix products."""
    with FlopCounterMode(display=False) as counter:
        images = loop.lap().images
    return counter.get_total_flops() / images


def paper_size(side: int) -> Size:
    """Whole images, the paper's network, batches of 8."""
    return Size(side=side, images=126, network=PAPER_NETWORK, batch=8, crop=side)


def sizes(
    these: Sequence[Size], device: torch.device, threads: int, rounds: int, peak: Peak = Peak()
) -> list[dict[str, Any]]:
    """A row a size: our training beside its bare loop.

    `share_of_peak` is of the FLOP/s that the product of two large matrices reaches, in the same type; `memory` the most
    bytes that our training held on a GPU.
    """
    rows: list[dict[str, Any]] = []
    for size in these:
        about = {"side": size.crop, "batch": size.batch, "width": size.network.width}
        with tempfile.TemporaryDirectory(prefix="metaseg-benchmark-") as folder:
            try:
                rows.append(about | _one_size(make_work(Path(folder), size, device, threads), rounds, peak))
            except torch.OutOfMemoryError as error:
                rows.append(about | {"not_measured": str(error).partition(". ")[0]})
    return rows


def _one_size(work: Work, rounds: int, peak: Peak) -> dict[str, Any]:
    limit = usual_limit(work.device)
    memory = _memory(work)
    contenders = {OURS: Ours(work, work.config()), "bare": BareLoop(work, limit)}
    try:
        laps = interleaved(contenders, rounds)
    finally:
        for contender in contenders.values():
            contender.close()
    an_image, most = flops(BareLoop(work, limit)), peak.measure(work.device, limit.dtype)
    speed = rates(laps[OURS])
    return {
        "arithmetic": str(limit), "images_per_second": vars(Spread.of(speed)),
        "ratio": vars(Spread.of(ratios(laps[OURS], laps["bare"]))), "flops_an_image": an_image,
        "peak_flops_per_second": most, "share_of_peak": vars(Spread.of([each * an_image / most for each in speed])),
        "memory": memory,
    }  # fmt: skip


def _memory(work: Work) -> int | None:
    """The most bytes that an epoch of ours holds on a GPU, its images and validation included; None on a CPU."""
    if work.device.type != "cuda":
        return None
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    ours = Ours(work, work.config())
    ours.lap()
    ours.close()
    return torch.cuda.max_memory_allocated()


def packing(work: Work, counts: Sequence[int], epochs: int, rounds: int) -> list[dict[str, Any]]:
    """A row a number of runs that share one device, each in a process of its own: crops a second of all together."""
    device = "cuda:0" if work.device.type == "cuda" else work.device.type
    config = work.config(epochs=epochs, validate_every=epochs)
    measured: dict[int, list[float]] = {count: [] for count in counts}
    shuffled, order = random.Random(0), list(counts)
    for _ in range(rounds):
        shuffled.shuffle(order)
        for count in order:
            measured[count].append(rate(work, config, count, together=False, device=device))
    alone = measured[counts[0]]
    return [
        {
            "runs": count, "images_per_second": vars(Spread.of(found)),
            "of_the_first": vars(Spread.of([each / one for each, one in zip(found, alone, strict=True)])),
        }
        for count, found in measured.items()
    ]  # fmt: skip
