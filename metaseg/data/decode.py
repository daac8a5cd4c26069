"""Image and mask files as uint8 arrays.

Images are PNG, JPEG or TIFF, masks PNG or TIFF (told by content, not by name), with one page. Orientation tags are
ignored, so that an image stays on its mask. Files are not trusted: what is truncated, or claims more pixels than
Pillow's limit, is an error.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC, PLANARCONFIG

from metaseg.data.manifest import ManifestError

DECODER_VERSION = 1
"""Raised whenever a file would decode to other values than before."""

Pixels = npt.NDArray[np.uint8]
Stored = npt.NDArray[Any]  # bool, uint8 or uint16

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # our error says what is wrong with a damaged file

_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff"}
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BIT_DEPTHS = "expected 8-bit (grey or colour), 16-bit (unsigned) or 1-bit"


def decode_image(path: Path) -> Pixels:
    """An image as `(H, W, 1)` where it is grey, `(H, W, 3)` where it has colour.

    - 8-bit values are kept. 16-bit values are scaled to 0..255 by the image's own minimum and maximum (over all
      channels; a constant image becomes 0). 1-bit values become 0 and 255.
    - Alpha is dropped. Palettes, CMYK and the like become RGB; a white-is-zero TIFF is inverted.
    - Grey is decided by content: an RGB(A) file whose three channels are equal is grey.

    Raises:
        ManifestError: naming the file, when it can't be read, has several pages or another bit depth.
    """
    stored = _load(path, is_mask=False)
    if stored.dtype == np.bool_:
        pixels = stored.astype(np.uint8) * np.uint8(255)
    elif stored.dtype == np.uint8:
        pixels = stored.astype(np.uint8)
    else:
        low, high = int(stored.min()), int(stored.max())
        span = max(high - low, 1)
        pixels = (((stored.astype(np.uint32) - low) * 255 + span // 2) // span).astype(np.uint8)
    return _grey_if_equal(pixels)


def to_channels(pixels: Pixels, channels: int) -> Pixels:
    """Pixels `(H, W, 1 or 3)` as `(H, W, channels)`: grey is repeated (a view); colour becomes its ITU-R 601 luma."""
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    luma = (pixels.astype(np.uint32) @ np.array([299, 587, 114], dtype=np.uint32) + 500) // 1000
    return luma.astype(np.uint8)[..., None]


def pixel_statistics(pixels: Pixels) -> tuple[float, float]:
    """Mean and standard deviation (1 of a constant image) over pixels and channels: what inputs are standardised by."""
    return float(pixels.mean(dtype=np.float64)), float(pixels.std(dtype=np.float64)) or 1.0


def decode_mask(files: Sequence[Path], classes: Sequence[str]) -> Pixels:
    """A mask as `(H, W)`, values 0 (background) to `len(classes)`.

    - One class: every value above 0 is 1, so that instance labels are binarised, and several files (one an object) are
      united. Several classes: value k is the k-th class, and there is one file.
    - Values are those stored: a palette's indices, not its colours; a white-is-zero TIFF is not inverted. Of an RGB(A)
      mask, the three channels must be equal.

    Raises:
        ManifestError: naming the file, when it can't be read, isn't one integer channel, holds a value that is no
            class, or isn't of the first file's size.
    """
    if len(files) > 1 and len(classes) > 1:
        raise ManifestError(
            f"{files[0].parent}: holds {len(files)} mask files, one an object, which can't be told into the classes "
            f"{', '.join(classes)}; expected one file, or one class"
        )
    united: Pixels | None = None
    for path in files:
        values = load_mask(path)
        if values.shape[2] != 1:
            raise ManifestError(f"{path}: is a colour mask; expected one channel, or three equal ones")
        mask = (
            (values[..., 0] > 0).astype(np.uint8) if len(classes) == 1 else _class_values(path, values[..., 0], classes)
        )
        if united is not None and united.shape != mask.shape:
            raise ManifestError(f"{path}: is {_size(mask)}; expected {_size(united)}, as the folder's first mask")
        united = mask if united is None else united | mask
    if united is None:
        raise ValueError("a mask needs at least one file")
    return united


def load_mask(path: Path) -> Stored:
    """A mask's values as stored: `(H, W, 1)`, or `(H, W, 3)` where it has colour.

    Raises:
        ManifestError: naming the file, when it can't be read.
    """
    return _grey_if_equal(_load(path, is_mask=True))


def mask_files(path: Path) -> list[Path]:
    """The files of a mask: itself, or what its folder holds, by name.

    Raises:
        ManifestError: when the folder holds no PNG, TIFF or JPEG file.
    """
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES)
    if not files:
        raise ManifestError(f"{path}: holds no mask; expected PNG or TIFF files, one an object")
    return files


def _class_values(path: Path, values: Stored, classes: Sequence[str]) -> Pixels:
    if values.max() > len(classes):
        found = np.unique(values)
        shown = ", ".join(map(str, found[:10])) + (", ..." if len(found) > 10 else "")
        expected = ", ".join(f"{k} {name}" for k, name in enumerate(["background", *classes]))
        raise ManifestError(f"{path}: has mask values {shown}; expected {expected}")
    return values.astype(np.uint8)


def _size(pixels: Pixels) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]} (width x height)"


def _grey_if_equal(pixels: Stored) -> Stored:
    """`(H, W)` or `(H, W, C)` to `(H, W, 1)` where all channels are equal, else `(H, W, C)`."""
    if pixels.ndim == 2:
        return pixels[..., None]
    return pixels[..., :1] if (pixels == pixels[..., :1]).all() else pixels


def _load(path: Path, is_mask: bool) -> Stored:
    """Values as stored: `(H, W)` or `(H, W, 3)`."""
    try:
        with path.open("rb") as file:
            head = file.read(26)
        if is_mask and head.startswith(b"\xff\xd8"):
            raise ManifestError(f"{path}: is a JPEG, which blurs a mask's values; expected PNG or TIFF")
        pixels = _load_tiff(path, is_mask) if head.startswith(_TIFF_STARTS) else _load_pillow(path, is_mask, head)
        if pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (1,), (3,)) or not pixels.size:
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
            f"{path}: wrong bit depth (16-bit colour or alpha PNG); {_BIT_DEPTHS}, or a 16-bit colour TIFF"
        )
    with Image.open(path, formats=("PNG", "JPEG", "TIFF")) as image:
        _check_pages(path, getattr(image, "n_frames", 1))
        _check_size(path, image.width, image.height)
        if image.mode in ("I", "F"):
            raise ManifestError(f"{path}: wrong bit depth (Pillow mode {image.mode!r}); {_BIT_DEPTHS}")
        if image.mode in ("1", "L", "RGB") or image.mode.startswith("I;16") or (is_mask and image.mode == "P"):
            return np.asarray(image)
        if image.mode == "LA":
            return np.asarray(image)[..., 0]
        return np.asarray(image.convert("RGB"))


def _load_tiff(path: Path, is_mask: bool) -> Stored:
    """By tifffile where it has the codec, which keeps 16-bit colour whole; else by Pillow (LZW, JPEG, palettes)."""
    with tifffile.TiffFile(path) as tiff:
        _check_pages(path, len(tiff.pages))
        page = tiff.pages.first
        _check_size(path, page.imagewidth, page.imagelength)
        if page.dtype not in (np.bool_, np.uint8, np.uint16):
            raise ManifestError(f"{path}: wrong bit depth ({page.dtype or page.bitspersample}); {_BIT_DEPTHS}")
        alpha = page.extrasamples[-1:] in ((EXTRASAMPLE.ASSOCALPHA,), (EXTRASAMPLE.UNASSALPHA,))
        channels = page.samplesperpixel - alpha
        if channels not in (1, 3) or page.imagedepth != 1:
            raise ManifestError(
                f"{path}: has {channels} channels, depth {page.imagedepth}; expected grey or RGB, depth 1"
            )
        plain = page.photometric in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.RGB)
        inverted = page.photometric == PHOTOMETRIC.MINISWHITE
        if not plain or page.compression not in (COMPRESSION.NONE, COMPRESSION.ADOBE_DEFLATE):
            if inverted or (page.dtype == np.uint16 and page.samplesperpixel > 1):
                raise ManifestError(
                    f"{path}: is a white-is-zero or 16-bit colour TIFF of compression {int(page.compression)}; "
                    "expected no compression, or deflate"
                )
            return _load_pillow(path, is_mask)
        pixels = page.asarray()
        if page.samplesperpixel > 1:
            if page.planarconfig == PLANARCONFIG.SEPARATE:
                pixels = np.moveaxis(pixels, 0, -1)
            pixels = pixels[..., 0] if channels == 1 else pixels[..., :3]
        return np.invert(pixels) if inverted and not is_mask else pixels


def _check_pages(path: Path, pages: int) -> None:
    if pages == 0:
        raise ValueError("no page")
    if pages != 1:
        raise ManifestError(f"{path}: has {pages} pages; expected one")


def _check_size(path: Path, width: int, height: int) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > limit:
        raise ManifestError(f"{path}: claims {width}x{height} pixels; expected at most {limit} (a decompression bomb?)")
