"""Feature maps of any convolutional network: which of its modules make them, and which are its stages."""

import difflib
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

from torch import Tensor, nn

from metaseg.config import ConfigError
from metaseg.networks.module_calls import CONVOLUTIONS, Call, trace

CHANNELS_FIRST = (
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.Upsample,
)
"""Layers that keep the number of channels they get, and have them first."""

EXAMPLE_SIDE = {2: 128, 3: 64}
"""Side in pixels of the image that is passed through a network to see its feature maps, by number of dimensions."""


@dataclass(frozen=True)
class FeatureMap:
    """A module's output that a block can modulate."""

    name: str
    """The module's name in the network, as `named_modules` has it."""
    channels: int
    """C, the number of channels."""
    stride: int
    """Side of the image over side of the feature map, rounded."""
    channels_last: bool = False
    """True for `(N, *spatial, C)`, as in some transformers, False for `(N, C, *spatial)`."""
    stage: bool = False
    """True if the module is a stage of the network: it is conditioned unless others are named."""
    dims: int = 2
    """Number of spatial dimensions: 2 of images, 3 of volumes."""


def conditionable(network: nn.Module, example: Tensor | None = None) -> tuple[FeatureMap, ...]:
    """List the feature maps of a network that a block can modulate.

    The network is run once, on `example`, without gradients and in evaluation mode. Its stages are the outermost
    modules that convolve at one resolution, such as a ResNet's `layer1` to `layer4` or the blocks of a decoder, and
    the last of loose layers at a resolution that has no such module. A module that computes the logits is no stage.

    Args:
        network: any module that maps an image `(N, C, H, W)` or `(N, C, D, H, W)` to tensors.
        example: an image that it accepts, N = 2; by default 128 x 128 pixels, or 64 x 64 x 64 voxels.

    Returns:
        Modules in the order of their calls. `metaseg.condition` takes their names.

    Raises:
        ConfigError: the network has no convolution, or can't be run on the example.

    Example:
        >>> from torch import nn
        >>> from metaseg import conditionable
        >>> stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU())
        >>> below = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU())
        >>> network = nn.Sequential(stem, below, nn.Upsample(scale_factor=2), nn.Conv2d(16, 1, 1))
        >>> [(each.name, each.channels, each.stride) for each in conditionable(network) if each.stage]
        [('0', 8, 1), ('1', 16, 2)]
    """
    seen = _Trace.of(network, _example(network, example))
    stages = set(seen.stages())
    found: dict[str, FeatureMap] = {}
    varied: set[str] = set()  # of modules that are called several times, with other channels
    for call in seen.root.below():
        each = seen.maps.get(id(call))
        if each is None or found.setdefault(call.name, each).channels != each.channels:
            varied.add(call.name)
    return tuple(replace(each, stage=name in stages) for name, each in found.items() if name not in varied)


def find_feature_maps(
    network: nn.Module, at: Sequence[str] | None = None, example: Tensor | None = None
) -> tuple[FeatureMap, ...]:
    """The feature maps that patterns name, by default those of the network's stages.

    Args:
        network: as for `conditionable`.
        at: names of modules, or patterns in which `*` stands for a part of a name without dots.
        example: as for `conditionable`.

    Raises:
        ConfigError: a pattern fits no module, or one whose output isn't a feature map; the message lists close names.
    """
    known = conditionable(network, example)
    if at is None:
        if stages := tuple(each for each in known if each.stage):
            return stages
        raise ConfigError(
            f"no stages were found in a {type(network).__name__}; name modules to condition with `at`, such as "
            f"{', '.join(repr(each.name) for each in known[:5]) or 'none'}"
        )
    names = {each.name: each for each in known}
    chosen: dict[str, FeatureMap] = {}
    for pattern in at:
        fits = re.compile("[^.]*".join(map(re.escape, pattern.split("*"))))
        matching = [name for name in names if fits.fullmatch(name)]
        if not matching:
            raise ConfigError(_no_match(network, pattern, fits, list(names), example))
        chosen |= {name: names[name] for name in matching}
    return tuple(each for each in known if each.name in chosen)


