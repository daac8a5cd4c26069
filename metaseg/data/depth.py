"""Depth of images: detecting it, scaling 16 bits to 8, and counting the grey levels that remain."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from metaseg.data.mask_values import Pixels, Stored
from metaseg.data.reading import PIXEL_TYPES, ImagePixels, narrowest

SCALING_VERSION = 2
"""`DECODER_VERSION` of datasets with a 16-bit image."""

OUTLYING = 0.001
"""Share of an image's values at either end that are outliers, if they would decide how the others are scaled."""

TOUCHING = 0.5
"""Most pairs of neighbours per outlier for outliers to count as single pixels: 2 within a spot, 0.01 by chance."""

LEVELS = 64
"""Grey levels, of 256, that the other values need."""

FEW_LEVELS = 16
"""With fewer grey levels than this in nearly all of an image, there is a warning."""

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of a TIFF file."""


def is_16_bit(path: Path) -> bool:
    """Return True if an image file has 16 bits per value, by its header; False if it can't be read."""
    return stored_type(path) == np.uint16


def stored_type(path: Path) -> np.dtype[Any]:
    """Type of an image file's values, by its header; uint8 if it can't be read."""
    try:
        with path.open("rb") as file:
            head = file.read(26)
        if head.startswith(b"\x89PNG") and head[24] == 16:
            return np.dtype(np.uint16)
        if head.startswith(TIFF_STARTS):
            with tifffile.TiffFile(path, _multifile=False) as tiff:
                return np.dtype(tiff.pages.first.dtype or np.uint8).newbyteorder("=")
    except Exception:  # a damaged file can raise anything inside a parser; decoding it reports what is wrong
        return np.dtype(np.uint8)
    return np.dtype(np.uint8)


def common_type(stored: Iterable[np.dtype[Any]]) -> str:
    """Name of the narrowest of `PIXEL_TYPES` that holds the kept values of all files; others are refused later."""
    return max((narrowest(each) or "uint8" for each in stored), key=PIXEL_TYPES.index, default="uint8")


def to_8_bits(stored: Stored) -> Pixels:
    """Scale values to 0..255 by their minimum and maximum; clip outliers that would leave the others few levels."""
    low, high = int(stored.min()), int(stored.max())
    inner = np.quantile(stored, [OUTLYING, 1 - OUTLYING], method="inverted_cdf").astype(int)
    if (inner[1] - inner[0]) * 255 < LEVELS * (high - low) and inner[1] > inner[0]:
        # Hot and dead pixels stand alone; outliers that touch each other are structures to be seen.
        low = int(inner[0]) if _stand_alone(stored < inner[0]) else low
        high = int(inner[1]) if _stand_alone(stored > inner[1]) else high
    span = max(high - low, 1)
    clipped = np.clip(stored, low, high).astype(np.uint32) - low
    return ((clipped * 255 + span // 2) // span).astype(np.uint8)


def _stand_alone(outliers: npt.NDArray[np.bool_]) -> bool:
    """Return True if pixels `(H, W)` or `(H, W, C)` hardly touch each other."""
    pixels = np.asarray(np.atleast_3d(outliers).any(axis=2))
    beside = (pixels[1:] & pixels[:-1]).sum() + (pixels[:, 1:] & pixels[:, :-1]).sum()
    return bool(beside <= TOUCHING * pixels.sum())


def grey_levels(pixels: ImagePixels) -> int:
    """Count the grey levels between the 0.5th and the 99.5th percentile of an image; 256 for a black image."""
    low, high = np.quantile(pixels, [0.005, 0.995], method="inverted_cdf").astype(int)
    return int(high - low) + 1 if pixels.any() else 256


def few_levels(source: str, images: Sequence[str], levels: Sequence[int]) -> str | None:
    """Return a warning if images have lost nearly all of their grey levels to a few bright or dark values, else None.

    Args:
        source: the manifest's name in messages.
        images: paths of the images, as in the manifest.
        levels: `grey_levels` of each.
    """
    poor = [f"{image} ({count})" for image, count in zip(images, levels, strict=True) if count < FEW_LEVELS]
    if not poor:
        return None
    more = f" and {len(poor) - 5} more" if len(poor) > 5 else ""
    return (
        f"{source}: {len(poor)} images of 16 bits have hardly any of 256 grey levels left in nearly all of their area, "
        f"since a few values are far from the others: {', '.join(poor[:5])}{more}. Cut these off, and save 8 bits"
    )
