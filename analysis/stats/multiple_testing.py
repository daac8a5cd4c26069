"""Multiple testing: p-values corrected for the size of their family."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def holm(p: Floats) -> Floats:
    """Correct p-values by Holm's method (1979, Scand J Stat 6:65), which controls the chance of any false finding.

    Args:
        p: shape `(..., comparisons)`; each row of the last axis is a family. NaN, where there was no test, stays NaN
            and doesn't count.

    Returns:
        Corrected p-values of the same shape.

    Example:
        >>> import numpy as np
        >>> from analysis import holm
        >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
        [0.03, 0.06, 0.06]
    """
    order, ordered, size = _sorted(p)
    steps = ordered * (size - np.arange(p.shape[-1]))
    return _restored(np.maximum.accumulate(steps, axis=-1), order)


def benjamini_hochberg(p: Floats) -> Floats:
    """Correct p-values by the method of Benjamini and Hochberg (1995, J R Stat Soc B 57:289).

    It controls the expected share of false findings among all findings (the false discovery rate), for independent or
    positively dependent tests. It is for exploration, not for declared comparisons.

    Args:
        p: shape `(..., comparisons)`, as for `holm`.

    Returns:
        Corrected p-values of the same shape.

    Example:
        >>> import numpy as np
        >>> from analysis import benjamini_hochberg
        >>> benjamini_hochberg(np.array([0.01, 0.04, 0.03])).round(3).tolist()
        [0.03, 0.04, 0.04]
    """
    order, ordered, size = _sorted(p)
    steps = ordered * size / np.arange(1, p.shape[-1] + 1)
    # fmin passes over NaN, which come last and would else spread to all before them.
    least = np.fmin.accumulate(steps[..., ::-1], axis=-1)[..., ::-1]
    return _restored(np.where(np.isnan(ordered), np.nan, least), order)


def holm_levels(p: Floats, alpha: float) -> Floats:
    """The level at which Holm's method tests each comparison: p < level exactly where the corrected p is below alpha.

    The i-th smallest of m p-values is tested at alpha / (m - i + 1), as long as all before are found; those that aren't
    found at the level of the first of them. An interval of confidence 1 - level excludes 0 where the test finds a
    difference, and only there.

    Args:
        p: `(comparisons,)`; NaN stays NaN.
        alpha: of the family, 0..1.
    """
    order, ordered, size = _sorted(p)
    count = int(size[0])
    steps = alpha / np.maximum(count - np.arange(len(p)), 1)
    found = int(np.logical_and.accumulate(ordered < steps).sum())
    steps[found:] = alpha / max(count - found, 1)
    return _levels(steps, order, ordered)


def benjamini_hochberg_levels(p: Floats, alpha: float) -> Floats:
    """Levels as in `holm_levels`, for the Benjamini-Hochberg method.

    With R of m found it is R alpha / m for those: the intervals that keep the share of false ones among those that are
    looked at (Benjamini & Yekutieli 2005, J Am Stat Assoc 100:71). It is (R + 1) alpha / m for the others.
    """
    order, ordered, size = _sorted(p)
    count = int(size[0])
    rank = np.arange(1, len(p) + 1)
    below = np.flatnonzero(ordered < rank * alpha / max(count, 1))
    found = int(below[-1]) + 1 if len(below) else 0
    steps = np.where(rank <= found, found, found + 1) * alpha / max(count, 1)
    return _levels(steps, order, ordered)


def _levels(steps: Floats, order: npt.NDArray[np.intp], ordered: Floats) -> Floats:
    levels = np.empty_like(ordered)
    levels[order] = np.where(np.isnan(ordered), np.nan, steps)
    return levels


def _sorted(p: Floats) -> tuple[npt.NDArray[np.intp], Floats, npt.NDArray[np.intp]]:
    """Places in ascending order, NaN last; the values in it; the size of each family, shape `(..., 1)`."""
    order = np.argsort(p, axis=-1)
    return order, np.take_along_axis(p, order, axis=-1), np.sum(~np.isnan(p), axis=-1, keepdims=True)


def _restored(steps: Floats, order: npt.NDArray[np.intp]) -> Floats:
    corrected = np.empty_like(steps)
    np.put_along_axis(corrected, order, np.minimum(steps, 1), axis=-1)
    return corrected