def _no_match(network: nn.Module, pattern: str, fits: re.Pattern[str], known: list[str], example: Tensor | None) -> str:
    others = [name for name, _ in network.named_modules() if name and fits.fullmatch(name)]
    if others:
        calls = trace(network, _example(network, example)).below()
        shape = next((call.shape for call in calls if call.name in others and call.shape), None)
        made = f"an output of shape {shape}" if shape else "no single tensor as its output, or isn't called"
        return (
            f"at is {pattern!r}: module {others[0]!r} has {made}; expected feature maps (N, C, *spatial) of the whole "
            "batch, whose channels can be told from its pixels"
        )
    close = difflib.get_close_matches(pattern, known, n=5, cutoff=0.4) or known[:5]
    return (
        f"at is {pattern!r}: a {type(network).__name__} has no such module; expected names that `conditionable` lists, "
        f"such as {', '.join(map(repr, close))}"
    )


def _example(network: nn.Module, example: Tensor | None) -> Tensor:
    """The images that the network is run on."""
    first = next((each for each in network.modules() if isinstance(each, CONVOLUTIONS)), None)
    if first is None:
        raise ConfigError(f"network is a {type(network).__name__} without a convolution; expected feature maps")
    dims = len(first.kernel_size)
    if example is not None:
        if example.ndim != dims + 2 or len(example) != 2:
            spatial = ", ".join("DHW"[-dims:])
            raise ConfigError(f"example has shape {tuple(example.shape)}; expected two images, (2, C, {spatial})")
        return example
    return first.weight.new_zeros(2, first.in_channels, *[EXAMPLE_SIDE[dims]] * dims)


@dataclass(frozen=True)
class _Trace:
    """The way of an image through a network: calls of modules, and the feature maps that they returned."""

    image: Tensor
    root: Call
    maps: Mapping[int, FeatureMap]
    """Feature maps that calls returned, by the calls' `id`."""

    @classmethod
    def of(cls, network: nn.Module, image: Tensor) -> "_Trace":
        root = trace(network, image)
        maps: dict[int, FeatureMap] = {}
        before: tuple[tuple[int, ...], FeatureMap] | None = None
        for call in root.below():
            made = _feature_map(call, image)
            if made is None and before and not call.inner and call.shape == before[0]:
                made = replace(before[1], name=call.name)  # a normalisation or activation keeps what it gets
            if made is not None:
                maps[id(call)] = made
                before = call.shape, made
        return cls(image, root, maps)

    def map_of(self, call: Call) -> FeatureMap | None:
        """The feature map that a call returned, unless it has one pixel, as a squeeze's, and so no resolution."""
        made = self.maps.get(id(call))
        return None if made is None or made.stride >= max(self.image.shape[2:]) else made

    def stages(self) -> list[str]:
        """Names of the network's stages, in order."""
        outputs = list(_tensors(self.root.output))
        # Several tensors of unlike channels are features, for a decoder that the network doesn't have.
        logits = outputs if len({each.shape[1] for each in outputs if each.ndim > 1}) == 1 else []
        times = Counter(call.name for call in self.root.below())
        parts = [
            part
            for part in self._parts(self.root, logits[0].shape[1] if logits else None)
            if not any(part.call.output is each for each in logits) and part.map.channels > 1
        ]
        stages: list[str] = []
        for _, group in groupby(parts, key=lambda part: part.map.stride):
            run = list(group)
            whole = [part for part in run if not part.call.is_layer]
            loose = [part for part in run if part.call.is_layer and times[part.map.name] == 1]
            if whole:
                stages += [
                    part.map.name for part, after in zip(whole, [*whole[1:], None], strict=True) if part.ends(after)
                ]
            elif any(isinstance(part.call.module, CONVOLUTIONS) for part in loose):
                stages.append(loose[-1].map.name)
        return stages

    def _parts(self, call: Call, classes: int | None) -> Iterator["_Part"]:
        """Outermost modules at one resolution, and loose layers."""
        for inner in call.inner:
            made = self.map_of(inner)
            whole = made is not None and (inner.is_layer or self._is_even(inner, made))
            if whole and made is not None and not (classes and _gives_logits(inner, made, classes)):
                yield _Part(inner, made)
            elif not inner.is_layer and not _is_of_tokens(inner, self.image):
                yield from self._parts(inner, classes)

    def _is_even(self, call: Call, made: FeatureMap) -> bool:
        """True if a module changes the resolution at most once, and its own modules end as it does."""
        convolved = (self.map_of(layer) for layer in call.layers() if isinstance(layer.module, CONVOLUTIONS))
        strides = [each.stride for each in convolved if each]
        if len(call.given) == self.image.ndim and not made.channels_last:
            strides.insert(0, _stride(self.image, math.prod(call.given[2:])))
        changes = sum(before != after for before, after in pairwise([*strides, made.stride]))
        own = (self.map_of(inner) for inner in call.inner if not inner.is_layer and inner.last_convolution())
        return changes <= 1 and all(each.stride == made.stride for each in own if each)


