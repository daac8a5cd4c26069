"""Channel-modulation blocks: given feature maps and a metadata vector per sample, re-weight the channels.

Every block is a `ChannelModulation` and is listed by name in `BLOCKS`; `build_block` makes one. To add a block, write
one class and one line in that list: it then passes through the same contract tests as all others.
"""

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from metaseg.config import ConfigError


class ChannelModulation(nn.Module, ABC):
    """Base of all blocks: maps `(N, C, H, W)` feature maps to the same shape, one modulation per sample and channel.

    Args:
        channels: C of the feature maps.
        metadata_size: M, elements of a sample's metadata vector; 0 when the arm has none.
        reduction: ratio of C to the hidden units of the block's perceptron.
    """

    needs_metadata: ClassVar[bool] = False
    """Whether the block can't be built without metadata."""

    def __init__(self, channels: int, metadata_size: int, reduction: int) -> None:
        super().__init__()
        self.channels = channels
        self.metadata_size = metadata_size
        self.hidden = max(1, channels // reduction)

    @abstractmethod
    def forward(self, features: Tensor, metadata: Tensor) -> Tensor:
        """Modulate `features` `(N, C, H, W)` by `metadata` `(N, M)`; returns `(N, C, H, W)`."""


def excitation(inputs: int, hidden: int, channels: int) -> nn.Sequential:
    """Perceptron with gates in (0, 1) at its end: `(N, inputs)` to `(N, channels)` (Hu et al. 2020, eq. 3)."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid())


def squeeze(features: Tensor) -> Tensor:
    """Mean of each channel: `(N, C, H, W)` to `(N, C)` (Hu et al. 2020, eq. 2)."""
    return features.mean(dim=(2, 3))


def channelwise(values: Tensor) -> Tensor:
    """`(N, C)` to `(N, C, 1, 1)`: one value for all pixels of a channel."""
    return values[:, :, None, None]


class Identity(ChannelModulation):
    """`none`: a plain U-Net; features pass unchanged and metadata is not seen."""

    def forward(self, features: Tensor, metadata: Tensor) -> Tensor:
        """Return `features` as they are."""
        return features


class SqueezeExcitation(ChannelModulation):
    """`se`: channels gated by what the feature maps hold (Hu et al. 2020), not by metadata. The paper's baseline."""

    def __init__(self, channels: int, metadata_size: int, reduction: int) -> None:
        super().__init__(channels, metadata_size, reduction)
        self.excitation = excitation(channels, self.hidden, channels)

    def forward(self, features: Tensor, metadata: Tensor) -> Tensor:
        """Scale each channel by a gate in (0, 1) computed from the squeezed features."""
        return features * channelwise(self.excitation(squeeze(features)))


class MatchedSqueezeExcitation(ChannelModulation):
    """`se-matched`: `se` with as many parameters as `sme` has, or just more: a control for capacity.

    It doesn't see metadata; their size only says how many units its hidden layer gets more.
    """

    def __init__(self, channels: int, metadata_size: int, reduction: int) -> None:
        super().__init__(channels, metadata_size, reduction)
        self.hidden = math.ceil(self.hidden * (2 * channels + 1 + metadata_size) / (2 * channels + 1))
        self.excitation = excitation(channels, self.hidden, channels)

    def forward(self, features: Tensor, metadata: Tensor) -> Tensor:
        """Scale each channel by a gate in (0, 1) computed from the squeezed features."""
        return features * channelwise(self.excitation(squeeze(features)))


class MetadataExcitation(ChannelModulation):
    """`me`: as `se`, but metadata alone replaces the squeezed features (paper, section 2.1)."""

    needs_metadata = True

    def __init__(self, channels: int, metadata_size: int, reduction: int) -> None:
        super().__init__(channels, metadata_size, reduction)
        self.excitation = excitation(metadata_size, self.hidden, channels)

    def forward(self, features: Tensor, metadata: Tensor) -> Tensor:
        """Scale each channel by a gate in (0, 1) computed from metadata."""
        return features * channelwise(self.excitation(metadata))


class SqueezeMetadataExcitation(ChannelModulation):
    """`sme`: as `se`, with metadata concatenated to the squeezed features (paper, section 2.1 and figure 1)."""

    needs_metadata = True

    def __init__(self, channels: int, metadata_size: int, reduction: int) -> None:
        super().__init__(channels, metadata_size, reduction)
        self.excitation = excitation(channels + metadata_size, self.hidden, channels)

    def forward(self, features: Tensor, metadata: Tensor) -> Tensor:
        """Scale each channel by a gate in (0, 1) computed from squeezed features and metadata together."""
        both = torch.cat([squeeze(features), metadata.to(features.dtype)], dim=1)
        return features * channelwise(self.excitation(both))


class FeatureWiseLinearModulation(ChannelModulation):
    """`film`: an affine map of each channel, `(1 + dgamma) * x + beta`, unbounded, from metadata (Perez et al. 2018).

    The generator is a perceptron of the same hidden size as the excitation blocks', so that arms compare the kind of
    modulation and not its capacity. Predicting `gamma - 1` keeps features alive at the start (Perez et al., section
    7.2).
    """

    needs_metadata = True

    def __init__(self, channels: int, metadata_size: int, reduction: int) -> None:
        super().__init__(channels, metadata_size, reduction)
        self.generator = nn.Sequential(
            nn.Linear(metadata_size, self.hidden), nn.ReLU(), nn.Linear(self.hidden, 2 * channels)
        )

    def forward(self, features: Tensor, metadata: Tensor) -> Tensor:
        """Scale and shift each channel by amounts computed from metadata."""
        dgamma, beta = channelwise(self.generator(metadata)).chunk(2, dim=1)
        return (1 + dgamma) * features + beta


class IvadomedFiLM(ChannelModulation):
    """`film-ivadomed`: FiLM whose generator ends in a sigmoid, so gamma and beta lie in (0, 1) (Lemay et al. 2021).

    The generator is ivadomed's: two hidden layers of 64 and 16 units, each followed by a sigmoid, whatever the
    reduction ratio. ivadomed also ties the generators' hidden layers to each other; here each block keeps its own.
    """

    needs_metadata = True

    def __init__(self, channels: int, metadata_size: int, reduction: int) -> None:
        super().__init__(channels, metadata_size, reduction)
        self.generator = nn.Sequential(
            nn.Linear(metadata_size, 64), nn.Sigmoid(), nn.Linear(64, 16), nn.Sigmoid(),
            nn.Linear(16, 2 * channels), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, features: Tensor, metadata: Tensor) -> Tensor:
        """Scale and shift each channel by amounts in (0, 1) computed from metadata."""
        gamma, beta = channelwise(self.generator(metadata)).chunk(2, dim=1)
        return gamma * features + beta


BLOCKS: dict[str, type[ChannelModulation]] = {
    "none": Identity,
    "se": SqueezeExcitation,
    "se-matched": MatchedSqueezeExcitation,
    "me": MetadataExcitation,
    "sme": SqueezeMetadataExcitation,
    "film": FeatureWiseLinearModulation,
    "film-ivadomed": IvadomedFiLM,
}


def block_class(name: str) -> type[ChannelModulation]:
    """Look a block up by name; raises `ConfigError` that lists the known ones."""
    if name not in BLOCKS:
        raise ConfigError(f"unknown block {name!r}; known: {', '.join(BLOCKS)}")
    return BLOCKS[name]


def build_block(name: str, channels: int, metadata_size: int, reduction: int) -> ChannelModulation:
    """Build the block called `name`; raises `ConfigError` when it is unknown or lacks the metadata that it needs."""
    block = block_class(name)
    if block.needs_metadata and metadata_size == 0:
        raise ConfigError(f"block {name!r} needs metadata, but the metadata vector has 0 elements (mode 'absent'?)")
    return block(channels, metadata_size, reduction)
