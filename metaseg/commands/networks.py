"""`metaseg networks`: where in a network blocks can be put."""

from typing import Annotated

import tyro

from metaseg.terminal import Terminal


def networks(
    network: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NETWORK")],
    channels: int = 1,
    everything: bool = False,
) -> None:
    """Show where in a network blocks can be put: its stages, by the names that --condition-at takes.

    Args:
        network: As for --network of a study: smp.Unet:resnet34, monai.BasicUNet, or FILE.py:NAME of your own.
        channels: Channels of the images.
        everything: List all modules with feature maps, not the stages alone.
    """
    from metaseg.cli.networks import print_networks

    print_networks(network, channels, everything, Terminal())
