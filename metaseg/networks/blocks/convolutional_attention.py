"""Attention over channels, then over pixels."""

import torch
from torch import Tensor, nn

from metaseg.networks.blocks.base import ChannelModulation, channelwise, squeeze, squeeze_max
from metaseg.networks.mlp import MLPConfig, hidden_and_linear


class ConvolutionalAttention(ChannelModulation):
    """`cbam`: convolutional block attention module (CBAM, Woo et al. 2018).

    Channels first (eq. 2): `x' = sigmoid(MLP(average of x) + MLP(maximum of x)) * x`, average and maximum over pixels,
    one MLP for both. Then pixels (eq. 3): `sigmoid(convolution of [mean of x', maximum of x']) * x'`, mean and maximum
    over channels, kernel 7 x 7 (7 x 7 x 7 in volumes). Metadata is ignored.

    The authors' code follows the convolution with a batch normalisation, which the paper's formula doesn't have, nor
    this: a sample doesn't depend on others.
    """

    sized_by_dims = True

    def __init__(self, channels: int, metadata_size: int, mlp: MLPConfig, dims: int = 2) -> None:
        super().__init__(channels, metadata_size, mlp)
        self.channel_attention = hidden_and_linear(self.descriptor_size, self.hidden, channels, mlp)
        convolution = nn.Conv2d if dims == 2 else nn.Conv3d
        self.spatial_attention = convolution(2, 1, kernel_size=7, padding=3)

    @property
    def descriptor_size(self) -> int:
        """Elements of what the MLP sees of a sample."""
        return self.channels

    def descriptor(self, squeezed: Tensor, metadata: Tensor) -> Tensor:
        """Input of the MLP, one a sample: `(N, descriptor_size)`, from `squeezed` `(N, C)` and `metadata` `(N, M)`."""
        return squeezed

    def forward(self, features: Tensor, metadata: Tensor) -> Tensor:
        """Scale each channel by a gate in (0, 1), then each pixel by another."""
        logits = [
            self.channel_attention(self.descriptor(squeezed, metadata))
            for squeezed in (squeeze(features), squeeze_max(features))
        ]
        attended = channelwise(torch.sigmoid(logits[0] + logits[1]), features.ndim - 2) * features
        maps = torch.cat([attended.mean(dim=1, keepdim=True), attended.amax(dim=1, keepdim=True)], dim=1)
        return torch.sigmoid(self.spatial_attention(maps)) * attended


class MetadataConvolutionalAttention(ConvolutionalAttention):
    """`cbam-metadata`: `cbam` whose channel attention sees metadata beside the features.

    `x' = sigmoid(MLP([average of x, m]) + MLP([maximum of x, m])) * x`; the rest is as in `cbam`. Metadata enter as in
    `sme`; this isn't from Woo et al.
    """

    needs_metadata = True

    @property
    def descriptor_size(self) -> int:
        """Elements of what the MLP sees of a sample."""
        return self.channels + self.metadata_size

    def descriptor(self, squeezed: Tensor, metadata: Tensor) -> Tensor:
        """Squeezed features and metadata: `(N, C + M)`."""
        return torch.cat([squeezed, metadata.to(squeezed.dtype)], dim=1)
