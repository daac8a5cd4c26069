"""Initial weights that are a function of a layer's name, so that networks with different blocks start alike."""

import hashlib

import torch
from torch import nn

from metaseg.networks.blocks import ChannelModulation


def initialise_by_name(network: nn.Module, seed: int) -> None:
    """Draw the weights of all layers outside blocks anew, each from a random stream of its own.

    PyTorch draws the weights of a network's layers one after the other, so that a block, which draws as well, changes
    all that come after it. Here a layer's stream is a hash of the seed and its name: networks with other blocks, and
    otherwise alike, get the same weights outside blocks. Blocks keep what they have.

    Args:
        network: changed in place.
        seed: of the run (its stream).
    """
    in_block: set[nn.Module] = set()
    for module in network.modules():
        if isinstance(module, ChannelModulation):
            in_block.update(module.modules())
    with torch.random.fork_rng(devices=[]):
        for name, module in network.named_modules():
            reset = getattr(module, "reset_parameters", None)
            if reset is not None and module not in in_block:
                digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
                torch.manual_seed(int.from_bytes(digest[:7]))
                reset()
