"""A run's history: what an epoch was like."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Epoch:
    """A row of a run's history."""

    epoch: int
    """Epochs finished, from 1."""
    train_loss: float
    """Mean loss of the epoch's crops, each as it was met."""
    val_f1: float | None
    """Mean F1 over validation images and classes, at full resolution; None in epochs that weren't validated."""
    learning_rate: float
    """Of the epoch's last step."""
    images_per_second: float
    """Training crops a second, validation not counted."""
    seconds: float
    """Duration of the epoch, validation counted."""
