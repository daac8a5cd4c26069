"""Deep supervision: in training, a network may return further logits at lower resolutions, each with a loss of its own.

Lee et al. (Deeply-supervised nets, AISTATS 2015) introduced such losses. The weights are those of nnU-Net (Isensee et
al., Nature Methods 2021): each half of the one before, with a sum of 1.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from metaseg.config import ConfigError
from metaseg.training.losses import SampleLoss


def supervised_loss(outputs: Tensor | Sequence[Tensor], target: Tensor, loss: SampleLoss) -> Tensor:
    """The loss of each sample, over all that a network returns in training mode.

    Args:
        outputs: logits `(N, C, H, W)`; or a sequence of logits, the first as large as the target, the others
            `(N, C, h, w)` of any other size.
        target: `(N, H, W)` integers.
        loss: loss of each sample, from logits and a target of one size.

    Returns:
        `(N,)`: the loss; of a sequence, the mean of its elements' losses, weighted 1, 1/2, 1/4, ... Each is computed
        with the target in the nearest pixels, so that ignored pixels stay ignored.

    Raises:
        ConfigError: the sequence is empty, or its first element isn't as large as the target.
    """
    if isinstance(outputs, Tensor):
        return loss(outputs, target)
    found = [tuple(logits.shape[2:]) for logits in outputs]
    if not found or found[0] != target.shape[1:]:
        raise ConfigError(
            f"the network returns logits of sizes {found} in training; expected the first to be as large as the image, "
            f"{tuple(target.shape[1:])}"
        )
    weights = [2.0**-level for level in range(len(outputs))]
    losses = [
        weight / sum(weights) * loss(logits, nearest(target, logits.shape[2], logits.shape[3]))
        for weight, logits in zip(weights, outputs, strict=True)
    ]
    return torch.stack(losses).sum(dim=0)


def nearest(target: Tensor, height: int, width: int) -> Tensor:
    """Resize masks `(N, H, W)` to `(N, height, width)`: each pixel is the one at its centre."""
    if (height, width) == tuple(target.shape[1:]):
        return target
    rows, columns = (
        (2 * torch.arange(new, device=target.device) + 1) * old // (2 * new)
        for new, old in zip((height, width), target.shape[1:], strict=True)
    )
    return target[:, rows[:, None], columns[None, :]]
