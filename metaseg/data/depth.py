"""Images of 16 bits a value: which they are, how they become 8 bits, and what is left of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile

from metaseg.data.mask_values import Pixels, Stored

SCALING_VERSION = 2
"""`DECODER_VERSION` of datasets with an image of 16 bits."""

OUTLYING = 0.001
"""Share of an image's values at either end that mustn't decide how the others are scaled."""

TOUCHING = 0.5
"""Pairs of neighbours for each outlier up to which they are single pixels: 2 within a spot, 0.01 by chance."""

LEVELS = 64
"""Grey levels, of 256, that the others need."""

FEW_LEVELS = 16
"""Grey levels for nearly all of an image that are too few to go without a warning."""

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of a TIFF file."""


def is_16_bit(path: Path) -> bool:
    """Whether an image file holds 16 bits a value, by its header; False for what can't be read."""
    try:
        with path.open("rb") as file:
            head = file.read(26)
        if head.startswith(b"\x89PNG"):
            return head[24] == 16
        if head.startswith(TIFF_STARTS):
            with tifffile.TiffFile(path, _multifile=False) as tiff:
                return bool(tiff.pages.first.dtype == np.uint16)
    except Exception:  # a damaged file can raise anything inside a parser; decoding it tells what is wrong
        return False
    return False


def to_8_bits(stored: Stored) -> Pixels:
    """Values scaled to 0..255 by their minimum and maximum, outliers cut off where they leave the others few levels."""
    low, high = int(stored.min()), int(stored.max())
    inner = np.quantile(stored, [OUTLYING, 1 - OUTLYING], method="inverted_cdf").astype(int)
    if (inner[1] - inner[0]) * 255 < LEVELS * (high - low) and inner[1] > inner[0]:
        # Hot and dead pixels stand alone; what doesn't is something that there is to see.
        low = int(inner[0]) if _stand_alone(stored < inner[0]) else low
        high = int(inner[1]) if _stand_alone(stored > inner[1]) else high
    span = max(high - low, 1)
    clipped = np.clip(stored, low, high).astype(np.uint32) - low
    return ((clipped * 255 + span // 2) // span).astype(np.uint8)


def _stand_alone(outliers: npt.NDArray[np.bool_]) -> bool:
    """Whether pixels `(H, W)` or `(H, W, C)` hardly touch each other."""
    pixels = np.asarray(np.atleast_3d(outliers).any(axis=2))
    beside = (pixels[1:] & pixels[:-1]).sum() + (pixels[:, 1:] & pixels[:, :-1]).sum()
    return bool(beside <= TOUCHING * pixels.sum())


def grey_levels(pixels: Pixels) -> int:
    """From how many grey levels all but a hundredth of an image's values are; 256 of a black image."""
    low, high = np.quantile(pixels, [0.005, 0.995], method="inverted_cdf").astype(int)
    return int(high - low) + 1 if pixels.any() else 256


def few_levels(source: str, images: Sequence[str], levels: Sequence[int]) -> str | None:
    """What to warn of where images have lost nearly all of their grey levels to a few bright or dark values.

    Args:
        source: what errors call the manifest.
        images: as the manifest has them.
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
