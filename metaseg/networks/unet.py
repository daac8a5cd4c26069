"""The conditioned U-Net: an encoder-decoder with one channel-modulation block in each level."""

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metaseg.config import Modulate, NetworkConfig, Position
from metaseg.networks.blocks import ChannelModulation, block_class, build_block, tie_blocks
from metaseg.networks.mlp import MLPConfig

MODULATED_AFTER: dict[Modulate, int] = {"convolved": 4, "normalised": 5, "output": 6}
"""After how many of a level's layers (`convolutions`) its block comes."""


def convolutions(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3x3 convolutions, each normalised and rectified.

    Group normalisation rather than batch normalisation: a sample's result then depends neither on which other samples
    share its batch nor on how many workers share the batch.
    """
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [
            nn.Conv2d(channels, outputs, kernel_size=3, padding=1, bias=False),
            nn.GroupNorm(math.gcd(outputs, 8), outputs),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


class Level(nn.Module):
    """One level's convolutions with its block among or after them."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        block: str | type[ChannelModulation],
        metadata_size: int,
        mlp: MLPConfig,
        modulate: Modulate,
    ) -> None:
        super().__init__()
        self.convolutions = convolutions(inputs, outputs)
        self.block = build_block(block, outputs, metadata_size, mlp)
        self.block_after = MODULATED_AFTER[modulate]

    def forward(self, features: Tensor, metadata: Tensor) -> Tensor:
        """`(N, inputs, H, W)` and `(N, M)` to `(N, outputs, H, W)`."""
        layers = list(self.convolutions)
        for layer in layers[: self.block_after]:
            features = layer(features)
        features = self.block(features, metadata)
        for layer in layers[self.block_after :]:
            features = layer(features)
        return features


