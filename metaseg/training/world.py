"""This process's place among the workers of a run."""

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


def autocast(device: torch.device) -> torch.autocast:
    """Mixed precision on GPUs (bfloat16 where the hardware has it, else float16), full precision elsewhere."""
    half = torch.bfloat16 if device.type != "cuda" or torch.cuda.is_bf16_supported() else torch.float16
    return torch.autocast(device.type, dtype=half, enabled=device.type == "cuda")