@dataclass(frozen=True)
class _Part:
    """A part of a network: a module at one resolution, or a loose layer."""

    call: Call
    map: FeatureMap

    def ends(self, after: "_Part | None") -> bool:
        """False for a block that another one follows in the same list, with as many channels at the same resolution."""
        parent, _, name = self.map.name.rpartition(".")
        if after is None or not name.isdecimal() or after.map.channels != self.map.channels:
            return True
        return after.map.name.rpartition(".")[0] != parent


def _feature_map(call: Call, image: Tensor) -> FeatureMap | None:
    """The feature map that a call returned; None if it isn't one, or its channels can't be told from its pixels."""
    shape = call.shape
    if len(shape) != image.ndim or shape[0] != len(image):
        return None
    sized = [(layer.module, size) for layer in call.layers() if (size := _features(layer.module))]
    module, features = sized[-1] if sized else (None, None)
    if call.is_layer and isinstance(call.module, CHANNELS_FIRST):
        features = shape[1]
    fits_first, fits_last = shape[1] == features, shape[-1] == features
    known = isinstance(call.module, CHANNELS_FIRST) or call.last_convolution() is not None
    if fits_first == fits_last and not known:  # either, or neither
        return None
    channels_last = fits_last and not fits_first and not isinstance(module, CONVOLUTIONS)
    pixels = math.prod(shape[1:]) // shape[-1 if channels_last else 1]
    channels = shape[-1] if channels_last else shape[1]
    return FeatureMap(call.name, channels, _stride(image, pixels), channels_last, dims=image.ndim - 2)


def _stride(image: Tensor, pixels: int) -> int:
    """Side of the image over that of a feature map with so many pixels."""
    ratio = math.prod(image.shape[2:]) / max(pixels, 1)
    return round(float(ratio ** (1 / (image.ndim - 2))))


def _features(module: nn.Module) -> int | None:
    """Number of features that a layer returns; None for layers that keep as many as they get."""
    if isinstance(module, CONVOLUTIONS):
        return module.out_channels
    if isinstance(module, nn.Linear):
        return module.out_features
    if isinstance(module, nn.LayerNorm):
        return module.normalized_shape[-1]
    return None


def _is_of_tokens(call: Call, image: Tensor) -> bool:
    """True for modules that return `(N, tokens, C)`: convolutions inside them are no stages of the network."""
    return len(call.shape) == 3 and call.shape[0] == len(image)


def _gives_logits(call: Call, made: FeatureMap, classes: int) -> bool:
    """True for a head: it ends in a 1x1 convolution to as many channels as the network has outputs."""
    last = call.last_convolution()
    return made.channels == classes and isinstance(last, CONVOLUTIONS) and math.prod(last.kernel_size) == 1


def _tensors(output: object) -> Iterator[Tensor]:
    """Tensors in a network's output, whatever it is made of."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, dict):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, list | tuple):
        for value in output:
            yield from _tensors(value)
