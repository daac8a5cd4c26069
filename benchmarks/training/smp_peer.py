"""U-Net of segmentation_models_pytorch, trained by the textbook's loop with the package's own loss."""

import torch
from torch import Tensor, nn

try:
    import torchvision  # noqa: F401  which timm needs
except RuntimeError:
    # PyPI's torchvision is built for CUDA: beside a CPU build of torch its operators are missing. None is used.
    _operators = torch.library.Library("torchvision", "DEF")
    for _name in ("nms", "qnms"):
        _operators.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
from segmentation_models_pytorch import Unet
from segmentation_models_pytorch.losses import BINARY_MODE, DiceLoss
from torch.nn.functional import binary_cross_entropy_with_logits

from benchmarks.training.bare import Arithmetic
from benchmarks.training.contender import closest_width
from benchmarks.training.loop import Loop, Loss, Unconditioned
from benchmarks.training.textbook import textbook
from benchmarks.training.work import Work

ENCODER = "tu-tf_mobilenetv3_small_minimal_100"
"""The package's smallest encoder, 0.4 million weights; already resnet18 has 11 million, five times our network's."""


def unet(width: int) -> Unet:
    """Without pretrained weights; the decoder doubles its width from level to level, as ours does."""
    widths = tuple(width * 2**level for level in reversed(range(5)))
    return Unet(ENCODER, encoder_weights=None, in_channels=1, classes=1, decoder_channels=widths)


def smp_network(parameters: int) -> tuple[nn.Module, Loss, int]:
    """U-Net with about `parameters` parameters, its loss, and its width."""
    with torch.device("meta"):
        width = closest_width(lambda each: sum(w.numel() for w in unet(each).parameters()), parameters)
    dice = DiceLoss(BINARY_MODE)

    def loss(logits: Tensor, mask: Tensor) -> Tensor:
        target = mask[:, None].float()
        found: Tensor = dice(logits, target) + binary_cross_entropy_with_logits(logits, target)
        return found

    return Unconditioned(unet(width)), loss, width


def smp_loop(work: Work, seed: int, epochs: int, parameters: int, arithmetic: Arithmetic) -> Loop:
    """U-Net with about `parameters` parameters, ready to train."""
    torch.manual_seed(seed)
    model, loss, width = smp_network(parameters)
    about = f"U-Net with encoder {ENCODER}, without pretrained weights, decoder of width {width}"
    return textbook(work, seed, epochs, arithmetic, (model, loss, about))
