"""Loss of each sample: by default cross-entropy plus soft Dice, never computed over a whole batch.

The loss of a batch is the mean of its samples' losses, whichever samples share the batch. This makes data-parallel
training equal to training on one worker.
"""

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import Tensor

from metaseg.config import IGNORED, ConfigError, LossConfig
from metaseg.packages import install

SampleLoss = Callable[[Tensor, Tensor], Tensor]
"""Function of logits `(N, 1 or 1 + K, H, W)` and target `(N, H, W)`, as of `segmentation_loss`: `(N,)` losses, float32
whatever the logits' type. Pixels whose target is `IGNORED` don't count."""

SMOOTHING = 0.5
"""Pixels added to numerator and denominator of the Tversky index: with weights of 0.5 it is then `soft_dice`."""


def check_loss(config: LossConfig, classes: int) -> None:
    """Check, before anything is trained, that a loss can be computed for a number of classes.

    Raises:
        ConfigError: there isn't a weight for background and each class, the only weights are of no effect, or the
            package that computes the loss isn't installed.
    """
    weights = config.class_weights
    if weights and len(weights) != 1 + classes:
        raise ConfigError(
            f"class_weights is {weights!r}; expected {1 + classes} numbers: of background and of "
            f"{'the class' if classes == 1 else f'each of {classes} classes'}"
        )
    if weights and classes == 1 and config.loss == "tversky":
        raise ConfigError(
            f"class_weights is {weights!r}; expected none for the Tversky loss of one class, which weighs false "
            "positives and negatives (tversky_alpha, tversky_beta) instead"
        )
    if config.loss in ("focal", "tversky") and find_spec("monai") is None:
        raise ConfigError(f"loss {config.loss!r} needs the package monai, which isn't installed: {install('losses')}")


def build_loss(config: LossConfig, classes: int, has_ignored: bool, device: torch.device) -> SampleLoss:
    """The loss of a run.

    Cross-entropy and focal loss are means over the known pixels of a sample, weighted by the class weights of their
    true classes, as in `torch.nn.functional.cross_entropy`. Dice and Tversky loss are means over classes without
    background, weighted by the classes' weights.

    Args:
        config: which loss.
        classes: K, the number of classes besides background.
        has_ignored: True if targets may hold `IGNORED`.
        device: device of logits and targets.

    Raises:
        ConfigError: see `check_loss`.
    """
    check_loss(config, classes)
    if config == LossConfig():
        return partial(segmentation_loss, has_ignored=has_ignored)
    weights = torch.tensor(config.class_weights or [1.0] * (1 + classes), dtype=torch.float32, device=device)
    of_pixels = _focal(config.focal_gamma) if config.loss == "focal" else _cross_entropy
    of_classes = _tversky(config.tversky_alpha, config.tversky_beta) if config.loss == "tversky" else _dice

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        logits, known = logits.float(), target != IGNORED
        label = torch.where(known, target, 0).long()
        losses = torch.zeros(len(logits), device=logits.device)
        if config.loss != "tversky":
            counts = known * weights[label]
            total = counts.sum(dim=(1, 2)).clamp(min=torch.finfo(torch.float32).tiny)
            losses = losses + (of_pixels(logits, label) * counts).sum(dim=(1, 2)) / total
        if config.loss in ("bce-dice", "tversky"):
            each = of_classes(*(values * known[:, None] for values in _classes(logits, label)))
            losses = losses + (each * weights[1:]).sum(dim=1) / weights[1:].sum()
        return losses

    return loss


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
    entropy, (probability, actual) = _cross_entropy(logits, label), _classes(logits, label)
    mean = (entropy * counts).sum(dim=(1, 2)) / counts.sum(dim=(1, 2)).clamp(min=1)
    dice = soft_dice(probability * counts[:, None], actual * counts[:, None]).mean(dim=1)
    return mean + 1 - dice


def _cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy of each pixel, `(N, H, W)`."""
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits[:, 0], label.float(), reduction="none")
    return F.cross_entropy(logits, label, reduction="none")


def _classes(logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities of the classes without background, and 1 where they truly are, else 0: `(N, K, H, W)` each."""
    if logits.shape[1] == 1:
        return torch.sigmoid(logits), label[:, None].float()
    return torch.softmax(logits, dim=1)[:, 1:], _one_hot(label, logits.shape[1])[:, 1:]


def _one_hot(label: Tensor, values: int) -> Tensor:
    return F.one_hot(label, values).movedim(-1, 1).float()


def _dice(probability: Tensor, actual: Tensor) -> Tensor:
    return 1 - soft_dice(probability, actual)


def _focal(gamma: float) -> SampleLoss:
    """Focal loss of each pixel, `(N, H, W)`, by MONAI."""
    from monai.losses.focal_loss import FocalLoss

    binary, several = (FocalLoss(gamma=gamma, use_softmax=softmax, reduction="none") for softmax in (False, True))

    def of_pixels(logits: Tensor, label: Tensor) -> Tensor:
        if logits.shape[1] == 1:
            losses: Tensor = binary(logits, label[:, None].float())
        else:
            losses = several(logits, _one_hot(label, logits.shape[1]))
        return losses.sum(dim=1)

    return of_pixels


def _tversky(alpha: float, beta: float) -> SampleLoss:
    """Tversky loss of each sample and class, `(N, K)`, by MONAI."""
    from monai.losses.tversky import TverskyLoss

    of_classes: SampleLoss = TverskyLoss(
        alpha=alpha, beta=beta, smooth_nr=SMOOTHING, smooth_dr=SMOOTHING, reduction="none"
    )
    return of_classes
