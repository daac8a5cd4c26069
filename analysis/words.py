"""How numbers and lists read in a sentence, and what a report calls things."""

from collections.abc import Mapping, Sequence
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
"""Of scores from counts of pixels."""


def metric_name(metric: str) -> str:
    """What a score is called in a sentence: `F1`, `IoU`; scores from elsewhere by their own name."""
    return {"f1": "F1", "iou": "IoU"}.get(metric, metric)


@dataclass(frozen=True)
class Names:
    """What sentences, tables and axes call things."""

    score: str = "F1"
    """`F1`, `dice`."""
    image: str = "image"
    images: str = "images"
    groups: str = "groups"
    """Of images that aren't independent: `groups`, `patients`."""
    grouped: bool = False
    """Whether some group has several images, so that groups are the units of a test."""
    of_test: bool = True
    """Whether images are known to be test images."""

    @property
    def tested(self) -> str:
        """`test images`, or `images` where no one said so."""
        return f"test {self.images}" if self.of_test else self.images

    @property
    def units(self) -> str:
        """What a test takes for independent: `images`, `groups of images`, `patients`."""
        if not self.grouped:
            return self.images
        return f"groups of {self.images}" if self.groups == "groups" else self.groups


NAMES = Names()
"""Those of a study of our own."""

RENAMED = ("metric", "image", "group", "subgroup")
"""What can be called by another name."""


def names_of(given: Mapping[str, str], metric: str, grouped: bool, of_test: bool) -> Names:
    """The names to use: those that are given for some of `RENAMED`, else our own.

    Args:
        given: a plural that isn't regular follows a slash: `{"group": "mouse/mice"}`.
        metric: what scores are.
        grouped: whether groups are the units of a test.
        of_test: whether images are known to be test images.
    """
    image, images = _plural(given.get("image", "image"))
    groups = _plural(given.get("group", "group"))[1]
    score = given.get("metric", metric_name(metric))
    return Names(score, image, images, groups, grouped, of_test)


def _plural(word: str) -> tuple[str, str]:
    """A word and its plural, which may follow it after a slash."""
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
