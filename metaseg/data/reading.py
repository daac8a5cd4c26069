"""The way in which image files become arrays: values scaled to 8 bits or kept, channels converted or all taken."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from metaseg.config import MOST_SHRINK, DataConfig

ImagePixels = npt.NDArray[np.uint8 | np.uint16 | np.float32]
"""Decoded image, `(H, W, C)`: uint8, or the type that holds the file's values."""

PIXEL_TYPES = ("uint8", "uint16", "float32")
"""Types in which images are kept, each of which holds all values of those before it."""


@dataclass(frozen=True)
class Reading:
    """Settings of reading an image file."""

    kept: bool = False
    """True if 16-bit and float values are kept, not scaled to 8 bits."""
    every_channel: bool = False
    """True if an image has as many channels as its file; else it is grey or RGB."""
    shrink: int = 1
    """Side of the squares of pixels that become one (`metaseg.data.shrink`), after the file is decoded."""

    @classmethod
    def of(cls, config: DataConfig) -> "Reading":
        """The reading that a dataset's settings ask for."""
        return cls(config.pixels == "keep", config.channels == "all", config.shrink)

    def to_json(self) -> dict[str, bool | int]:
        """The settings that aren't the default."""
        return {name: chosen for name, chosen in vars(self).items() if chosen != getattr(Reading, name)}

    @classmethod
    def from_json(cls, description: Mapping[str, Any]) -> "Reading":
        """Inverse of `to_json`; entries of `description` that aren't its settings are left out."""
        shrink = description.get("shrink", 1)
        if type(shrink) is not int or not 1 <= shrink <= MOST_SHRINK:
            raise ValueError(f"shrink is {shrink!r:.40}; expected a whole number from 1 to {MOST_SHRINK}")
        kept, every_channel = (description.get(name, False) is True for name in ("kept", "every_channel"))
        return cls(kept, every_channel, shrink)


def narrowest(stored: np.dtype[Any]) -> str | None:
    """Name of the narrowest of `PIXEL_TYPES` that holds a file's type; None if none does.

    1-bit values count as 0 and 255. Values of double precision are rounded to single precision.
    """
    if stored == np.bool_:
        return "uint8"
    if stored == np.float64:
        return "float32"
    return next((name for name in PIXEL_TYPES if np.can_cast(stored, name)), None)
