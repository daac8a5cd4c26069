"""A control for capacity: squeeze-and-excitation of another block's size."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from metaseg.networks.blocks.base import ChannelModulation, channelwise, squeeze
from metaseg.networks.mlp import MLPConfig, excitation, excitation_parameters


@dataclass(frozen=True)
class Matched:
    """Settings of `se-matched`."""

    block: "str | type[ChannelModulation]" = "sme"
    """The block whose number of parameters is matched: its name or its class."""

    def __post_init__(self) -> None:
        if isinstance(self.block, type):
            from metaseg.networks.blocks.registry import block_name  # which lists this block

            object.__setattr__(self, "block", block_name(self.block))


class MatchedSqueezeExcitation(ChannelModulation):
    """`se-matched`: `se` with at least as many parameters as another block, and barely more: a control for capacity.

    It ignores metadata; only their size counts, where the other block's number of parameters depends on it. Parameters
    that all blocks of a network share count in equal parts.
    """

    sized_by_metadata = True
    sized_by_dims = True
    settings = Matched
    implied_settings = Matched("sme")

    def __init__(
        self,
        channels: int,
        metadata_size: int,
        mlp: MLPConfig,
        settings: Matched = Matched("sme"),
        dims: int = 2,
    ) -> None:
        from metaseg.networks.blocks.registry import build_block  # which lists this block

        super().__init__(channels, metadata_size, mlp)
        with torch.random.fork_rng(devices=[]), torch.device("meta"):  # to be counted only
            other = build_block(settings.block, channels, metadata_size, mlp, dims)
        tied = sum(weights.numel() for weights in other.tied())
        wanted = sum(weights.numel() for weights in other.parameters()) - tied + math.ceil(tied / mlp.blocks)
        wanted += mlp.shared if other.needs_metadata else 0
        self.hidden = 1
        while excitation_parameters(channels, self.hidden, channels, mlp) < wanted:
            self.hidden += 1
        self.excitation = excitation(channels, self.hidden, channels, mlp)

    def forward(self, features: Tensor, metadata: Tensor) -> Tensor:
        """Scale each channel by a gate in (0, 1) computed from the squeezed features."""
        return features * channelwise(self.excitation(squeeze(features)), features.ndim - 2)
