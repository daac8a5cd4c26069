"""Networks from elsewhere in a study: images of any size and metadata in, logits of every pixel out."""

import math
from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from metaseg.config import Architecture, ConfigError, NetworkConfig
from metaseg.networks.blocks import ChannelModulation
from metaseg.networks.condition import Conditioned, condition
from metaseg.networks.mlp import MLPConfig
from metaseg.networks.module_calls import CONVOLUTIONS, trace
from metaseg.networks.network_name import NetworkName, read_network_name
from metaseg.networks.unet import cropped, padded

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
"""Layers that normalise batches and do nothing else."""

SIDE = 128
"""Side in pixels of the images on which a network's feature maps are looked up."""


def build_architecture(
    architecture: Architecture,
    in_channels: int,
    out_channels: int,
    block: str | type[ChannelModulation],
    metadata_size: int,
    network: NetworkConfig,
) -> nn.Module:
    """Build a network that isn't metaseg's U-Net, with its blocks. Their weights are random.

    Args:
        architecture: the network, and how it is conditioned.
        in_channels: channels of the image.
        out_channels: logits per pixel.
        block: name or class of the block.
        metadata_size: M, elements of a sample's metadata vector.
        network: settings of blocks' MLPs; of metaseg's own networks all settings.

    Returns:
        A module that maps an image `(N, in_channels, H, W)` and metadata `(N, M)` to logits `(N, out_channels, H, W)`;
        in training mode, to a list of them where the network gives several.

    Raises:
        ConfigError: the network can't be built with these settings, isn't a network for segmentation, or can't be
            conditioned so.
    """
    name = architecture.network
    if not isinstance(name, NetworkName):
        name = read_network_name(name)
    if name.native:
        return name.factory(in_channels, out_channels, block, metadata_size, network)
    made = make_network(name, in_channels, out_channels)
    if architecture.batch_norm == "group":
        made = group_normalised(made)
    first = next((each for each in made.modules() if isinstance(each, CONVOLUTIONS)), None)
    if first is None or len(first.kernel_size) != 2:
        takes = "has no convolution" if first is None else "takes volumes"
        raise ConfigError(f"a {type(made).__name__} {takes}; expected a network for images (N, C, H, W)")
    taken = _taken_channels(made, first, in_channels)
    conditioned = condition(
        made,
        metadata_size,
        block,
        architecture.condition_at or None,
        mlp=MLPConfig(network.reduction, network.hidden_layers, network.activation),
        start=architecture.start,
        train=architecture.train,
        example=first.weight.new_zeros(2, taken, SIDE, SIDE),
    )
    return Segmenter(conditioned, in_channels, taken, out_channels)


def make_network(name: NetworkName, in_channels: int, out_channels: int) -> nn.Module:
    """Make a network without blocks; raises `ConfigError` if that fails or it isn't a network."""
    try:
        made: Any = name.factory(in_channels=in_channels, out_channels=out_channels, **name.settings)
    except ConfigError:
        raise
    except Exception as error:  # whatever a package or a user's code raises
        raise ConfigError(f"network {str(name)!r} can't be built: {type(error).__name__}: {error}") from error
    if not isinstance(made, nn.Module):
        raise ConfigError(f"network {str(name)!r} is a {type(made).__name__}; expected a torch.nn.Module")
    return made


def _taken_channels(network: nn.Module, first: nn.Module, in_channels: int) -> int:
    """Channels of the image that a network takes: those that were asked for, or three, for which grey is repeated."""
    weight = first.weight
    assert isinstance(weight, Tensor)
    for taken in (in_channels, 3) if in_channels == 1 else (in_channels,):
        try:
            trace(network, weight.new_zeros(2, taken, SIDE, SIDE))
        except ConfigError as error:
            problem = error
        else:
            return taken
    raise problem


def group_normalised(network: nn.Module) -> nn.Module:
    """The network with group normalisation in place of batch normalisation; its affine weights keep their keys.

    Raises:
        ConfigError: a layer normalises batches and does more, such as timm's, which have the activation inside.
    """
    groups: dict[nn.Module, nn.GroupNorm] = {}
    for module in network.modules():
        if not isinstance(module, nn.modules.batchnorm._BatchNorm):
            continue
        if type(module) not in BATCH_NORMS:
            raise ConfigError(
                f"batch_norm is 'group', and a {type(network).__name__} has a {type(module).__name__}, which does more "
                "than normalise; expected batch normalisation of torch.nn alone"
            )
        channels = module.num_features
        groups[module] = nn.GroupNorm(math.gcd(channels, 8), channels, module.eps, module.affine)
    for parent in list(network.modules()):
        for name, child in list(parent._modules.items()):  # a module may have several names
            if child in groups:
                setattr(parent, name, groups[child])
    return groups.get(network, network)


class Segmenter(nn.Module):
    """A conditioned network for images of any size: pads them to a multiple of its stride, and crops the logits.

    Logits of another size are resized (bilinearly), as torchvision's networks do it. Of a network's outputs the first
    one counts, or the one called `out`; in training mode all of them, the first at full size, for deep supervision.
    """

    def __init__(self, network: Conditioned, in_channels: int, taken: int, out_channels: int) -> None:
        super().__init__()
        self.network = network
        self.in_channels = in_channels
        self.taken = taken
        self.out_channels = out_channels
        self.stride = network.stride

    @property
    def bare(self) -> nn.Module:
        """The network that blocks were put in."""
        return self.network.network

    def forward(self, image: Tensor, metadata: Tensor | None = None) -> Tensor | list[Tensor]:
        """Logits of every pixel.

        Args:
            image: `(N, in_channels, H, W)`, standardised; any H and W.
            metadata: `(N, M)`; None only where M is 0.

        Returns:
            `(N, out_channels, H, W)` logits; in training mode a list of logits, the first of that size, if the network
            gives several.

        Raises:
            ValueError: an image of another shape, or logits of another number of channels.
        """
        if image.ndim != 4 or image.shape[1] != self.in_channels:
            raise ValueError(f"image has shape {tuple(image.shape)}; expected (N, {self.in_channels}, H, W)")
        height, width = image.shape[2:]
        whole = padded(image, self.stride)
        outputs = self._logits(self.network(whole.expand(-1, self.taken, -1, -1), metadata))
        first = outputs[0]
        if first.shape[2:] != whole.shape[2:]:
            first = F.interpolate(first, whole.shape[2:], mode="bilinear", align_corners=False)
        first = cropped(first, height, width)
        if not self.training or len(outputs) == 1:
            return first
        rows, columns = whole.shape[2:]  # the others lose as large a part of their size
        smaller = (
            each[:, :, : -(-height * each.shape[2] // rows), : -(-width * each.shape[3] // columns)]
            for each in outputs[1:]
        )
        return [first, *smaller]

    def _logits(self, output: Any) -> list[Tensor]:
        if isinstance(output, Mapping):
            output = output["out"] if "out" in output else next(iter(output.values()))
        if isinstance(output, Tensor) and output.ndim == 5:  # MONAI stacks the outputs of deep supervision
            output = list(output.unbind(1))
        outputs = list(output) if isinstance(output, list | tuple) else [output]
        for logits in outputs:
            if not isinstance(logits, Tensor) or logits.ndim != 4 or logits.shape[1] != self.out_channels:
                shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
                raise ValueError(f"the network returned {shape}; expected logits (N, {self.out_channels}, H, W)")
        if any(logits.shape[2] > outputs[0].shape[2] for logits in outputs):
            sizes = [tuple(logits.shape[2:]) for logits in outputs]
            raise ValueError(f"the network returned logits of sizes {sizes}; expected the largest first")
        return outputs
