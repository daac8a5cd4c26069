"""Networks of metaseg besides its U-Net, by name."""

from collections.abc import Callable

from torch import nn

NATIVE: dict[str, Callable[..., nn.Module]] = {}
"""Classes with blocks built in, called as `metaseg.networks.unet.UNet` is, without `heads`."""
