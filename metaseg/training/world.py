"""This process's place among the workers of a run."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class World:
    """Rank and number of the workers that train one run together; (0, 1) outside a process group."""

    rank: int
    size: int

    @classmethod
    def current(cls) -> "World":
        """The current process group's, of any backend."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls(0, 1)

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of all workers' `tensor`, in place; every worker must call it."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def gather(self, value: float) -> list[float]:
        """All workers' `value`, in the order of their ranks; every worker must call it."""
        values: list[float] = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value)
        return values

    def agree(self, decision: bool) -> bool:
        """The first worker's `decision`; every worker must call it."""
        decisions = [decision]
        if self.size > 1:
            dist.broadcast_object_list(decisions, src=0)
        return decisions[0]


def half_precision(device: torch.device) -> torch.dtype | None:
    """The type of mixed precision: bfloat16 on GPUs whose hardware has it, else float16; None where there is no GPU."""
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def autocast(device: torch.device) -> torch.autocast:
    """Mixed precision on GPUs, full precision elsewhere."""
    half = half_precision(device)
    return torch.autocast(device.type, dtype=half or torch.bfloat16, enabled=half is not None)


@contextlib.contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """Compute with one thread on a CPU: sums then have one order, and a run the same bits wherever it is called."""
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
