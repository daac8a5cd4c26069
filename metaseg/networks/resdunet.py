"""A U-Net of residual blocks with dilated convolutions on its skip connections."""

import math
from typing import ClassVar

from torch import Tensor, nn

from metaseg.config import Modulate, NetworkConfig
from metaseg.networks.blocks import ChannelModulation
from metaseg.networks.mlp import MLPConfig
from metaseg.networks.unet import Level, UNet


class ResidualLevel(Level):
    """A level whose convolutions predict a change of its input (He et al. 2016), with its block among or after them.

    The input is added before the second activation, by a normalised 1x1 convolution where it has other channels.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        block: str | type[ChannelModulation],
        metadata_size: int,
        mlp: MLPConfig,
        modulate: Modulate,
    ) -> None:
        super().__init__(inputs, outputs, block, metadata_size, mlp, modulate)
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs:
            convolution = nn.Conv2d(inputs, outputs, kernel_size=1, bias=False)
            self.shortcut = nn.Sequential(convolution, nn.GroupNorm(math.gcd(outputs, 8), outputs))

    def forward(self, features: Tensor, metadata: Tensor) -> Tensor:
        """`(N, inputs, H, W)` and `(N, M)` to `(N, outputs, H, W)`."""
        added = self.shortcut(features)
        last = len(self.convolutions)
        for number, layer in enumerate(self.convolutions, start=1):
            if number == last:  # the second activation
                features = features + added
            features = layer(features)
            if number == self.block_after:
                features = self.block(features, metadata)
        return features


class CascadedDilation(nn.Module):
    """3x3 convolutions of growing dilation, one after the other; their outputs are added to the input."""

    dilations: ClassVar[tuple[int, ...]] = (1, 2, 4)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, kernel_size=3, padding=dilation, dilation=dilation, bias=False),
                nn.GroupNorm(math.gcd(channels, 8), channels),
                nn.ReLU(inplace=True),
            )
            for dilation in self.dilations
        )

    def forward(self, features: Tensor) -> Tensor:
        """`(N, C, H, W)` to the same shape."""
        total = features
        for stage in self.stages:
            features = stage(features)
            total = total + features
        return total


class ResDUNet(UNet):
    """Residual dilated U-Net (Amer et al. 2020), for images of any size.

    As published: a U-Net whose levels are residual blocks, each with a unit that re-weights channels, and whose skip
    connections pass a cascade of dilated convolutions before they are concatenated. There the unit is
    squeeze-and-excitation (`se`); here it is any block.

    Not as published, or not known to be (of the paper only the abstract was at hand): dilations 1, 2 and 4 whose
    outputs are added; the residual blocks' layers; group normalisation, as in `UNet`; width, depth and positions, which
    `network` says. `modulate` is where in a residual block the block is: before its addition (`convolved`,
    `normalised`, where SE-ResNet has it) or after it and the activation (`output`).

    Args and errors are those of `UNet`.

    Example:
        >>> import torch
        >>> from metaseg import NetworkConfig
        >>> from metaseg.networks.resdunet import ResDUNet
        >>> network = ResDUNet(1, 1, "sme", metadata_size=3, network=NetworkConfig(width=4, depth=2))
        >>> network(torch.zeros(2, 1, 50, 61), torch.eye(3)[:2]).shape
        torch.Size([2, 1, 50, 61])
    """

    level_class = ResidualLevel

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        block: str | type[ChannelModulation] = "se",
        metadata_size: int = 0,
        network: NetworkConfig = NetworkConfig(),
        heads: bool = False,
    ) -> None:
        super().__init__(in_channels, out_channels, block, metadata_size, network, heads)
        self.cascades = nn.ModuleList(CascadedDilation(network.width * 2**level) for level in range(network.depth))

    def skip(self, level: int, features: Tensor) -> Tensor:
        """Features of an encoder level after its cascade of dilated convolutions."""
        enriched: Tensor = self.cascades[level](features)
        return enriched
