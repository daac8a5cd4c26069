"""Image and mask files as uint8 arrays.

Images are PNG, JPEG or TIFF, masks PNG or TIFF (recognised by content, not by name), with one page. Orientation tags
are ignored, so that an image stays aligned with its mask. Files are not trusted: a file that is truncated, or claims
more pixels than Pillow's limit, is an error.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC, PLANARCONFIG

from metaseg.data.depth import TIFF_STARTS, to_8_bits
from metaseg.data.manifest import ManifestError
from metaseg.data.mask_values import MaskValues, Pixels, Stored

DECODER_VERSION = 1
"""Raised whenever a file would decode to other values than before."""

_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff"}
LOSSLESS = {
    COMPRESSION.NONE, COMPRESSION.LZW, COMPRESSION.ADOBE_DEFLATE, COMPRESSION.DEFLATE, COMPRESSION.PACKBITS,
    COMPRESSION.CCITTRLE, COMPRESSION.CCITT_T4, COMPRESSION.CCITT_T6, COMPRESSION.LZMA, COMPRESSION.ZSTD,
}  # fmt: skip
"""TIFF compressions that keep a mask's values."""

_BIT_DEPTHS = "expected 8-bit (grey or colour), 16-bit (unsigned) or 1-bit"


def decode_image(path: Path) -> Pixels:
    """Decode an image as `(H, W, 1)` if it is grey, `(H, W, 3)` if it has colour.

    - 8-bit values are kept. 16-bit values are scaled to 0..255 by the image's own minimum and maximum (over all
      channels; a constant image becomes 0). If a thousandth of the values at either end would leave the others fewer
      than 64 levels, as a hot pixel does, these outliers are clipped. 1-bit values become 0 and 255.
    - Alpha is dropped. Palettes, CMYK and the like become RGB; a white-is-zero TIFF is inverted.
    - An RGB(A) file whose three channels are equal counts as grey.

    Raises:
        ManifestError: the file can't be read, has several pages or another bit depth; it is named.
    """
    stored = _load(path, is_mask=False)
    if stored.dtype == np.bool_:
        pixels = stored.astype(np.uint8) * np.uint8(255)
    elif stored.dtype == np.uint8:
        pixels = stored.astype(np.uint8)
    else:
        pixels = to_8_bits(stored)
    return _grey_if_equal(pixels)


def to_channels(pixels: Pixels, channels: int) -> Pixels:
    """Convert `(H, W, 1 or 3)` to `(H, W, channels)`: grey is repeated (a view); colour becomes its ITU-R 601 luma."""
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    luma = (pixels.astype(np.uint32) @ np.array([299, 587, 114], dtype=np.uint32) + 500) // 1000
    return luma.astype(np.uint8)[..., None]


def pixel_statistics(pixels: Pixels) -> tuple[float, float]:
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


def _load(path: Path, is_mask: bool) -> Stored:
    """Read values as stored: `(H, W)` or `(H, W, 3)`."""
    try:
        with path.open("rb") as file:
            head = file.read(26)
        if is_mask and head.startswith(b"\xff\xd8"):
            raise ManifestError(f"{path}: is a JPEG, which blurs a mask's values; expected PNG or TIFF")
        pixels = _load_tiff(path, is_mask) if head.startswith(TIFF_STARTS) else _load_pillow(path, is_mask, head)
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
        if is_mask and image.mode in ("LA", "RGBA"):
            _check_alpha(path, np.asarray(image))
        if image.mode == "LA":
            return np.asarray(image)[..., 0]
        return np.asarray(image.convert("RGB"))


