"""TIFF files: reading values as stored, checking that all of them are there, and knowing which axis is channels."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC, PLANARCONFIG

from metaseg.data.manifest import ManifestError
from metaseg.data.mask_values import Stored
from metaseg.data.reading import Reading, narrowest

LOSSLESS = {
    COMPRESSION.NONE, COMPRESSION.LZW, COMPRESSION.ADOBE_DEFLATE, COMPRESSION.DEFLATE, COMPRESSION.PACKBITS,
    COMPRESSION.CCITTRLE, COMPRESSION.CCITT_T4, COMPRESSION.CCITT_T6, COMPRESSION.LZMA, COMPRESSION.ZSTD,
}  # fmt: skip
"""TIFF compressions that keep a mask's values."""

PLAIN = (COMPRESSION.NONE, COMPRESSION.ADOBE_DEFLATE)
"""Compressions that tifffile reads without further packages."""

BIT_DEPTHS = "expected 8-bit (grey or colour), 16-bit (unsigned) or 1-bit"
KEPT_DEPTHS = "expected 1-bit, 8-bit, 16-bit or float"
"""Depths in errors, of images that are scaled to 8 bits and of those whose values are kept."""


def load_tiff(path: Path, is_mask: bool, reading: Reading = Reading()) -> Stored | None:
    """Read a TIFF file by tifffile, which keeps 16-bit colour whole; None if it lacks the codec (LZW, JPEG, palettes).

    Returns:
        Values as stored: `(H, W)`, `(H, W, 3)`, or `(H, W, C)` with `reading.every_channel`.
    """
    with tifffile.TiffFile(path, _multifile=False) as tiff:
        if reading.every_channel:
            _check_last(tiff)
            if _has_many(tiff):
                return _every_channel(path, tiff, reading)
        check_pages(path, len(tiff.pages), "" if is_mask else ", or --channels all if they are channels")
        page = tiff.pages.first
        _check_planes(path, tiff)
        check_size(path, page.imagewidth, page.imagelength)
        _check_type(path, page, reading)
        channels = page.samplesperpixel - _has_alpha(page)
        if channels not in (1, 3) or page.imagedepth != 1:
            hint = "; --channels all takes any number" if channels > 1 and page.imagedepth == 1 and not is_mask else ""
            raise ManifestError(
                f"{path}: has {channels} channels, depth {page.imagedepth}; expected grey or RGB, depth 1{hint}"
            )
        if is_mask and page.compression not in LOSSLESS:
            name = COMPRESSION(page.compression).name
            raise ManifestError(
                f"{path}: its compression, {name}, blurs a mask's values; expected a lossless one: deflate, LZW"
            )
        plain = page.photometric in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.RGB)
        inverted = page.photometric == PHOTOMETRIC.MINISWHITE
        rare = page.dtype not in (np.bool_, np.uint8, np.uint16)
        if not plain or page.compression not in PLAIN or (inverted and rare):
            if inverted or rare or (page.dtype == np.uint16 and page.samplesperpixel > 1):
                kind = "float or signed" if rare else "white-is-zero or 16-bit colour"
                raise ManifestError(
                    f"{path}: is a {kind} TIFF of compression {int(page.compression)}"
                    f"{', white-is-zero' if rare and inverted else ''}; expected no compression, or deflate"
                    f"{', and black as zero' if rare and inverted else ''}"
                )
            return None
        _check_whole(tiff, page)
        pixels = page.asarray()
        if page.samplesperpixel > 1:
            if page.planarconfig == PLANARCONFIG.SEPARATE:
                pixels = np.moveaxis(pixels, 0, -1)
            if is_mask and _has_alpha(page):
                check_alpha(path, pixels)
            pixels = pixels[..., 0] if channels == 1 else pixels[..., :3]
        return np.invert(pixels) if inverted and not is_mask else pixels


def _has_alpha(page: Any) -> bool:
    return page.extrasamples[-1:] in ((EXTRASAMPLE.ASSOCALPHA,), (EXTRASAMPLE.UNASSALPHA,))


def _check_type(path: Path, page: Any, reading: Reading) -> None:
    """Refuse a page whose values are neither scaled to 8 bits nor kept."""
    if reading.kept and page.dtype is not None and narrowest(page.dtype):
        return
    if page.dtype not in (np.bool_, np.uint8, np.uint16):
        keeps = page.dtype is not None and narrowest(page.dtype) and not reading.kept
        raise ManifestError(
            f"{path}: wrong bit depth ({page.dtype or page.bitspersample}); "
            f"{KEPT_DEPTHS if reading.kept else BIT_DEPTHS}{', or --pixels keep' if keeps else ''}"
        )


