"""Loss of each sample: cross-entropy plus soft Dice, never computed over a whole batch.

The loss of a batch is the mean of its samples' losses, whichever samples share the batch. This makes data-parallel
training equal to training on one worker.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from metaseg.config import IGNORED


def soft_dice(probability: Tensor, target: Tensor) -> Tensor:
    """Soft Dice of each sample and class.

    Args:
        probability: `(N, K, H, W)` in [0, 1].
        target: `(N, K, H, W)`, 0 or 1.

    Returns:
        `(N, K)` in (0, 1]. One pixel is added to numerator and denominator, so that a class that is absent from both
        mask and prediction scores 1.
    """
    overlap = (probability * target).sum(dim=(2, 3))
    total = probability.sum(dim=(2, 3)) + target.sum(dim=(2, 3))
    return (2 * overlap + 1) / (total + 1)


def segmentation_loss(logits: Tensor, target: Tensor, has_ignored: bool = False) -> Tensor:
    """Cross-entropy plus `1 - soft Dice`, for each sample.

    Args:
        logits: `(N, 1, H, W)` for one class (binary cross-entropy), or `(N, 1 + K, H, W)` with background first.
        target: `(N, H, W)` integers, 0 background, k the k-th class.
        has_ignored: True if the target may hold `IGNORED`, for pixels that don't count.

    Returns:
        `(N,)` losses, in float32 whatever the logits' type. Dice is averaged over the K classes, without background.
    """
    logits = logits.float()
    if has_ignored:
        return _loss_of_known(logits, target, target != IGNORED)
    if logits.shape[1] == 1:
        one_class = target[:, None].float()
        entropy = F.binary_cross_entropy_with_logits(logits, one_class, reduction="none").mean(dim=(1, 2, 3))
        return entropy + 1 - soft_dice(torch.sigmoid(logits), one_class)[:, 0]
    entropy = F.cross_entropy(logits, target.long(), reduction="none").mean(dim=(1, 2))
    classes = F.one_hot(target.long(), logits.shape[1]).movedim(-1, 1)[:, 1:].float()
    return entropy + 1 - soft_dice(torch.softmax(logits, dim=1)[:, 1:], classes).mean(dim=1)


def _loss_of_known(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """`segmentation_loss` over the known pixels, `(N, H, W)`; 0 for a sample without any."""
    label, counts = torch.where(known, target, 0).long(), known.float()
    if logits.shape[1] == 1:
        entropy = F.binary_cross_entropy_with_logits(logits[:, 0], label.float(), reduction="none")
        probability, actual = torch.sigmoid(logits), label[:, None].float()
    else:
        entropy = F.cross_entropy(logits, label, reduction="none")
        probability = torch.softmax(logits, dim=1)[:, 1:]
        actual = F.one_hot(label, logits.shape[1]).movedim(-1, 1)[:, 1:].float()
    mean = (entropy * counts).sum(dim=(1, 2)) / counts.sum(dim=(1, 2)).clamp(min=1)
    dice = soft_dice(probability * counts[:, None], actual * counts[:, None]).mean(dim=1)
    return mean + 1 - dice
