"""Networks of metaseg besides its U-Net, by name."""

from collections.abc import Callable

from torch import nn

from metaseg.networks.resdunet import ResDUNet
from metaseg.networks.unet_concat import UNetConcat

NATIVE: dict[str, Callable[..., nn.Module]] = {"resdunet": ResDUNet, "unet-concat": UNetConcat}
"""Classes with blocks built in, called as `metaseg.networks.unet.UNet` is, without `heads`."""
