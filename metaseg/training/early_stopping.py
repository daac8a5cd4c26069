"""Early stopping: training ends when validation hasn't become better for a while."""

from collections.abc import Sequence

from metaseg.training.history import Epoch


def has_stalled(history: Sequence[Epoch], patience: int | None) -> bool:
    """Return True if the last `patience` validations of a history have no better F1 than one before them.

    An equal F1 isn't better. It is a function of the history alone, which a checkpoint holds and all workers share: a
    resumed training stops where one that wasn't interrupted does.
    """
    scores = [epoch.val_f1 for epoch in history if epoch.val_f1 is not None]
    return patience is not None and bool(scores) and len(scores) - 1 - scores.index(max(scores)) >= patience
