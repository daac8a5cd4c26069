"""Conditioning of any network: channel-modulation blocks on the feature maps of its modules."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from metaseg.config import ConfigError, Start, Train
from metaseg.networks.blocks import ChannelModulation, block_class, build_block, tie_blocks
from metaseg.networks.feature_maps import EXAMPLE_SIDE, FeatureMap, conditionable, find_feature_maps
from metaseg.networks.mlp import MLPConfig


def condition(
    network: nn.Module,
    metadata_size: int,
    block: str | type[ChannelModulation] = "sme",
    at: Sequence[str] | None = None,
    *,
    mlp: MLPConfig | None = None,
    start: Start = "random",
    train: Train = "all",
    example: Tensor | None = None,
) -> "Conditioned":
    """Condition a network on metadata: put a channel-modulation block on the feature maps of its stages.

    The network is wrapped, not copied. Its modules and its state-dict keys stay as they are, so that weights are loaded
    with their own keys, before or after: `conditioned.network.load_state_dict(weights)`.

    Args:
        network: any module that maps an image `(N, C, H, W)` or `(N, C, D, H, W)` to tensors.
        metadata_size: M, elements of a sample's metadata vector; 0 for a block that needs none.
        block: name of the block (`metaseg.BLOCKS`), or a class of your own.
        at: modules whose outputs are modulated: names, or patterns in which `*` stands for a part of a name without
            dots. By default the network's stages. `conditionable` lists both.
        mlp: settings of the blocks' MLPs.
        start: "identity" for blocks that pass features unchanged until training changes that, for networks with
            trained weights: a block's effect is scaled by a weight for each channel that starts at 0 (ReZero,
            Bachlechner et al. 2021).
        train: "blocks" to train the blocks alone. The network then stays in evaluation mode too, so that statistics
            of its batch normalisation stay as they are.
        example: two images that the network accepts, if 128 x 128 pixels or 64 x 64 x 64 voxels don't suit it.

    Returns:
        A module that is called with an image and metadata `(N, M)` and returns what the network returns.

    Raises:
        ConfigError: an unknown block, a block that needs metadata where `metadata_size` is 0, a name or pattern that
            fits no feature map, a network without stages, one that can't be run on the example or is conditioned
            already, or nothing to train.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from metaseg import condition
        >>> stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU())
        >>> network = nn.Sequential(stem, nn.Conv2d(8, 1, 1))
        >>> conditioned = condition(network, metadata_size=3, block="film", start="identity")
        >>> image, metadata = torch.rand(2, 1, 32, 32), torch.eye(3)[:2]
        >>> torch.equal(conditioned(image, metadata), network[1](network[0][1](network[0][0](image))))
        True
    """
    if any(isinstance(hook, _Modulation) for each in network.modules() for hook in each._forward_hooks.values()):
        raise ConfigError(f"the {type(network).__name__} is conditioned already; expected one without blocks")
    if train == "blocks" and not list(block_class(block)(8, max(1, metadata_size), mlp or MLPConfig()).parameters()):
        raise ConfigError(f"block {str(block)!r} has no parameters; expected one that has, to train blocks alone")
    maps = find_feature_maps(network, at, example)
    # Images whose sides are a multiple of the largest stride pass wherever blocks are; an output of one pixel has none.
    side = EXAMPLE_SIDE[maps[0].dims] if example is None else max(example.shape[2:])
    strides = [each.stride for each in conditionable(network, example) if each.stride < side]
    return Conditioned(network, maps, max(strides), metadata_size, block, mlp or MLPConfig(), start, train)


class Conditioned(nn.Module):
    """A network with channel-modulation blocks, which `condition` makes.

    Blocks are applied by forward hooks. A call's metadata is kept for the thread that makes the call, so that networks
    and threads don't disturb each other.
    """

    def __init__(
        self,
        network: nn.Module,
        maps: Sequence[FeatureMap],
        stride: int,
        metadata_size: int,
        block: str | type[ChannelModulation],
        mlp: MLPConfig,
        start: Start,
        train: Train,
    ) -> None:
        super().__init__()
        self.network: nn.Module = network
        self.metadata_size = metadata_size
        self.maps = tuple(maps)
        self.stride = stride
        self.trained: Train = train
        self._told = _Told()
        mlp = replace(mlp, blocks=len(maps))
        self.blocks = nn.ModuleDict()
        like = next(network.parameters())
        for place in maps:
            built: nn.Module = build_block(block, place.channels, metadata_size, mlp, place.dims)
            if start == "identity":
                built = FromIdentity(built, place.channels)
            self.blocks[f"at/{place.name.replace('.', '/')}"] = built.to(like.device, like.dtype)
            hook = _Modulation(built, self._told, place)
            network.get_submodule(place.name).register_forward_hook(hook)
        tie_blocks(self.blocks)
        if train == "blocks":
            network.requires_grad_(False)
        self.train(network.training)

    def forward(self, image: Tensor, metadata: Tensor | None = None) -> Any:
        """Run the network on images with metadata.

        Args:
            image: `(N, C, *spatial)`, as the network takes it.
            metadata: `(N, M)`, a vector a sample; None only where M is 0.

        Returns:
            What the network returns.

        Raises:
            ValueError: metadata of another shape.
        """
        samples = image.shape[0]
        if metadata is None:
            metadata = image.new_zeros(samples, 0)
        if metadata.shape != (samples, self.metadata_size):
            expected = (samples, self.metadata_size)
            raise ValueError(f"metadata has shape {tuple(metadata.shape)}; expected {expected}: one vector a sample")
        self._told.metadata = metadata
        try:
            output = self.network(image)
        finally:
            self._told.metadata = None
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            output = pytree.tree_map_only(Tensor, lambda each: _remembering(each, metadata, self._told), output)
        return output

    def train(self, mode: bool = True) -> "Conditioned":
        """Set training mode; a network whose blocks alone are trained stays in evaluation mode."""
        super().train(mode)
        if self.trained == "blocks":
            self.network.eval()
        return self


class FromIdentity(nn.Module):
    """A block without effect at first: `x + strength * (block(x) - x)`, each channel's strength starting at 0."""

    def __init__(self, block: nn.Module, channels: int) -> None:
        super().__init__()
        self.block = block
        self.strength = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor, metadata: Tensor) -> Tensor:
        """Features `(N, C, *spatial)` and metadata `(N, M)` to `(N, C, *spatial)`."""
        strength = self.strength.view(-1, *[1] * (features.ndim - 2))
        modulated: Tensor = self.block(features, metadata)
        return features + strength * (modulated - features)


