"""Confusion counts and F1. Counts are integers, so that every average can be computed exactly later."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from metaseg.config import IGNORED


def confusion_counts(logits: Tensor, target: Tensor) -> Tensor:
    """True positives, false positives, false negatives and true negatives of each sample and class, in pixels.

    Args:
        logits: `(N, 1, H, W)` for one class (threshold: probability 0.5), or `(N, 1 + K, H, W)` (most likely one wins).
        target: `(N, H, W)` integers, 0 background, k the k-th class, `IGNORED` for pixels that aren't counted.

    Returns:
        `(N, K, 4)` int64: tp, fp, fn, tn.
    """
    classes = max(1, logits.shape[1] - 1)
    label = (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(dim=1)
    values = torch.arange(1, classes + 1, device=logits.device)[None, :, None, None]
    predicted, actual = label[:, None] == values, target[:, None] == values
    negative = ~actual & (target != IGNORED)[:, None]
    cells = [predicted & actual, predicted & negative, ~predicted & actual, ~predicted & negative]
    return torch.stack([cell.sum(dim=(2, 3)) for cell in cells], dim=-1)


def f1_score(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """F1 (Dice) `2 tp / (2 tp + fp + fn)` of `(..., 4)` counts; 1 if neither mask nor prediction has a pixel."""
    tp, fp, fn = (counts[..., cell].astype(np.float64) for cell in range(3))
    total = 2 * tp + fp + fn
    return np.where(total == 0, 1.0, 2 * tp / np.maximum(total, 1))
