"""The command that lists where blocks can be put in a network."""

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from metaseg.config import ConfigError
from metaseg.networks.feature_maps import conditionable
from metaseg.networks.network_name import name_network
from metaseg.networks.segmenter import make_network


def print_networks(network: str, channels: int, everything: bool, console: Console) -> None:
    """Print the feature maps of a network that `--condition-at` can name.

    Args:
        network: a name as `--network` takes it.
        channels: channels of the image.
        everything: list all, not the stages alone.
        console: to print on.

    Raises:
        ConfigError: the network is unknown or can't be built, or is metaseg's own, whose blocks have `--positions`.
    """
    name = name_network(network)
    if name.is_ours:
        raise ConfigError(f"network {network!r} is metaseg's own: --positions says where its blocks are")
    with torch.random.fork_rng(devices=[]):
        maps = conditionable(make_network(name, channels, 1))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("module", "channels", "stride", "stage"):
        table.add_column(heading, justify="right" if heading in ("channels", "stride") else "left", overflow="fold")
    for each in maps:
        if everything or each.stage:
            table.add_row(each.name, str(each.channels), str(each.stride), "stage" if each.stage else "")
    console.print(table, highlight=False)
    stages = sum(each.stage for each in maps)
    more = "" if everything else f"; --everything lists all {len(maps)} modules that --condition-at can name"
    console.print(f"Blocks modulate the outputs of these {stages} stages{more}.", soft_wrap=True, highlight=False)
