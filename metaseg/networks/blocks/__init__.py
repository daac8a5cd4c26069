"""Channel-modulation blocks: given feature maps and a metadata vector per sample, re-weight the channels.

Every block is a `ChannelModulation`; those of metaseg are listed by name in `BLOCKS`, and `build_block` makes one. To
add a block to metaseg, write one file here and one line in that list (`registry.py`): it then passes the same contract
tests as all others. A study's own block needs no line: an arm takes its class (docs/how-to/own-study.md).
"""

from metaseg.networks.blocks.base import MLP_FIELDS, ChannelModulation, channelwise, squeeze, tie_blocks
from metaseg.networks.blocks.conditional_batch_norm import ConditionalBatchNorm
from metaseg.networks.blocks.convolutional_attention import ConvolutionalAttention, MetadataConvolutionalAttention
from metaseg.networks.blocks.film import FeatureWiseLinearModulation
from metaseg.networks.blocks.fused_squeeze_excitation import FusedSqueezeExcitation
from metaseg.networks.blocks.identity import Identity
from metaseg.networks.blocks.ivadomed_film import IvadomedFiLM, TiedIvadomedFiLM
from metaseg.networks.blocks.matched import Matched, MatchedSqueezeExcitation
from metaseg.networks.blocks.metadata_channels import MetadataChannels
from metaseg.networks.blocks.metadata_excitation import MetadataExcitation, SqueezeMetadataExcitation
from metaseg.networks.blocks.one_control import ComplexControl, SimpleControl
from metaseg.networks.blocks.registry import BLOCKS, block_class, block_name, build_block
from metaseg.networks.blocks.squeeze_excitation import SqueezeExcitation
from metaseg.networks.blocks.tied import TiedModulation

__all__ = [
    "BLOCKS",
    "MLP_FIELDS",
    "ChannelModulation",
    "ComplexControl",
    "ConditionalBatchNorm",
    "ConvolutionalAttention",
    "FeatureWiseLinearModulation",
    "FusedSqueezeExcitation",
    "Identity",
    "IvadomedFiLM",
    "Matched",
    "MatchedSqueezeExcitation",
    "MetadataChannels",
    "MetadataConvolutionalAttention",
    "MetadataExcitation",
    "SimpleControl",
    "SqueezeExcitation",
    "SqueezeMetadataExcitation",
    "TiedIvadomedFiLM",
    "TiedModulation",
    "block_class",
    "block_name",
    "build_block",
    "channelwise",
    "squeeze",
    "tie_blocks",
]
