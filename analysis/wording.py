"""Wording of reports: numbers and lists in a sentence, and the names of things."""

from collections.abc import Sequence
from dataclasses import dataclass


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
"""Formulas of scores from counts of pixels."""


def metric_name(metric: str) -> str:
    """Name of a score in a sentence: `F1`, `IoU`; scores from elsewhere keep their own."""
    return {"f1": "F1", "iou": "IoU"}.get(metric, metric)


@dataclass(frozen=True)
class Names:
    """Names of things in sentences, tables and axes."""

    score: str = "F1"
    """`F1`, `dice`."""
    image: str = "image"
    images: str = "images"
    groups: str = "groups"
    """Groups of images that aren't independent: `groups`, `patients`."""
    subgroup: str = "subgroup"
    """The column that results are broken down by."""
    grouped: bool = False
    """True if some group has several images, so that groups are the units of a test."""
    of_test: bool = True
    """True if images are known to be test images."""
    margin: str = "the study's margin"
    """The margin of equivalence, with its owner."""
    compared: str = "the declared comparisons"
    """The comparisons in the row of all images."""
    equal: str = "arms that receive no metadata"
    """Those that are claimed to be equal to another."""
    undeclared: frozenset[str] = frozenset()
    """Those of margin, average, endpoint and comparisons that nobody declared."""

    @property
    def tested(self) -> str:
        """`test images`, or `images` where no one said so."""
        return f"test {self.images}" if self.of_test else self.images

    @property
    def units(self) -> str:
        """Independent units of a test: `images`, `groups of images`, `patients`."""
        return self.several(self.grouped)

    def several(self, grouped: bool) -> str:
        """`units` of a part of the data, of which it is known whether it is grouped."""
        if not grouped:
            return self.images
        return f"groups of {self.images}" if self.groups == "groups" else self.groups


NAMES = Names()
"""Those of a study of our own."""

RENAMED = ("metric", "image", "group", "subgroup")
"""Things that can have another name."""


def plural(word: str) -> tuple[str, str]:
    """A word and its plural, which may follow it after a slash: `mouse/mice`."""
    one, slash, many = word.partition("/")
    if slash and one and many:
        return one, many
    if word.endswith(("s", "x", "ch", "sh")):
        return word, f"{word}es"
    if word.endswith("y") and not word.endswith(("ay", "ey", "oy", "uy")):
        return word, f"{word[:-1]}ies"
    return word, f"{word}s"


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
