"""Calls of a network's modules: which ones an image passes, in order, and what they return."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from metaseg.config import ConfigError

CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass
class Call:
    """A module's call, with those that it made itself."""

    name: str
    module: nn.Module
    given: tuple[int, ...] = ()
    """Shape of its first argument; empty if that isn't a tensor."""
    output: object = None
    inner: list["Call"] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the output; empty if that isn't one tensor."""
        return tuple(self.output.shape) if isinstance(self.output, Tensor) else ()

    @property
    def is_layer(self) -> bool:
        """True for convolutions, some of which have modules for their padding, and modules without modules."""
        return not self.inner or isinstance(self.module, CONVOLUTIONS)

    def layers(self) -> Iterator["Call"]:
        """Calls of layers, in order: its own if it is one."""
        if self.is_layer:
            yield self
            return
        for call in self.inner:
            yield from call.layers()

    def below(self) -> Iterator["Call"]:
        """All calls that it made and that those made, in the order in which they ended."""
        for call in self.inner:
            yield from call.below()
            yield call

    def last_convolution(self) -> nn.Module | None:
        """The last convolution among its layers."""
        convolutions = [call.module for call in self.layers() if isinstance(call.module, CONVOLUTIONS)]
        return convolutions[-1] if convolutions else None


def trace(network: nn.Module, image: Tensor) -> Call:
    """Run a network on images, in evaluation mode and without gradients.

    Returns:
        The network's own call, with all below.

    Raises:
        ConfigError: the network can't be run on such images.
    """
    root = Call("", network)
    open_calls = [root]
    handles: list[RemovableHandle] = []

    def watch(name: str, module: nn.Module) -> None:
        def enter(_: nn.Module, inputs: tuple[object, ...]) -> None:
            first = inputs[0] if inputs else None
            call = Call(name, module, tuple(first.shape) if isinstance(first, Tensor) else ())
            open_calls[-1].inner.append(call)
            open_calls.append(call)

        def leave(_: nn.Module, inputs: object, output: object) -> None:
            open_calls.pop().output = output

        handles.extend((module.register_forward_pre_hook(enter), module.register_forward_hook(leave)))

    for name, module in network.named_modules():
        if name:
            watch(name, module)
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            root.output = network(image)
    except Exception as error:  # whatever a network raises that doesn't take such an image
        raise ConfigError(
            f"a {type(network).__name__} can't be run on an image of shape {tuple(image.shape)}: {error}; give an "
            "example that it accepts"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes.items():
            module.training = training
    return root