class UNet(nn.Module):
    """U-Net (Ronneberger et al. 2015) with channel modulation (paper, figure 1), for images of any size.

    `torch.export` and ONNX take batch, height and width as dynamic; an exported network needs H and W above `2**depth`.

    Args:
        in_channels: channels of the image.
        out_channels: logits per pixel: 1 for one class (sigmoid), else background and one per class (softmax).
        block: name of the block (`metaseg.networks.blocks.BLOCKS`), or a class of your own.
        metadata_size: M, elements of a sample's metadata vector; 0 if there is none.
        network: size of the network, and the place and size of its blocks.
        heads: if True, a sample's metadata, a one-hot vector, selects one of `metadata_size` output layers and doesn't
            reach the blocks (paper, section 3.3, "two heads").

    Raises:
        ConfigError: the block is unknown, or needs metadata and `metadata_size` is 0.

    Example:
        >>> import torch
        >>> from metaseg import NetworkConfig, UNet
        >>> network = UNet(1, 1, "sme", metadata_size=3, network=NetworkConfig(width=4, depth=2))
        >>> network(torch.zeros(2, 1, 50, 61), torch.eye(3)[:2]).shape
        torch.Size([2, 1, 50, 61])
    """

    level_class: ClassVar[type[Level]] = Level
    """A level's layers."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        block: str | type[ChannelModulation] = "se",
        metadata_size: int = 0,
        network: NetworkConfig = NetworkConfig(),
        heads: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.metadata_size = metadata_size
        self.heads = metadata_size if heads else 1
        self.stride = 2**network.depth
        channels = [network.width * 2**level for level in range(network.depth + 1)]

        seen, shared = 0 if heads else metadata_size, 0
        blocks = sum(1 if position == "bottleneck" else network.depth for position in set(network.positions))
        self.embedding: nn.Module = nn.Identity()
        if network.embedding and seen and blocks:
            if block_class(block).needs_metadata:
                self.embedding = nn.Linear(seen, network.embedding)
            seen, shared = network.embedding, math.ceil((seen + 1) * network.embedding / blocks)
        mlp = MLPConfig(network.reduction, network.hidden_layers, network.activation, shared, max(1, blocks))

        def level(position: Position, inputs: int, outputs: int) -> Level:
            placed = block if position in network.positions else "none"
            return self.level_class(inputs, outputs, placed, seen, mlp, network.modulate)

        self.encoder = nn.ModuleList(
            level("encoder", inputs, outputs)
            for inputs, outputs in zip([in_channels, *channels], channels[:-1], strict=False)
        )
        self.bottleneck = level("bottleneck", channels[-2], channels[-1])
        self.upsample = nn.ModuleList(
            nn.ConvTranspose2d(below, here, kernel_size=2, stride=2)
            for here, below in zip(channels[-2::-1], channels[:0:-1], strict=True)
        )
        self.decoder = nn.ModuleList(level("decoder", 2 * here, here) for here in channels[-2::-1])
        self.head = nn.Conv2d(network.width, self.heads * out_channels, kernel_size=1)
        tie_blocks(self)

    def inputs(self, image: Tensor, metadata: Tensor) -> Tensor:
        """Maps that the first level gets: here the image alone."""
        return image

    def skip(self, level: int, features: Tensor) -> Tensor:
        """Features of encoder level `level` as the decoder gets them: here as they are."""
        return features

    def forward(self, image: Tensor, metadata: Tensor | None = None) -> Tensor:
        """Logits of every pixel.

        Args:
            image: `(N, in_channels, H, W)`, standardised; any H and W (padded inside to a multiple of `2**depth`).
            metadata: `(N, metadata_size)`; None only where `metadata_size` is 0.

        Returns:
            `(N, out_channels, H, W)` logits.

        Raises:
            ValueError: image or metadata of another shape.
        """
        if image.ndim != 4 or image.shape[1] != self.in_channels:
            raise ValueError(f"image has shape {tuple(image.shape)}; expected (N, {self.in_channels}, H, W)")
        samples, _, height, width = image.shape
        if metadata is None:
            metadata = image.new_zeros(samples, 0)
        if metadata.shape != (samples, self.metadata_size):
            expected = (samples, self.metadata_size)
            raise ValueError(f"metadata has shape {tuple(metadata.shape)}; expected {expected}: one vector a sample")

        features = padded(self.inputs(image, metadata), self.stride)
        picked = metadata.argmax(dim=1) if self.heads > 1 else None
        metadata = self.embedding(metadata if picked is None else metadata[:, :0])
        skipped: list[Tensor] = []
        for level in self.encoder:
            features = level(features, metadata)
            skipped.append(self.skip(len(skipped), features))
            features = F.max_pool2d(features, 2)
        features = self.bottleneck(features, metadata)
        for upsample, level in zip(self.upsample, self.decoder, strict=True):
            features = level(torch.cat([skipped.pop(), upsample(features)], dim=1), metadata)
        logits: Tensor = self.head(features)
        if picked is not None:
            logits = logits.unflatten(1, (self.heads, -1))[torch.arange(samples, device=image.device), picked]
        return cropped(logits, height, width)


def padded(image: Tensor, stride: int) -> Tensor:
    """The image `(N, C, H, W)` with its last row and column repeated until H and W are multiples of `stride`.

    Compilers see the padded sizes as `stride` times a number, and so that halving and doubling gives them again; the
    pad's own size would have to be known to be 0 or not.
    """
    height, width = image.shape[2:]
    if not torch.compiler.is_compiling():
        return F.pad(image, (0, -width % stride, 0, -height % stride), mode="replicate")
    for dim, side in ((2, height), (3, width)):
        pixels = torch.arange((side + stride - 1) // stride * stride, device=image.device)
        image = image.index_select(dim, pixels.clamp(max=side - 1))
    return image


def cropped(logits: Tensor, height: int, width: int) -> Tensor:
    """The first rows and columns; compilers needn't prove that there are so many."""
    if not torch.compiler.is_compiling():
        return logits[:, :, :height, :width]
    for dim, side in ((2, height), (3, width)):
        logits = logits.index_select(dim, torch.arange(side, device=logits.device))
    return logits
