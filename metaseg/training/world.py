"""The process group of a run: this process's rank, and operations over all workers."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class World:
    """Rank and number of the workers that train one run together; (0, 1) outside a process group."""

    rank: int
    size: int

    @classmethod
    def current(cls) -> "World":
        """The world of the current process group, of any backend."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls(0, 1)

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of all workers' `tensor`, in place; every worker must call it."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Give all workers the first one's `tensors`, in place; every worker must call it."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

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
