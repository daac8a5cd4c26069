"""The base of all blocks, and what several of them use."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from metaseg.networks.mlp import MLPConfig


class ChannelModulation(nn.Module, ABC):
    """Base of all blocks: maps `(N, C, *spatial)` feature maps to the same shape, each sample by its own metadata.

    Feature maps are of images `(N, C, H, W)` or of volumes `(N, C, D, H, W)`.

    Args:
        channels: C of the feature maps.
        metadata_size: M, elements of a sample's metadata vector, or of its embedding; 0 when the arm has none.
        mlp: size and activation of the block's MLP.

    A block with `settings` of its own is called with an instance of them as a fourth argument, and one that is
    `sized_by_dims` with the number of spatial dimensions as the argument `dims`.
    """

    needs_metadata: ClassVar[bool] = False
    """True if the block can't be built without metadata."""

    sized_by_metadata: ClassVar[bool] = False
    """True if the number of parameters depends on the size of metadata, although the block ignores their values."""

    sized_by_dims: ClassVar[bool] = False
    """True if the shape of parameters depends on the number of spatial dimensions, as that of a convolution's does."""

    couples_samples: ClassVar[bool] = False
    """True if, in training, a sample's output depends on the others of its batch, as with batch normalisation."""

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
        """Modulate `features` `(N, C, *spatial)` by `metadata` `(N, M)`; returns `(N, C, *spatial)`."""

    def tie(self, first: Self) -> None:
        """Take the parameters that all blocks of a network share from its first block of the same class; none here."""

    def tied(self) -> tuple[nn.Parameter, ...]:
        """The parameters that all blocks of a network share: none, but in a `TiedModulation`."""
        return ()


def tie_blocks(network: nn.Module) -> None:
    """Let the blocks of a network share the parameters that their class shares. A network calls it once it is built."""
    first: dict[type[ChannelModulation], ChannelModulation] = {}
    for module in list(network.modules()):
        if isinstance(module, ChannelModulation):
            owner = first.setdefault(type(module), module)
            if owner is not module:
                module.tie(owner)


def squeeze(features: Tensor) -> Tensor:
    """Global average pooling: `(N, C, *spatial)` to `(N, C)` (Hu et al. 2020, eq. 2)."""
    return features.mean(dim=tuple(range(2, features.ndim)))


def squeeze_max(features: Tensor) -> Tensor:
    """Global maximum pooling: `(N, C, *spatial)` to `(N, C)`."""
    return features.amax(dim=tuple(range(2, features.ndim)))


def channelwise(values: Tensor, dims: int = 2) -> Tensor:
    """Reshape `(N, C)` to `(N, C, 1, 1)`: one value for all pixels of a channel; `(N, C, 1, 1, 1)` for 3 `dims`."""
    return values[(..., *[None] * dims)]


MLP_FIELDS = frozenset({"reduction", "hidden_layers", "activation"})
"""Fields of `NetworkConfig` that describe blocks' MLPs."""
