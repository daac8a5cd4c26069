"""Channel-modulation blocks: given feature maps and a metadata vector per sample, re-weight the channels.

Every block is a `ChannelModulation`; those of metaseg are listed by name in `BLOCKS`, and `build_block` makes one. To
add a block to metaseg, write one class and one line in that list: it then passes the same contract tests as all others.
A study's own block needs no line here: an arm takes its class (docs/how-to/own-study.md).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from metaseg.config import ConfigError
from metaseg.networks.block_name import BlockName, name_block
from metaseg.networks.block_source import Code
from metaseg.networks.mlp import MLPConfig, excitation, excitation_parameters, hidden_and_linear


class ChannelModulation(nn.Module, ABC):
    """Base of all blocks: maps `(N, C, H, W)` feature maps to the same shape, one modulation per sample and channel.

    Args:
        channels: C of the feature maps.
        metadata_size: M, elements of a sample's metadata vector, or of its embedding; 0 when the arm has none.
        mlp: size and activation of the block's MLP.

    A block with `settings` of its own is called with an instance of them as a fourth argument.
    """

    needs_metadata: ClassVar[bool] = False
    """True if the block can't be built without metadata."""

    sized_by_metadata: ClassVar[bool] = False
    """True if the number of parameters depends on the size of metadata, although the block ignores their values."""

    unused: ClassVar[frozenset[str]] = frozenset()
    """Fields of `NetworkConfig` that change nothing in a network with this block. Sweeps don't search them."""

    settings: ClassVar[type[Any] | None] = None
    """Frozen dataclass of the block's own settings: numbers and text, with defaults. Only its run ids contain them."""

    implied_settings: ClassVar[Any] = None
    """Settings that the block's bare name stands for, if the store may have runs from before the block had settings."""

    def __init__(self, channels: int, metadata_size: int, mlp: MLPConfig) -> None:
        super().__init__()
        self.channels = channels
        self.metadata_size = metadata_size
        self.hidden = max(1, channels // mlp.reduction)

    @abstractmethod
    def forward(self, features: Tensor, metadata: Tensor) -> Tensor:
        """Modulate `features` `(N, C, H, W)` by `metadata` `(N, M)`; returns `(N, C, H, W)`."""


def squeeze(features: Tensor) -> Tensor:
    """Global average pooling: `(N, C, H, W)` to `(N, C)` (Hu et al. 2020, eq. 2)."""
    return features.mean(dim=(2, 3))


def channelwise(values: Tensor) -> Tensor:
    """Reshape `(N, C)` to `(N, C, 1, 1)`: one value for all pixels of a channel."""
    return values[:, :, None, None]


MLP_FIELDS = frozenset({"reduction", "hidden_layers", "activation"})
"""Fields of `NetworkConfig` that describe blocks' MLPs."""


class Identity(ChannelModulation):
    """`none`: a plain U-Net; features pass unchanged and metadata is ignored."""

    unused = MLP_FIELDS | {"positions", "modulate", "embedding"}

    def forward(self, features: Tensor, metadata: Tensor) -> Tensor:
        """Return `features` as they are."""
        return features


class SqueezeExcitation(ChannelModulation):
    """`se`: squeeze-and-excitation, gates computed from features alone (Hu et al. 2020). The paper's baseline."""

    def __init__(self, channels: int, metadata_size: int, mlp: MLPConfig) -> None:
        super().__init__(channels, metadata_size, mlp)
        self.excitation = excitation(channels, self.hidden, channels, mlp)

    def forward(self, features: Tensor, metadata: Tensor) -> Tensor:
        """Scale each channel by a gate in (0, 1) computed from the squeezed features."""
        return features * channelwise(self.excitation(squeeze(features)))


@dataclass(frozen=True)
class Matched:
    """Settings of `se-matched`."""

    block: "str | type[ChannelModulation]" = "sme"
    """The block whose number of parameters is matched: its name or its class."""

    def __post_init__(self) -> None:
        if isinstance(self.block, type):
            object.__setattr__(self, "block", block_name(self.block))


class MatchedSqueezeExcitation(ChannelModulation):
    """`se-matched`: `se` with at least as many parameters as another block, and barely more: a control for capacity.

    It ignores metadata; only their size counts, where the other block's number of parameters depends on it.
    """

    sized_by_metadata = True
    settings = Matched
    implied_settings = Matched("sme")

    def __init__(self, channels: int, metadata_size: int, mlp: MLPConfig, settings: Matched = Matched("sme")) -> None:
        super().__init__(channels, metadata_size, mlp)
        with torch.random.fork_rng(devices=[]), torch.device("meta"):  # to be counted only
            other = build_block(settings.block, channels, metadata_size, mlp)
        wanted = sum(weights.numel() for weights in other.parameters()) + (mlp.shared if other.needs_metadata else 0)
        self.hidden = 1
        while excitation_parameters(channels, self.hidden, channels, mlp) < wanted:
            self.hidden += 1
        self.excitation = excitation(channels, self.hidden, channels, mlp)

    def forward(self, features: Tensor, metadata: Tensor) -> Tensor:
        """Scale each channel by a gate in (0, 1) computed from the squeezed features."""
        return features * channelwise(self.excitation(squeeze(features)))


class MetadataExcitation(ChannelModulation):
    """`me`: as `se`, but metadata alone replaces the squeezed features (paper, section 2.1)."""

    needs_metadata = True

    def __init__(self, channels: int, metadata_size: int, mlp: MLPConfig) -> None:
        super().__init__(channels, metadata_size, mlp)
        self.excitation = excitation(metadata_size, self.hidden, channels, mlp)

    def forward(self, features: Tensor, metadata: Tensor) -> Tensor:
        """Scale each channel by a gate in (0, 1) computed from metadata."""
        return features * channelwise(self.excitation(metadata))


class SqueezeMetadataExcitation(ChannelModulation):
    """`sme`: as `se`, with metadata concatenated to the squeezed features (paper, section 2.1 and figure 1)."""

    needs_metadata = True

    def __init__(self, channels: int, metadata_size: int, mlp: MLPConfig) -> None:
        super().__init__(channels, metadata_size, mlp)
        self.excitation = excitation(channels + metadata_size, self.hidden, channels, mlp)

    def forward(self, features: Tensor, metadata: Tensor) -> Tensor:
        """Scale each channel by a gate in (0, 1) computed from squeezed features and metadata together."""
        both = torch.cat([squeeze(features), metadata.to(features.dtype)], dim=1)
        return features * channelwise(self.excitation(both))


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
        dgamma, beta = channelwise(self.generator(metadata)).chunk(2, dim=1)
        return (1 + dgamma) * features + beta


class IvadomedFiLM(ChannelModulation):
    """`film-ivadomed`: FiLM whose generator ends in a sigmoid, so gamma and beta lie in (0, 1) (Lemay et al. 2021).

    The generator is ivadomed's and ignores `mlp`: two hidden layers of 64 and 16 units, each followed by a sigmoid.
    ivadomed also shares the hidden layers between generators; here each block has its own.
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
"""Blocks by name: what `build_block` makes, and what an arm's `block` can be.

Example:
    >>> from metaseg import BLOCKS
    >>> BLOCKS["sme"].needs_metadata
    True
"""


def block_name(block: str | type[ChannelModulation], settings: Any = None, own: Sequence[Code] = ()) -> BlockName:
    """A block as a run's configuration names it.

    Args:
        block: key of `BLOCKS`, the text of such a name, or a class of your own.
        settings: instance of the block's `settings`; None for its defaults.
        own: code from outside that a text with a hash may mean.

    Raises:
        ConfigError: the block is unknown, or the settings aren't of its class.
    """
    return name_block(block, settings, BLOCKS, own)


def block_class(block: str | type[ChannelModulation]) -> type[ChannelModulation]:
    """The class of a block; raises `ConfigError` that lists the known names."""
    return block if isinstance(block, type) else block_name(block).block


def build_block(
    block: str | type[ChannelModulation], channels: int, metadata_size: int, mlp: MLPConfig | None = None
) -> ChannelModulation:
    """Build a channel-modulation block; one given as a class gets the defaults of its settings.

    Args:
        block: key of `BLOCKS`, or a class of your own.
        channels: C of the feature maps.
        metadata_size: M, elements of a sample's metadata vector; 0 where there is none.
        mlp: settings of the block's MLP, by default those of `MLPConfig`.

    Returns:
        A module that maps feature maps `(N, C, H, W)` and metadata `(N, M)` to `(N, C, H, W)`.

    Raises:
        ConfigError: the name is unknown, or the block needs metadata and `metadata_size` is 0.

    Example:
        >>> import torch
        >>> from metaseg import build_block
        >>> film = build_block("film", channels=16, metadata_size=3)
        >>> film(torch.ones(2, 16, 8, 8), torch.eye(3)[:2]).shape
        torch.Size([2, 16, 8, 8])
    """
    found = block_class(block)
    if found.needs_metadata and metadata_size == 0:
        raise ConfigError(
            f"block {str(block)!r} needs metadata, but the metadata vector has 0 elements (mode 'absent'?)"
        )
    make: Callable[..., ChannelModulation] = found
    if found.settings is None:
        return make(channels, metadata_size, mlp or MLPConfig())
    settings = found.settings() if isinstance(block, type) else block_name(block).settings
    return make(channels, metadata_size, mlp or MLPConfig(), settings)
