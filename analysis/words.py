"""How numbers and lists read in a sentence."""

from collections.abc import Sequence


def format_p(p: float) -> str:
    """A p-value with three decimals, two above 0.1: `p=0.002`, `p=0.31`, `p<0.001`, `p=1`."""
    if p < 0.001:
        return "p<0.001"
    if p < 0.1:
        return f"p={p:.3f}"
    return f"p={p:.2f}" if p < 0.995 else "p=1"


FORMULAS = {
    "f1": "F1 (Dice) = 2TP / (2TP + FP + FN)",
    "iou": "IoU (Jaccard) = TP / (TP + FP + FN)",
    "precision": "precision = TP / (TP + FP)",
    "recall": "recall = TP / (TP + FN)",
}
"""Of scores from counts of pixels."""


def metric_name(metric: str) -> str:
    """What a score is called in a sentence: `F1`, `IoU`; scores from elsewhere by their own name."""
    return {"f1": "F1", "iou": "IoU"}.get(metric, metric)


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
