"""Smaller images and masks: each square of pixels becomes one."""

from typing import Any

import numpy as np
import numpy.typing as npt

from metaseg.data.mask_values import Pixels
from metaseg.data.reading import ImagePixels


def shrink_image(pixels: ImagePixels, factor: int) -> ImagePixels:
    """Average squares of `factor` x `factor` pixels; whole numbers are rounded.

    Args:
        pixels: `(H, W, C)`.
        factor: side of a square, at least 1; squares at the lower and right edge may be cut off.

    Returns:
        `(ceil(H / factor), ceil(W / factor), C)`, of the same type.
    """
    if factor == 1:
        return pixels
    mean = _squares(pixels, factor).mean(axis=(1, 3), dtype=np.float64)
    small: ImagePixels = (mean if pixels.dtype.kind == "f" else np.rint(mean)).astype(pixels.dtype)
    return small


def shrink_mask(mask: Pixels, factor: int) -> Pixels:
    """Give each square of `factor` x `factor` pixels its most frequent value; of equally frequent ones the smallest.

    Args:
        mask: `(H, W)`.
        factor: side of a square, at least 1; squares at the lower and right edge may be cut off.

    Returns:
        `(ceil(H / factor), ceil(W / factor))`, of the same type.
    """
    if factor == 1:
        return mask
    values = np.unique(mask)
    squares = _squares(mask, factor)
    counts = np.stack([(squares == value).sum(axis=(1, 3)) for value in values])
    small: Pixels = values[counts.argmax(axis=0)]
    return small


def _squares(pixels: npt.NDArray[Any], factor: int) -> npt.NDArray[Any]:
    """View as `(rows, factor, columns, factor, ...)`; the edge is repeated where a square is cut off."""
    height, width = pixels.shape[:2]
    beyond = [(0, -height % factor), (0, -width % factor), *[(0, 0)] * (pixels.ndim - 2)]
    padded = np.pad(pixels, beyond, mode="edge")
    return padded.reshape(padded.shape[0] // factor, factor, padded.shape[1] // factor, factor, *pixels.shape[2:])
