"""Blocks by name, and how one is built."""

from collections.abc import Callable, Sequence
from typing import Any

from metaseg.config import ConfigError
from metaseg.networks.block_name import BlockName, name_block
from metaseg.networks.block_source import Code
from metaseg.networks.blocks.base import ChannelModulation
from metaseg.networks.blocks.conditional_batch_norm import ConditionalBatchNorm
from metaseg.networks.blocks.convolutional_attention import ConvolutionalAttention, MetadataConvolutionalAttention
from metaseg.networks.blocks.film import FeatureWiseLinearModulation
from metaseg.networks.blocks.fused_squeeze_excitation import FusedSqueezeExcitation
from metaseg.networks.blocks.identity import Identity
from metaseg.networks.blocks.ivadomed_film import IvadomedFiLM, TiedIvadomedFiLM
from metaseg.networks.blocks.matched import MatchedSqueezeExcitation
from metaseg.networks.blocks.metadata_channels import MetadataChannels
from metaseg.networks.blocks.metadata_excitation import MetadataExcitation, SqueezeMetadataExcitation
from metaseg.networks.blocks.one_control import ComplexControl, SimpleControl
from metaseg.networks.blocks.squeeze_excitation import SqueezeExcitation
from metaseg.networks.mlp import MLPConfig

BLOCKS: dict[str, type[ChannelModulation]] = {
    "none": Identity,
    "se": SqueezeExcitation,
    "se-matched": MatchedSqueezeExcitation,
    "me": MetadataExcitation,
    "sme": SqueezeMetadataExcitation,
    "film": FeatureWiseLinearModulation,
    "film-ivadomed": IvadomedFiLM,
    "film-ivadomed-tied": TiedIvadomedFiLM,
    "cunet-simple": SimpleControl,
    "cunet-complex": ComplexControl,
    "cbn": ConditionalBatchNorm,
    "cbam": ConvolutionalAttention,
    "cbam-metadata": MetadataConvolutionalAttention,
    "fuse": FusedSqueezeExcitation,
    "concat": MetadataChannels,
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
    block: str | type[ChannelModulation],
    channels: int,
    metadata_size: int,
    mlp: MLPConfig | None = None,
    dims: int = 2,
) -> ChannelModulation:
    """Build a channel-modulation block; one given as a class gets the defaults of its settings.

    Args:
        block: key of `BLOCKS`, or a class of your own.
        channels: C of the feature maps.
        metadata_size: M, elements of a sample's metadata vector; 0 where there is none.
        mlp: settings of the block's MLP, by default those of `MLPConfig`.
        dims: spatial dimensions of the feature maps, 2 or 3.

    Returns:
        A module that maps feature maps `(N, C, H, W)` and metadata `(N, M)` to `(N, C, H, W)`; `(N, C, D, H, W)` for 3
        `dims`.

    Raises:
        ConfigError: the name is unknown, the block needs metadata and `metadata_size` is 0, or other `dims`.

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
    if dims not in (2, 3):
        raise ConfigError(f"dims is {dims}; expected 2 for images or 3 for volumes")
    make: Callable[..., ChannelModulation] = found
    more = {"dims": dims} if found.sized_by_dims else {}
    if found.settings is None:
        return make(channels, metadata_size, mlp or MLPConfig(), **more)
    settings = found.settings() if isinstance(block, type) else block_name(block).settings
    return make(channels, metadata_size, mlp or MLPConfig(), settings, **more)
