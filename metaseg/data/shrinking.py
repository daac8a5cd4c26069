"""Shrinking of images and masks by a whole number, and enlarging of predictions back to an image's size."""

import numpy as np
import numpy.typing as npt

from metaseg.data.mask_values import Pixels
from metaseg.data.reading import ImagePixels


def shrink_image(pixels: ImagePixels, factor: int) -> ImagePixels:
    """Average `(H, W, C)` over squares of `factor` pixels: `(ceil(H / factor), ceil(W / factor), C)`, of the same type.

    Integers are rounded. Where a side isn't a multiple, the last pixels are repeated to complete the squares.
    """
    if factor == 1:
        return pixels
    rows, columns = (_repeating_last(size, np.arange(size + -size % factor)) for size in pixels.shape[:2])
    squares = pixels[rows][:, columns].reshape(len(rows) // factor, factor, len(columns) // factor, factor, -1)
    means = squares.mean(axis=(1, 3), dtype=np.float64)
    means = np.rint(means) if np.issubdtype(pixels.dtype, np.integer) else means
    shrunk: ImagePixels = means.astype(pixels.dtype)
    return shrunk


def shrink_mask(mask: Pixels, factor: int) -> Pixels:
    """Take the middle pixel of each square of `factor` pixels of `(H, W)`, so that values stay values of the mask.

    Unlike the most frequent value, it makes no class larger or smaller on average.
    """
    if factor == 1:
        return mask
    rows, columns = (_repeating_last(size, np.arange(factor // 2, size + factor // 2, factor)) for size in mask.shape)
    return mask[rows][:, columns]


def enlarge_mask(mask: Pixels, factor: int, height: int, width: int) -> Pixels:
    """Repeat each pixel of a shrunken mask to a square of `factor` pixels: `(height, width)`, the image's size."""
    return mask.repeat(factor, axis=0).repeat(factor, axis=1)[:height, :width]


def _repeating_last(size: int, places: npt.NDArray[np.int_]) -> npt.NDArray[np.int_]:
    """Move places beyond the last of `size` pixels to it."""
    return np.minimum(places, size - 1)
