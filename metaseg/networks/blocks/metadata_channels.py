"""Metadata as feature maps beside the others."""

import torch
from torch import Tensor, nn

from metaseg.networks.blocks.base import MLP_FIELDS, ChannelModulation, channelwise
from metaseg.networks.mlp import MLPConfig


def constant_maps(metadata: Tensor, features: Tensor) -> Tensor:
    """A map for each element of `metadata` `(N, M)`, the same at all pixels of `features`: `(N, M, *spatial)`."""
    values = channelwise(metadata.to(features.dtype), features.ndim - 2)
    return values.expand(-1, -1, *features.shape[2:])


class MetadataChannels(ChannelModulation):
    """`concat`: metadata concatenated to the features as constant maps, and a 1x1 convolution back to C channels.

    `W [x, m] + b` at each pixel: concatenation-based conditioning (Dumoulin et al., *Feature-wise transformations*,
    Distill 2018). The maps add the same amount to all pixels of a channel, so this shifts channels by metadata, and
    mixes them. The usual place is the bottleneck: an arm has `positions=("bottleneck",)`.
    """

    needs_metadata = True
    unused = MLP_FIELDS

    def __init__(self, channels: int, metadata_size: int, mlp: MLPConfig) -> None:
        super().__init__(channels, metadata_size, mlp)
        self.mix = nn.Conv1d(channels + metadata_size, channels, kernel_size=1)  # pixels in one dimension

    def forward(self, features: Tensor, metadata: Tensor) -> Tensor:
        """Mix the channels and the maps of metadata."""
        both = torch.cat([features, constant_maps(metadata, features)], dim=1)
        mixed: Tensor = self.mix(both.flatten(2))
        return mixed.reshape(features.shape)
