"""Plausibility of all masks of a dataset compared with each other; warnings name the files."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from metaseg.config import IGNORED
from metaseg.data.mask_values import Pixels
from metaseg.data.reading import ImagePixels

NEARLY_ALL = 0.98
"""Share of foreground in a mask, and of such masks among all, from which background may count as foreground."""

SHOWN = 5
"""Files that a warning names."""


@dataclass(frozen=True)
class MaskFacts:
    """Summary of one mask for the comparison."""

    foreground: float
    """Foreground's share of the pixels that aren't ignored; NaN if all are."""
    border: float
    """The same share on the image's border, one pixel wide."""
    has_ignored: bool
    """True if some pixels are ignored."""
    contrast: float
    """Difference of the image's mean in the foreground and in the background, in standard deviations of the image; 0 if
    one of the two is empty."""

    @classmethod
    def of(cls, mask: Pixels, image: ImagePixels) -> "MaskFacts":
        """Summarise a mask `(H, W)` and its image `(H, W, C)`."""
        counts, inside = mask != IGNORED, (mask > 0) & (mask != IGNORED)
        border = np.ones(mask.shape, bool)
        border[1:-1, 1:-1] = False
        grey = image.mean(axis=2)
        outside, spread, contrast = counts & ~inside, float(grey.std()), 0.0
        if inside.any() and outside.any() and spread > 0:
            contrast = float(grey[inside].mean() - grey[outside].mean()) / spread
        return cls(_share(inside, counts), _share(inside & border, counts & border), not counts.all(), contrast)


def _share(part: npt.NDArray[np.bool_], whole: npt.NDArray[np.bool_]) -> float:
    total = np.count_nonzero(whole)
    return np.count_nonzero(part) / total if total else float("nan")


def implausible(source: str, files: Sequence[str], facts: Sequence[MaskFacts]) -> str | None:
    """Return a warning if nearly all masks are foreground nearly everywhere, or a few look inverted; else None.

    Args:
        source: the manifest's name in messages.
        files: paths of the masks, as in the manifest.
        facts: one summary for each mask.
    """
    foreground = np.array([each.foreground for each in facts])
    full = foreground > NEARLY_ALL
    if full.mean() >= NEARLY_ALL:
        return (
            f"{source}: {full.sum()} of {len(full)} masks are foreground nearly everywhere (the first: "
            f"{files[int(full.argmax())]}), as every value above 0 is. Where another value is background, say which "
            "are the class with --foreground, and which don't count with --ignore"
        )
    if odd := [files[k] for k in _inverted(facts)]:
        more = f" and {len(odd) - SHOWN} more" if len(odd) > SHOWN else ""
        return (
            f"{source}: {len(odd)} of {len(files)} masks look inverted beside the others, foreground outside and "
            f"background inside: {', '.join(odd[:SHOWN])}{more}"
        )
    return None


def _inverted(facts: Sequence[MaskFacts]) -> list[int]:
    """Return the indices of masks that would fit the others if they were inverted, and don't fit as they are.

    The foreground of the others is the smaller part, mostly away from the border, and consistently brighter or darker
    than the background. An inverted mask differs in all three. A mask of nothing but foreground has no brightness to
    compare; it isn't reported if other masks are nothing but background. If the others hardly touch the border and one
    mask covers all of it around a hole, brightness isn't considered where it is uninformative.
    """
    foreground, border, contrast = (
        np.array([getattr(each, name) for each in facts]) for name in ("foreground", "border", "contrast")
    )
    usual = foreground <= 0.5
    if len(facts) < 4 or usual.mean() <= 0.5 or np.nanquantile(border[usual], 0.9) > 0.5:
        return []
    signs = np.sign(contrast[usual & (contrast != 0)])
    side = np.sign(signs.sum()) if len(signs) and abs(signs.mean()) > 0.8 else 0.0
    turned = (foreground > 0.5) & (border > 0.6) & (1 - foreground <= np.nanquantile(foreground[usual], 0.95) + 1e-9)
    full = (foreground == 1) & ~(foreground == 0).any()
    around = (border == 1) & (foreground < 1) & (np.nanquantile(border[usual], 0.9) < 0.05) & (side == 0)
    turned &= full | around | ((side != 0) & (np.sign(contrast) == -side))
    return np.flatnonzero(turned).tolist()