class _Told(threading.local):
    """Metadata of the calls under way, each thread's own."""

    metadata: Tensor | None = None
    recomputed: tuple[int, Tensor] | None = None
    """A backward pass, and the metadata of the forward pass that it goes through now, for gradient checkpointing."""

    def __reduce__(self) -> tuple[type["_Told"], tuple[()]]:
        return _Told, ()  # copies and pickles of a network keep no call's metadata


class _Modulation:
    """A forward hook: passes a module's output through a block."""

    def __init__(self, block: nn.Module, told: _Told, place: FeatureMap) -> None:
        self.block, self.told, self.place = block, told, place

    def __call__(self, module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        metadata = self.told.metadata
        if metadata is None and self.told.recomputed is not None:  # a checkpoint is computed again
            backward_pass, recomputed = self.told.recomputed
            metadata = recomputed if backward_pass == torch._C._current_graph_task_id() else None
        if metadata is None:
            raise RuntimeError(
                f"module {self.place.name!r} is conditioned, and was called without metadata; call what `condition` "
                "returned, with an image and metadata"
            )
        features = output.movedim(-1, 1) if self.place.channels_last else output
        modulated: Tensor = self.block(features, metadata)
        return modulated.movedim(1, -1) if self.place.channels_last else modulated


class _Remember(torch.autograd.Function):
    """Passes a tensor; its backward pass begins by recalling the metadata of its forward pass."""

    @staticmethod
    def forward(context: Any, output: Tensor, metadata: Tensor, told: _Told) -> Tensor:
        context.given, context.told = metadata, told
        return output.view_as(output)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        context.told.recomputed = torch._C._current_graph_task_id(), context.given
        return gradients[0], None, None


def _remembering(output: Tensor, metadata: Tensor, told: _Told) -> Tensor:
    if not output.requires_grad:
        return output
    passed: Tensor = _Remember.apply(output, metadata, told)  # type: ignore[no-untyped-call]
    return passed
