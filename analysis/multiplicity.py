"""Many comparisons at once: p-values corrected for the size of their family."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def holm(p: Floats) -> Floats:
    """p-values corrected by Holm's method (1979, Scand J Stat 6:65): the chance of any false finding is kept.

    Args:
        p: shape `(..., comparisons)`; each row of the last axis is a family. NaN, where there was no test, stays NaN
            and doesn't count.
    """
    order, ordered, size = _sorted(p)
    steps = ordered * (size - np.arange(p.shape[-1]))
    return _restored(np.maximum.accumulate(steps, axis=-1), order)


def benjamini_hochberg(p: Floats) -> Floats:
    """p-values corrected by Benjamini's and Hochberg's method (1995, J R Stat Soc B 57:289).

    Keeps the expected share of false ones among the findings, for independent or positively dependent tests. For
    exploration, not for declared comparisons.

    Args:
        p: shape `(..., comparisons)`, as for `holm`.
    """
    order, ordered, size = _sorted(p)
    steps = ordered * size / np.arange(1, p.shape[-1] + 1)
    # fmin passes over NaN, which come last and would else spread to all before them.
    least = np.fmin.accumulate(steps[..., ::-1], axis=-1)[..., ::-1]
    return _restored(np.where(np.isnan(ordered), np.nan, least), order)


def _sorted(p: Floats) -> tuple[npt.NDArray[np.intp], Floats, npt.NDArray[np.intp]]:
    """Places in ascending order, NaN last; the values in it; the size of each family, shape `(..., 1)`."""
    order = np.argsort(p, axis=-1)
    return order, np.take_along_axis(p, order, axis=-1), np.sum(~np.isnan(p), axis=-1, keepdims=True)


def _restored(steps: Floats, order: npt.NDArray[np.intp]) -> Floats:
    corrected = np.empty_like(steps)
    np.put_along_axis(corrected, order, np.minimum(steps, 1), axis=-1)
    return corrected