def _load_tiff(path: Path, is_mask: bool) -> Stored:
    """Read by tifffile, which keeps 16-bit colour whole, if it has the codec; else by Pillow (LZW, JPEG, palettes)."""
    with tifffile.TiffFile(path, _multifile=False) as tiff:
        _check_pages(path, len(tiff.pages))
        page = tiff.pages.first
        _check_planes(path, tiff)
        _check_size(path, page.imagewidth, page.imagelength)
        if page.dtype not in (np.bool_, np.uint8, np.uint16):
            raise ManifestError(f"{path}: wrong bit depth ({page.dtype or page.bitspersample}); {_BIT_DEPTHS}")
        alpha = page.extrasamples[-1:] in ((EXTRASAMPLE.ASSOCALPHA,), (EXTRASAMPLE.UNASSALPHA,))
        channels = page.samplesperpixel - alpha
        if channels not in (1, 3) or page.imagedepth != 1:
            raise ManifestError(
                f"{path}: has {channels} channels, depth {page.imagedepth}; expected grey or RGB, depth 1"
            )
        if is_mask and page.compression not in LOSSLESS:
            name = COMPRESSION(page.compression).name
            raise ManifestError(
                f"{path}: its compression, {name}, blurs a mask's values; expected a lossless one: deflate, LZW"
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
        _check_whole(tiff)
        pixels = page.asarray()
        if page.samplesperpixel > 1:
            if page.planarconfig == PLANARCONFIG.SEPARATE:
                pixels = np.moveaxis(pixels, 0, -1)
            if is_mask and alpha:
                _check_alpha(path, pixels)
            pixels = pixels[..., 0] if channels == 1 else pixels[..., :3]
        return np.invert(pixels) if inverted and not is_mask else pixels


def _check_alpha(path: Path, pixels: Stored) -> None:
    """Refuse a mask `(H, W, 2 or 4)` whose alpha channel shows another mask than its colours do."""
    colour, alpha = pixels[..., :-1].any(axis=-1), pixels[..., -1] > 0
    if not alpha.all() and (colour != alpha).any():
        raise ManifestError(
            f"{path}: transparency and colour show different masks; expected a mask without transparency: save it as a "
            "grey image"
        )


def _check_whole(tiff: tifffile.TiffFile) -> None:
    """Raise `ValueError` for a page with missing strips or tiles, which would be read as zeros."""
    page, size = tiff.pages.first, tiff.filehandle.size
    parts, wanted = list(zip(page.dataoffsets, page.databytecounts, strict=False)), int(np.prod(page.chunked))
    found = sum(start > 0 and count > 0 and start + count <= size for start, count in parts)
    if found != wanted:
        raise ValueError(f"{found} of {wanted} strips or tiles are there")


def _check_planes(path: Path, tiff: tifffile.TiffFile) -> None:
    """Refuse a stack in one page, as ImageJ writes large ones: planes one after the other, declared or not."""
    page = tiff.pages.first
    assert isinstance(page, tifffile.TiffPage)
    planes = 1
    if tiff.is_imagej:
        noted = {"images": 1, "channels": 1, "slices": 1, "frames": 1, **(tiff.imagej_metadata or {})}
        channels = 1 if page.samplesperpixel > 1 else int(noted["channels"])
        planes = max(int(noted["images"]), channels * int(noted["slices"]) * int(noted["frames"]))
    elif tiff.is_ome or tiff.is_shaped or tiff.is_stk:
        series = tiff.series
        planes = series[0].size // max(page.size, 1) if series else 1
    if planes == 1 and page.is_contiguous and page.nbytes >= 256:  # tags behind a smaller page may be as long as it
        behind = tiff.filehandle.size - page.dataoffsets[0] - page.nbytes
        planes += behind // page.nbytes if behind > 0 and behind % page.nbytes == 0 else 0
    if planes > 1:
        raise ManifestError(f"{path}: is a stack of {planes} planes in one page; expected one image per file")


def _check_pages(path: Path, pages: int) -> None:
    if pages == 0:
        raise ValueError("no page")
    if pages != 1:
        raise ManifestError(f"{path}: has {pages} pages; expected one")


def _check_size(path: Path, width: int, height: int) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > limit:
        raise ManifestError(f"{path}: claims {width}x{height} pixels; expected at most {limit} (a decompression bomb?)")
