"""The paper's blocks: squeeze-and-excitation that sees metadata, instead of features or beside them."""

import torch
from torch import Tensor

from metaseg.networks.blocks.base import ChannelModulation, channelwise, squeeze
from metaseg.networks.mlp import MLPConfig, excitation


class MetadataExcitation(ChannelModulation):
    """`me`: as `se`, but metadata alone replaces the squeezed features (paper, section 2.1)."""

    needs_metadata = True

    def __init__(self, channels: int, metadata_size: int, mlp: MLPConfig) -> None:
        super().__init__(channels, metadata_size, mlp)
        self.excitation = excitation(metadata_size, self.hidden, channels, mlp)

    def forward(self, features: Tensor, metadata: Tensor) -> Tensor:
        """Scale each channel by a gate in (0, 1) computed from metadata."""
        return features * channelwise(self.excitation(metadata), features.ndim - 2)


class SqueezeMetadataExcitation(ChannelModulation):
    """`sme`: as `se`, with metadata concatenated to the squeezed features (paper, section 2.1 and figure 1)."""

    needs_metadata = True

    def __init__(self, channels: int, metadata_size: int, mlp: MLPConfig) -> None:
        super().__init__(channels, metadata_size, mlp)
        self.excitation = excitation(channels + metadata_size, self.hidden, channels, mlp)

    def forward(self, features: Tensor, metadata: Tensor) -> Tensor:
        """Scale each channel by a gate in (0, 1) computed from squeezed features and metadata together."""
        both = torch.cat([squeeze(features), metadata.to(features.dtype)], dim=1)
        return features * channelwise(self.excitation(both), features.ndim - 2)