def _has_many(tiff: tifffile.TiffFile) -> bool:
    """Return True if a file holds more than one grey or RGB page does."""
    page = tiff.pages.first
    return (
        len(tiff.pages) > 1
        or page.samplesperpixel - _has_alpha(page) not in (1, 3)
        or any(series.size != page.size for series in tiff.series)
    )


def _every_channel(path: Path, tiff: tifffile.TiffFile, reading: Reading) -> Stored:
    """Read all channels of a file that declares which of its axes they are: `(H, W, C)`.

    They are the samples of a page (interleaved or in planes, as the page says), or the axis C of an OME, ImageJ or
    tifffile file. Without such a declaration, pages may as well be slices or times.
    """
    page = tiff.pages.first
    if len(tiff.series) != 1:
        raise ManifestError(f"{path}: holds {len(tiff.series)} arrays of unlike shapes; expected one image")
    series = tiff.series[0]
    sizes = {axis: size for axis, size in zip(series.axes, series.shape, strict=True) if size > 1 or axis in "YX"}
    channel = next((axis for axis in sizes if axis in "CS"), "")
    if set(sizes) != {*"YX", *channel} or page.imagedepth != 1:
        found = ", ".join(f"{axis} {size}" for axis, size in zip(series.axes, series.shape, strict=True))
        raise ManifestError(
            f"{path}: has axes {found}, of which none is known to be channels; expected Y, X and one declared as "
            "channels (C or S), such as tifffile.imwrite(..., metadata={'axes': 'CYX'}) does"
        )
    check_size(path, sizes["X"], sizes["Y"], sizes.get(channel, 1))
    _check_type(path, page, reading)
    if page.compression not in PLAIN or page.photometric not in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB):
        raise ManifestError(
            f"{path}: is a TIFF of several channels with compression {int(page.compression)}, photometric "
            f"interpretation {int(page.photometric)}; expected no compression or deflate, and black as zero or RGB"
        )
    if series.dataoffset is None or len(series.pages) == len(tiff.pages):
        for each in series.pages:
            if each is None:
                raise ValueError("a page is missing")
            _check_whole(tiff, each)
    if series.dataoffset is not None and series.dataoffset + series.nbytes > tiff.filehandle.size:
        raise ValueError("it is cut off")
    kept = [axis for axis in series.axes if axis in sizes]
    pixels = series.asarray().reshape(tuple(sizes.values())).transpose([kept.index(axis) for axis in f"YX{channel}"])
    pixels = np.atleast_3d(pixels)
    return pixels[..., :-1] if channel == "S" and _has_alpha(page) else pixels


def check_alpha(path: Path, pixels: Stored) -> None:
    """Refuse a mask `(H, W, 2 or 4)` whose alpha channel shows another mask than its colours do."""
    colour, alpha = pixels[..., :-1].any(axis=-1), pixels[..., -1] > 0
    if not alpha.all() and (colour != alpha).any():
        raise ManifestError(
            f"{path}: transparency and colour show different masks; expected a mask without transparency: save it as a "
            "grey image"
        )


def _check_whole(tiff: tifffile.TiffFile, page: Any) -> None:
    """Raise `ValueError` for a page with missing strips or tiles, which would be read as zeros."""
    size = tiff.filehandle.size
    parts = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    wanted = int(np.prod(page.keyframe.chunked))
    found = sum(start > 0 and count > 0 and start + count <= size for start, count in parts)
    if found != wanted:
        raise ValueError(f"{found} of {wanted} strips or tiles are there")


def _check_last(tiff: tifffile.TiffFile) -> None:
    """Raise `ValueError` if the last page names a next one, which isn't there: the file is cut off."""
    layout, file = tiff.tiff, tiff.filehandle
    start = tiff.pages[-1].offset
    file.seek(start)
    (tags,) = struct.unpack(layout.tagnoformat, file.read(layout.tagnosize))
    file.seek(start + layout.tagnosize + tags * layout.tagsize)
    (following,) = struct.unpack(layout.offsetformat, file.read(layout.offsetsize))
    if following:
        raise ValueError("a page is missing")


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


def check_pages(path: Path, pages: int, or_else: str = "") -> None:
    """Refuse a file of several pages; `or_else` ends the message."""
    if pages == 0:
        raise ValueError("no page")
    if pages != 1:
        raise ManifestError(f"{path}: has {pages} pages; expected one{or_else}")


def check_size(path: Path, width: int, height: int, channels: int = 1) -> None:
    """Refuse an image that claims more pixels than Pillow's limit, or more values than that many RGB pixels have."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height * channels > 3 * limit:
        raise ManifestError(
            f"{path}: claims {channels} channels of {width}x{height} pixels; expected at most {3 * limit} values"
        )
    if limit is not None and width * height > limit:
        raise ManifestError(f"{path}: claims {width}x{height} pixels; expected at most {limit} (a decompression bomb?)")
