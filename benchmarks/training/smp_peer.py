"""A U-Net of segmentation_models_pytorch with a ResNet-18, untrained, in the textbook's loop."""

from functools import cache
from itertools import product

import segmentation_models_pytorch as smp
import torch
from torch import nn

from benchmarks.training.bare import Arithmetic
from benchmarks.training.loop import Loop, Loss, Unconditioned
from benchmarks.training.textbook import mean_loss, textbook
from benchmarks.training.work import Work

DEPTHS, WIDTHS = (3, 4, 5), (8, 16, 32, 64)
"""Depths of the encoder, and widths of the decoder's last stage but for one, that are tried."""


def unet(depth: int, width: int) -> nn.Module:
    """The network; its decoder's stages are twice as wide as the next."""
    widths = [width * 2**level for level in reversed(range(depth))]
    network: nn.Module = smp.Unet(
        "resnet18", encoder_depth=depth, encoder_weights=None, decoder_channels=widths, in_channels=1, classes=1
    )
    return network


def used(network: nn.Module) -> int:
    """Number of the parameters that logits depend on: encoders have all their stages, whatever their depth."""
    network(torch.zeros(2, 1, 64, 64)).sum().backward()
    count = sum(weights.numel() for weights in network.parameters() if weights.grad is not None)
    network.zero_grad(set_to_none=True)
    return count


@cache
def closest(parameters: int) -> tuple[int, int]:
    """The depth and width whose network has closest to so many parameters."""

    def apart(shape: tuple[int, int]) -> int:
        return abs(used(unet(*shape)) - parameters)

    return min(product(DEPTHS, WIDTHS), key=apart)


def smp_network(parameters: int) -> tuple[nn.Module, Loss]:
    """U-Net with about `parameters` parameters, and its loss."""
    return Unconditioned(unet(*closest(parameters))), mean_loss


def smp_loop(work: Work, seed: int, epochs: int, parameters: int, arithmetic: Arithmetic) -> Loop:
    """The loop, ready to train."""
    depth, width = closest(parameters)
    torch.manual_seed(seed)
    network = unet(depth, width)
    about = f"Unet of resnet18 with {depth} stages, decoder from {width} channels"
    loop = textbook(work, seed, epochs, arithmetic, (Unconditioned(network), mean_loss, about))
    loop.parameters = used(unet(depth, width))
    return loop
