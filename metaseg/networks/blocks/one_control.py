"""Conditioned-U-Net's modulation: one control network for all blocks (Meseguer-Brocal and Peeters 2019)."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from metaseg.networks.blocks.base import MLP_FIELDS, channelwise
from metaseg.networks.blocks.tied import TiedModulation
from metaseg.networks.mlp import MLPConfig


def control(inputs: int, hidden: Sequence[int]) -> nn.Sequential:
    """The hidden layers of the control network: `(N, inputs)` to `(N, hidden[-1])`."""
    return nn.Sequential(*(part for sizes in pairwise([inputs, *hidden]) for part in (nn.Linear(*sizes), nn.ReLU())))


class SimpleControl(TiedModulation):
    """`cunet-simple`: one scale and one shift for all channels of a layer, from a control network.

    `gamma * x + beta` with two numbers a sample and layer (the paper's simple FiLM layer, section 3.1). Hidden layers
    of 16, 64 and 256 units, in common to all blocks, embed the metadata vector; each block reads its gamma and beta off
    by a linear layer of its own (dense control network, section 3.2).

    Otherwise than there: no dropout and no batch normalisation in the control network, the weights start as PyTorch's
    do, and gamma - 1 is what is predicted, so that features pass at the start. The paper has these blocks in the
    encoder alone, between normalisation and activation: arms put them into the encoder, and `modulate` says where in a
    level.
    """

    needs_metadata = True
    unused = MLP_FIELDS

    def __init__(self, channels: int, metadata_size: int, mlp: MLPConfig) -> None:
        super().__init__(channels, metadata_size, mlp)
        self.shared = control(metadata_size, (16, 64, 256))
        self.output = nn.Linear(256, 2)

    def forward(self, features: Tensor, metadata: Tensor) -> Tensor:
        """Scale and shift all channels alike, by amounts computed from metadata."""
        dgamma, beta = channelwise(self.output(self.common(metadata)), features.ndim - 2).chunk(2, dim=1)
        return (1 + dgamma) * features + beta


class ComplexControl(TiedModulation):
    """`cunet-complex`: a scale and a shift for each channel, from a control network.

    As `cunet-simple`, with 2 C numbers a sample and layer (the paper's complex FiLM layer) and hidden layers of 16, 128
    and 1024 units.
    """

    needs_metadata = True
    unused = MLP_FIELDS

    def __init__(self, channels: int, metadata_size: int, mlp: MLPConfig) -> None:
        super().__init__(channels, metadata_size, mlp)
        self.shared = control(metadata_size, (16, 128, 1024))
        self.output = nn.Linear(1024, 2 * channels)

    def forward(self, features: Tensor, metadata: Tensor) -> Tensor:
        """Scale and shift each channel by amounts computed from metadata."""
        dgamma, beta = channelwise(self.output(self.common(metadata)), features.ndim - 2).chunk(2, dim=1)
        return (1 + dgamma) * features + beta
