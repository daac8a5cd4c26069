"""Image and mask files as arrays.

Images are PNG, JPEG or TIFF, masks PNG or TIFF (recognised by content, not by name), with one page. Orientation tags
are ignored, so that an image stays aligned with its mask. Files are not trusted: a file that is truncated, or claims
more pixels than Pillow's limit, is an error.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from metaseg.config import ConfigError
from metaseg.data.depth import TIFF_STARTS, to_8_bits
from metaseg.data.manifest import ManifestError
from metaseg.data.mask_values import MaskValues, Pixels, Stored
from metaseg.data.reading import ImagePixels, Reading, narrowest
from metaseg.data.shrinking import shrink_image
from metaseg.data.tiff import BIT_DEPTHS, check_alpha, check_pages, check_size, load_tiff

DECODER_VERSION = 1
"""Raised whenever a file would decode to other values than before."""

_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff"}


def decode_image(path: Path, reading: Reading = Reading()) -> ImagePixels:
    """Decode an image as `(H, W, 1)` if it is grey, `(H, W, 3)` if it has colour.

    - 8-bit values are kept. 16-bit values are scaled to 0..255 by the image's own minimum and maximum (over all
      channels; a constant image becomes 0). If a thousandth of the values at either end would leave the others fewer
      than 64 levels, as a hot pixel does, these outliers are clipped. 1-bit values become 0 and 255.
    - With `reading.kept`, 16-bit values stay as they are, uint16, and so do floats, float32, which 8-bit and 16-bit
      signed values become, too.
    - Alpha is dropped. Palettes, CMYK and the like become RGB; a white-is-zero TIFF is inverted.
    - An RGB(A) file whose three channels are equal counts as grey.
    - With `reading.every_channel`, the result is `(H, W, C)` with all channels of the file, equal or not. A TIFF says
      which axis they are: see `metaseg.data.tiff`.
    - With `reading.shrink`, squares of so many pixels are averaged: see `metaseg.data.shrinking`.

    Args:
        path: PNG, JPEG or TIFF file.
        reading: what of the file's values, channels and resolution is kept.

    Raises:
        ManifestError: the file can't be read, has several pages or another bit depth, doesn't say which axis is
            channels, or holds NaN or infinity; it is named.

    Example:
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from metaseg import decode_image
        >>> Image.new("L", (30, 20)).save("grey.png")
        >>> decode_image(Path("grey.png")).shape
        (20, 30, 1)
    """
    stored = _load(path, is_mask=False, reading=reading)
    pixels: ImagePixels
    if stored.dtype == np.bool_:
        pixels = stored.astype(np.uint8) * np.uint8(255)
    elif reading.kept:
        pixels = _kept(path, stored)
    elif stored.dtype == np.uint8:
        pixels = stored.astype(np.uint8)
    else:
        pixels = to_8_bits(stored)
    return shrink_image(np.atleast_3d(pixels) if reading.every_channel else _grey_if_equal(pixels), reading.shrink)


def _kept(path: Path, stored: Stored) -> ImagePixels:
    """Values in the narrowest type of `PIXEL_TYPES` that holds them."""
    with np.errstate(over="ignore"):
        pixels: ImagePixels = stored.astype(narrowest(stored.dtype), copy=False)
    wrong = ~np.isfinite(pixels)
    if wrong.any():
        raise ManifestError(
            f"{path}: {wrong.sum()} of {wrong.size} values are NaN, infinite or beyond single precision; expected "
            "finite numbers"
        )
    return pixels


def to_channels(pixels: ImagePixels, channels: int) -> ImagePixels:
    """Convert `(H, W, 1 or 3)` to `(H, W, channels)`: grey is repeated (a view); colour becomes its ITU-R 601 luma.

    Raises:
        ConfigError: the image has another number of channels, and one of both is neither 1 nor 3.
    """
    if pixels.shape[2] == channels:
        return pixels
    if {pixels.shape[2], channels} != {1, 3}:
        raise ConfigError(f"the image has {pixels.shape[2]} channels; expected {channels}")
    if channels == 3:
        return np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    if pixels.dtype == np.float32:
        return np.asarray(pixels @ np.array([0.299, 0.587, 0.114], dtype=np.float32))[..., None]
    luma = (pixels.astype(np.uint32) @ np.array([299, 587, 114], dtype=np.uint32) + 500) // 1000
    return luma.astype(pixels.dtype)[..., None]


def pixel_statistics(pixels: ImagePixels) -> tuple[float, float]:
    """Mean and standard deviation (1 if constant) over pixels and channels, by which inputs are standardised."""
    return float(pixels.mean(dtype=np.float64)), float(pixels.std(dtype=np.float64)) or 1.0


def decode_mask(files: Sequence[Path], meaning: MaskValues) -> Pixels:
    """Decode a mask as `(H, W)`: 0 (background) to the number of classes, or `IGNORED`.

    - One class: several files (one per object) are united. Several classes: there must be one file.
    - Values are taken as stored: a palette's indices, not its colours; a white-is-zero TIFF is not inverted. The three
      channels of an RGB(A) mask must be equal.

    Raises:
        ManifestError: a file can't be read, isn't one integer channel, holds values without a meaning
            (`MaskValues.decode`), or differs in size from the first file; it is named.
    """
    if len(files) > 1 and len(meaning.classes) > 1:
        raise ManifestError(
            f"{files[0].parent}: holds {len(files)} mask files, one per object, which can't be assigned to the classes "
            f"{', '.join(meaning.classes)}; expected one file, or one class"
        )
    united: Pixels | None = None
    for path in files:
        values = load_mask(path)
        if values.shape[2] != 1:
            raise ManifestError(f"{path}: is a colour mask; expected one channel, or three equal ones")
        mask = meaning.decode(path, values[..., 0])
        if united is not None and united.shape != mask.shape:
            raise ManifestError(f"{path}: is {_size(mask)}; expected {_size(united)}, as the folder's first mask")
        united = mask if united is None else united | mask  # 255 stays 255
    if united is None:
        raise ValueError("a mask needs at least one file")
    return united


def load_mask(path: Path) -> Stored:
    """Read a mask's values as stored: `(H, W, 1)`, or `(H, W, 3)` if it has colour.

    Raises:
        ManifestError: the file can't be read; it is named.
    """
    return _grey_if_equal(_load(path, is_mask=True))


def mask_files(path: Path) -> list[Path]:
    """List the files of a mask: the file itself, or those in its folder, sorted by name.

    Raises:
        ManifestError: the folder holds no PNG, TIFF or JPEG file.
    """
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.glob("[!.]*") if file.suffix.lower() in _SUFFIXES and file.is_file())
    if not files:
        raise ManifestError(f"{path}: holds no mask; expected PNG or TIFF files, one per object")
    return files


def _size(pixels: Pixels) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]} (width x height)"


def _grey_if_equal(pixels: Stored) -> Stored:
    """Convert `(H, W)` or `(H, W, C)` to `(H, W, 1)` if all channels are equal, else to `(H, W, C)`."""
    if pixels.ndim == 2:
        return pixels[..., None]
    return pixels[..., :1] if (pixels == pixels[..., :1]).all() else pixels


def _load(path: Path, is_mask: bool, reading: Reading = Reading()) -> Stored:
    """Read values as stored: `(H, W)` or `(H, W, 3)`; or `(H, W, C)`, with `reading.every_channel`."""
    try:
        with path.open("rb") as file:
            head = file.read(26)
        if is_mask and head.startswith(b"\xff\xd8"):
            raise ManifestError(f"{path}: is a JPEG, which blurs a mask's values; expected PNG or TIFF")
        pixels = load_tiff(path, is_mask, reading) if head.startswith(TIFF_STARTS) else None
        if pixels is None:
            pixels = _load_pillow(path, is_mask, head)
        strange = pixels.shape[2:] not in ((), (1,), (3,)) and not reading.every_channel
        if pixels.ndim not in (2, 3) or strange or not pixels.size:
            raise ValueError(f"its pixels are an array {pixels.shape}")
    except ManifestError:
        raise
    except Exception as error:  # a damaged file can raise anything inside a decoder
        raise ManifestError(f"{path}: unreadable image ({error}); expected a whole PNG, TIFF or JPEG file") from error
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def _load_pillow(path: Path, is_mask: bool, head: bytes = b"") -> Stored:
    if head.startswith(b"\x89PNG") and head[24] == 16 and head[25] != 0:
        # Pillow would keep the high bytes only
        raise ManifestError(
            f"{path}: wrong bit depth (16-bit colour or alpha PNG); {BIT_DEPTHS}, or a 16-bit colour TIFF"
        )
    with Image.open(path, formats=("PNG", "JPEG", "TIFF")) as image:
        check_pages(path, getattr(image, "n_frames", 1))
        check_size(path, image.width, image.height)
        if image.mode in ("I", "F"):
            raise ManifestError(f"{path}: wrong bit depth (Pillow mode {image.mode!r}); {BIT_DEPTHS}")
        if image.mode in ("1", "L", "RGB") or image.mode.startswith("I;16") or (is_mask and image.mode == "P"):
            return np.asarray(image)
        if is_mask and image.mode in ("LA", "RGBA"):
            check_alpha(path, np.asarray(image))
        if image.mode == "LA":
            return np.asarray(image)[..., 0]
        return np.asarray(image.convert("RGB"))
