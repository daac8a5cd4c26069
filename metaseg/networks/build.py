"""A run's network: metaseg's U-Net, or whatever network its architecture names, with its blocks."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from torch import Tensor, nn

from metaseg.config import Architecture, ConfigError, NetworkConfig
from metaseg.networks.block_source import Code
from metaseg.networks.network_name import NetworkName, read_network_name
from metaseg.networks.segmenter import Segmenter, build_architecture
from metaseg.networks.unet import UNet
from metaseg.networks.weights import load_weights

DISTRIBUTIONS = {"smp": ("segmentation-models-pytorch", "timm"), "monai": ("monai",), "torchvision": ("torchvision",)}
"""Packages of a family of networks, as pip calls them."""


def build(
    channels: int,
    classes: int,
    block: str,
    metadata_size: int,
    network: NetworkConfig,
    *,
    heads: bool = False,
    architecture: Architecture | None = None,
) -> nn.Module:
    """Build a network with random weights.

    Args:
        channels: channels of the image.
        classes: number of foreground classes; one has one logit a pixel, several have one each and the background's.
        block: name of the block.
        metadata_size: M, elements of a sample's metadata vector.
        network: size of metaseg's own networks, and settings of blocks.
        heads: if True, metadata selects an output layer (metaseg's U-Net alone).
        architecture: the network; None for metaseg's U-Net.

    Returns:
        A module that maps an image `(N, channels, H, W)` and metadata `(N, M)` to logits `(N, 1 or 1 + classes, H, W)`.

    Raises:
        ConfigError: the network can't be built or conditioned so.
    """
    outputs = 1 if classes == 1 else 1 + classes
    if architecture is None:
        return UNet(channels, outputs, block, metadata_size, network, heads)
    if heads:
        raise ConfigError(f"network {architecture.network!r} has one output layer; expected metaseg's U-Net for heads")
    return build_architecture(architecture, channels, outputs, block, metadata_size, network)


def start_from(network: nn.Module, weights: Mapping[str, Tensor], architecture: Architecture) -> int:
    """Load trained weights into a network of `build`, by the keys of the network that blocks were put in.

    Returns:
        The number of tensors loaded.

    Raises:
        ConfigError: a key or shape that it hasn't.
    """
    if not isinstance(network, Segmenter):
        raise ConfigError("weights are given; expected them for networks from elsewhere alone")
    return load_weights(network.bare, weights, without_statistics=architecture.batch_norm == "group")


def is_from_elsewhere(architecture: Architecture | None) -> bool:
    """True for networks whose code isn't metaseg's."""
    if architecture is None:
        return False
    return not (isinstance(architecture.network, NetworkName) and architecture.network.native)


def package_versions(architecture: Architecture | None) -> dict[str, str]:
    """Versions of the packages that a network is from, by package."""
    family = "" if architecture is None else architecture.network.partition(".")[0]
    return {name: version(name) for name in DISTRIBUTIONS.get(family, ())}


def read_architecture(stored: Mapping[str, Any] | None, own: Sequence[Code] = ()) -> Architecture | None:
    """The architecture that a run's `config.json` describes; None where it describes none.

    Raises:
        ConfigError: the network is unknown, or its package isn't installed.
        MissingBlockError: its code is from outside metaseg and isn't in `own`.
    """
    if stored is None:
        return None
    network, places = read_network_name(stored["network"], own), tuple(stored["condition_at"])
    return Architecture(**{**stored, "network": network, "condition_at": places})
