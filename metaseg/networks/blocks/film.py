"""Feature-wise linear modulation."""

from torch import Tensor

from metaseg.networks.blocks.base import ChannelModulation, channelwise
from metaseg.networks.mlp import MLPConfig, hidden_and_linear


class FeatureWiseLinearModulation(ChannelModulation):
    """`film`: an affine map of each channel, `(1 + dgamma) * x + beta`, unbounded, from metadata (Perez et al. 2018).

    The generator is an MLP with the same hidden layers as the excitation blocks, so that arms compare the kind of
    modulation and not its capacity. It predicts `gamma - 1`, so that features pass at the start of training (Perez et
    al., section 7.2).
    """

    needs_metadata = True

    def __init__(self, channels: int, metadata_size: int, mlp: MLPConfig) -> None:
        super().__init__(channels, metadata_size, mlp)
        self.generator = hidden_and_linear(metadata_size, self.hidden, 2 * channels, mlp)

    def forward(self, features: Tensor, metadata: Tensor) -> Tensor:
        """Scale and shift each channel by amounts computed from metadata."""
        dgamma, beta = channelwise(self.generator(metadata), features.ndim - 2).chunk(2, dim=1)
        return (1 + dgamma) * features + beta
