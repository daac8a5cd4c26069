"""FiLM as the ivadomed toolbox has it."""

import torch
from torch import Tensor, nn

from metaseg.networks.blocks.base import MLP_FIELDS, ChannelModulation, channelwise
from metaseg.networks.blocks.tied import TiedModulation
from metaseg.networks.mlp import MLPConfig


class IvadomedFiLM(ChannelModulation):
    """`film-ivadomed`: FiLM whose generator ends in a sigmoid, so gamma and beta lie in (0, 1) (Lemay et al. 2021).

    The generator is ivadomed's and ignores `mlp`: two hidden layers of 64 and 16 units, each followed by a sigmoid.
    ivadomed also shares weights of the hidden layers between generators (`film-ivadomed-tied`); here each block has
    its own.
    """

    needs_metadata = True
    unused = MLP_FIELDS

    def __init__(self, channels: int, metadata_size: int, mlp: MLPConfig) -> None:
        super().__init__(channels, metadata_size, mlp)
        self.generator = nn.Sequential(
            nn.Linear(metadata_size, 64), nn.Sigmoid(), nn.Linear(64, 16), nn.Sigmoid(),
            nn.Linear(16, 2 * channels), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, features: Tensor, metadata: Tensor) -> Tensor:
        """Scale and shift each channel by amounts in (0, 1) computed from metadata."""
        gamma, beta = channelwise(self.generator(metadata), features.ndim - 2).chunk(2, dim=1)
        return gamma * features + beta


class TiedIvadomedFiLM(TiedModulation):
    """`film-ivadomed-tied`: `film-ivadomed` with hidden weights in common to all blocks, as ivadomed has them.

    `[gamma, beta] = sigmoid(V sigmoid(W2 sigmoid(W1 m + b1) + b2) + c)`, output `gamma * x + beta`. W1 and W2 are the
    network's; b1, b2, V and c are the block's own. So it is in ivadomed's code (`FiLMgenerator`), whose layers hand the
    two weights on to each other; Lemay et al. 2021 describe the generator.
    """

    needs_metadata = True
    unused = MLP_FIELDS

    def __init__(self, channels: int, metadata_size: int, mlp: MLPConfig) -> None:
        super().__init__(channels, metadata_size, mlp)
        first, second = nn.Linear(metadata_size, 64), nn.Linear(64, 16)
        self.biases = nn.ParameterList([first.bias, second.bias])
        first.bias = second.bias = None  # type: ignore[assignment]
        self.shared = nn.Sequential(first, second)
        self.output = nn.Linear(16, 2 * channels)

    def forward(self, features: Tensor, metadata: Tensor) -> Tensor:
        """Scale and shift each channel by amounts in (0, 1) computed from metadata."""
        hidden = metadata
        for layer, bias in zip(self.common.children(), self.biases, strict=True):
            hidden = torch.sigmoid(layer(hidden) + bias)
        generated = channelwise(torch.sigmoid(self.output(hidden)), features.ndim - 2)
        gamma, beta = generated.chunk(2, dim=1)
        return gamma * features + beta
