"""Images as pictures show them: grey or RGB of 8 bits, whatever their channels and values are."""

import numpy as np
import numpy.typing as npt

from metaseg.data.reading import ImagePixels


def to_display(image: ImagePixels) -> npt.NDArray[np.uint8]:
    """Turn an image `(H, W, C)` into one to look at: `(H, W, 1)` or `(H, W, 3)` of 8 bits.

    Grey and RGB images of 8 bits stay as they are. The first three of more channels are red, green and
    blue; of two, the first is grey. Each channel is stretched from its 0.5th to its 99.5th percentile.
    """
    if image.dtype == np.uint8 and image.shape[2] in (1, 3):
        return image.astype(np.uint8, copy=False)
    shown = image[..., : 3 if image.shape[2] >= 3 else 1].astype(np.float64)
    low, high = np.percentile(shown, (0.5, 99.5), axis=(0, 1))
    share = (shown - low) / np.where(high > low, high - low, 1)
    return np.asarray(np.round(255 * np.clip(share, 0, 1)), dtype=np.uint8)
