"""Blocks that have layers in common with all others of their network."""

from typing import Self

from torch import nn

from metaseg.networks.blocks.base import ChannelModulation
from metaseg.networks.mlp import MLPConfig


class TiedModulation(ChannelModulation):
    """Base of blocks that use some layers together with all other blocks of their class in a network.

    A block builds these layers as `shared`. `tie_blocks` leaves them to the network's first block and takes them from
    the others, which refer to the first from then on: they are one entry of `state_dict` and of `parameters`, and
    workers that train in parallel exchange their gradient once. A block on its own keeps its layers.
    """

    shared: nn.Module

    def __init__(self, channels: int, metadata_size: int, mlp: MLPConfig) -> None:
        super().__init__(channels, metadata_size, mlp)
        self._first: tuple[Self, ...] = ()  # in a tuple, so that it isn't registered as a part of this block

    @property
    def common(self) -> nn.Module:
        """The shared layers, wherever they are."""
        return self._first[0].shared if self._first else self.shared

    def tie(self, first: Self) -> None:
        """Use the shared layers of `first` from now on, and drop the block's own."""
        del self.shared
        self._first = (first,)

    def tied(self) -> tuple[nn.Parameter, ...]:
        """Parameters of the shared layers."""
        return tuple(self.common.parameters())
