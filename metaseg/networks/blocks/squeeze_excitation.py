"""Squeeze-and-excitation."""

from torch import Tensor

from metaseg.networks.blocks.base import ChannelModulation, channelwise, squeeze
from metaseg.networks.mlp import MLPConfig, excitation


class SqueezeExcitation(ChannelModulation):
    """`se`: squeeze-and-excitation, gates computed from features alone (Hu et al. 2020). The paper's baseline."""

    def __init__(self, channels: int, metadata_size: int, mlp: MLPConfig) -> None:
        super().__init__(channels, metadata_size, mlp)
        self.excitation = excitation(channels, self.hidden, channels, mlp)

    def forward(self, features: Tensor, metadata: Tensor) -> Tensor:
        """Scale each channel by a gate in (0, 1) computed from the squeezed features."""
        return features * channelwise(self.excitation(squeeze(features)), features.ndim - 2)
