"""Squeeze-and-excitation with two ways to squeeze."""

from torch import Tensor

from metaseg.networks.blocks.base import ChannelModulation, channelwise, squeeze, squeeze_max
from metaseg.networks.mlp import MLPConfig, excitation


class FusedSqueezeExcitation(ChannelModulation):
    """`fuse`: `se` whose squeeze is the product of average and maximum, after FuSENet (Roy et al. 2020).

    Gates `sigmoid(W2 relu(W1 (average of x * maximum of x) + b1) + b2)`, average and maximum over pixels, multiplied
    channel by channel. Metadata is ignored.

    FuSENet's summary says that global average and maximum pooling are fused bilinearly before the excitation. The
    paper's formula couldn't be checked: the product of each channel with itself, the cheapest bilinear fusion, is this
    project's reading. FuSENet is a residual network for hyperspectral images; here only its block is meant.
    """

    def __init__(self, channels: int, metadata_size: int, mlp: MLPConfig) -> None:
        super().__init__(channels, metadata_size, mlp)
        self.excitation = excitation(channels, self.hidden, channels, mlp)

    def forward(self, features: Tensor, metadata: Tensor) -> Tensor:
        """Scale each channel by a gate in (0, 1) computed from its average and maximum."""
        fused = squeeze(features) * squeeze_max(features)
        return features * channelwise(self.excitation(fused), features.ndim - 2)
