"""A run's history: losses, scores and speed of each epoch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Epoch:
    """A row of a run's history."""

    epoch: int
    """Number of the epoch, from 1."""
    train_loss: float
    """Mean loss of the epoch's crops, each computed before the step that it is part of."""
    val_f1: float | None
    """Mean F1 over validation images and classes, at full resolution; None in epochs without validation."""
    learning_rate: float
    """Learning rate of the epoch's last step."""
    images_per_second: float
    """Training crops per second, without validation."""
    seconds: float
    """Duration of the epoch, including validation."""
