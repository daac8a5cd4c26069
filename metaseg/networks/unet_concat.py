"""A U-Net that sees metadata as constant channels beside the image's."""

import torch
from torch import Tensor

from metaseg.config import ConfigError, NetworkConfig
from metaseg.networks.blocks import ChannelModulation
from metaseg.networks.blocks.metadata_channels import constant_maps
from metaseg.networks.unet import UNet


class UNetConcat(UNet):
    """The U-Net whose first level gets the image and a map for each element of the metadata vector.

    A map has the same value at all pixels: concatenation-based conditioning at the input (Dumoulin et al.,
    *Feature-wise transformations*, Distill 2018). The first convolution alone is larger than the U-Net's. Blocks see
    metadata as well, if they are of a kind that does.

    Args:
        in_channels: channels of the image.
        out_channels: logits per pixel, as of `UNet`.
        block: name of the block, or a class of your own.
        metadata_size: M, elements of a sample's metadata vector, from 1.
        network: size of the network, and the place and size of its blocks.

    Raises:
        ConfigError: `metadata_size` is 0, or the block is unknown.

    Example:
        >>> import torch
        >>> from metaseg import NetworkConfig
        >>> from metaseg.networks.unet_concat import UNetConcat
        >>> network = UNetConcat(1, 1, "none", metadata_size=3, network=NetworkConfig(width=4, depth=2))
        >>> network(torch.zeros(2, 1, 50, 61), torch.eye(3)[:2]).shape
        torch.Size([2, 1, 50, 61])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        block: str | type[ChannelModulation] = "none",
        metadata_size: int = 0,
        network: NetworkConfig = NetworkConfig(),
    ) -> None:
        if metadata_size == 0:
            raise ConfigError("metadata_size is 0; expected at least 1: the network sees metadata beside the image")
        super().__init__(in_channels + metadata_size, out_channels, block, metadata_size, network)
        self.in_channels = in_channels

    def inputs(self, image: Tensor, metadata: Tensor) -> Tensor:
        """The image `(N, in_channels, H, W)` and maps of metadata: `(N, in_channels + M, H, W)`."""
        return torch.cat([image, constant_maps(metadata, image)], dim=1)
