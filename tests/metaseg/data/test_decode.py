"""Decoding: which values come out of which file, and that a bad file is an error that names it."""

import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from metaseg.data.decode import decode_image, decode_mask, mask_files, to_channels
from metaseg.data.depth import is_16_bit
from metaseg.data.manifest import ManifestError
from metaseg.data.mask_values import MaskValues

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (11, 7), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (11, 7, 3), dtype=np.uint8)
DEEP = RNG.integers(100, 60000, (11, 7), dtype=np.uint16)
LABELS = (RNG.integers(0, 3, (11, 7)) * 300).astype(np.uint16)
ONE = MaskValues(("nucleus",))
TWO = MaskValues(("kidney", "tumour"))


def scaled(deep):
    """The laboratory's min-max rule, in floating point."""
    return np.rint((deep - float(deep.min())) / (float(deep.max()) - float(deep.min())) * 255).astype(np.uint8)


def save(path, pixels, **options):
    if path.suffix == ".tif":
        tifffile.imwrite(path, pixels, **options)
    else:
        Image.fromarray(pixels).save(path, **options)
    return path


def write_png(path, pixels, colour_type):
    """A 16-bit PNG, which Pillow can't write in colour."""
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, colour_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw)), (b"IEND", b""))
    body = b"".join(struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (GREY, GREY[..., None]),
        (COLOUR, COLOUR),
        (DEEP, scaled(DEEP)[..., None]),
        (GREY > 99, (GREY > 99)[..., None] * 255),
    ],
    ids=["8-bit grey", "8-bit colour", "16-bit grey", "1-bit"],
)
def test_png_and_tiff_give_the_same_values(tmp_path, suffix, pixels, expected):
    options = {"photometric": "minisblack"} if suffix == ".tif" and pixels.ndim == 2 else {}
    decoded = decode_image(save(tmp_path / f"a{suffix}", pixels, **options))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, expected)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", None])
@pytest.mark.parametrize("pixels", [GREY, COLOUR, DEEP], ids=["grey", "colour", "16-bit"])
def test_compressed_tiffs_decode_like_plain_ones(tmp_path, compression, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.tif", compression=compression)
    expected = scaled(pixels) if pixels.dtype == np.uint16 else pixels
    np.testing.assert_array_equal(decode_image(tmp_path / "a.tif").squeeze(), expected)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_16_bit_colour_tiffs_are_scaled_over_all_channels(tmp_path, byteorder, planar):
    deep = RNG.integers(0, 5000, (11, 7, 3), dtype=np.uint16)
    stored = deep if planar == "contig" else np.moveaxis(deep, -1, 0)
    options = {"photometric": "rgb", "planarconfig": planar, "byteorder": byteorder}
    path = save(tmp_path / "a.tif", stored.astype(f"{byteorder}u2"), **options)
    np.testing.assert_array_equal(decode_image(path), scaled(deep))


def test_grey_is_decided_by_content_and_alpha_is_dropped(tmp_path):
    alpha = RNG.integers(0, 256, (11, 7, 1), dtype=np.uint8)
    grey_rgba = save(tmp_path / "g.png", np.concatenate([GREY[..., None]] * 3 + [alpha], axis=-1))
    np.testing.assert_array_equal(decode_image(grey_rgba), GREY[..., None])
    np.testing.assert_array_equal(decode_image(save(tmp_path / "c.png", np.dstack([COLOUR, alpha]))), COLOUR)
    np.testing.assert_array_equal(decode_image(save(tmp_path / "la.png", np.dstack([GREY, alpha]))), GREY[..., None])
    rgba_tiff = save(tmp_path / "c.tif", np.dstack([COLOUR, alpha]), photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(decode_image(rgba_tiff), COLOUR)
    almost = np.repeat(GREY[..., None], 3, axis=-1)
    almost[0, 0, 2] ^= 1
    assert decode_image(save(tmp_path / "almost.png", almost)).shape == (11, 7, 3)


def test_palette_jpeg_and_white_is_zero_images_show_what_a_viewer_shows(tmp_path):
    palette = Image.fromarray(COLOUR).quantize(16)
    palette.save(tmp_path / "p.png")
    np.testing.assert_array_equal(decode_image(tmp_path / "p.png"), np.asarray(palette.convert("RGB")))
    Image.new("RGB", (8, 8), (200, 30, 60)).save(tmp_path / "c.jpg")
    assert np.abs(decode_image(tmp_path / "c.jpg").astype(int) - (200, 30, 60)).max() <= 3
    white_is_zero = save(tmp_path / "w.tif", GREY, photometric="miniswhite")
    np.testing.assert_array_equal(decode_image(white_is_zero)[..., 0], 255 - GREY)
    np.testing.assert_array_equal(decode_mask([white_is_zero], MaskValues(("nucleus",), ((1, 255),))), GREY > 0)


def test_a_constant_16_bit_image_is_black(tmp_path):
    assert not decode_image(save(tmp_path / "a.png", np.full((4, 4), 777, np.uint16))).any()


def test_channels_are_repeated_or_weighted_by_luma():
    rgb = to_channels(GREY[..., None], 3)
    assert rgb.shape == (11, 7, 3)
    assert (rgb == GREY[..., None]).all()
    luma = COLOUR @ np.array([0.299, 0.587, 0.114])
    assert np.abs(to_channels(COLOUR, 1)[..., 0] - luma).max() <= 0.5 + 1e-9
    np.testing.assert_array_equal(to_channels(rgb, 1)[..., 0], GREY)


@pytest.mark.parametrize("dtype", ["float32", "int32", "uint32", "int16", "float64", "int8"])
def test_other_bit_depths_are_errors(tmp_path, dtype):
    with pytest.raises(ManifestError, match=r"a\.tif: wrong bit depth.*expected 8-bit"):
        decode_image(save(tmp_path / "a.tif", GREY.astype(dtype)))


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_a_16_bit_colour_png_is_an_error_not_half_its_bits(tmp_path, colour_type, channels):
    path = write_png(tmp_path / "a.png", RNG.integers(0, 65536, (5, 4, channels)), colour_type)
    with pytest.raises(ManifestError, match=r"a\.png: wrong bit depth"):
        decode_image(path)
    grey = write_png(tmp_path / "grey.png", DEEP[..., None], 0)
    np.testing.assert_array_equal(decode_image(grey)[..., 0], scaled(DEEP))


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "plain.tif", "lzw.tif"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.6, 0.95])
def test_a_truncated_file_is_unreadable(tmp_path, name, kept):
    path = tmp_path / name
    pixels = RNG.integers(0, 256, (60, 70), dtype=np.uint8)
    if name == "plain.tif":
        save(path, pixels)
    else:
        Image.fromarray(pixels).save(path, **({"compression": "tiff_lzw"} if name == "lzw.tif" else {}))
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(ManifestError, match=rf"{name}: unreadable image .*expected a whole PNG, TIFF or JPEG"):
        decode_image(path)


def test_several_pages_and_other_formats_are_errors(tmp_path):
    with pytest.raises(ManifestError, match="has 3 pages; expected one"):
        decode_image(save(tmp_path / "a.tif", np.stack([GREY, GREY, GREY]), photometric="minisblack"))
    Image.fromarray(GREY).save(tmp_path / "a.gif")
    with pytest.raises(ManifestError, match="unreadable image"):
        decode_image(tmp_path / "a.gif")
    five = np.dstack([COLOUR, GREY, GREY])
    path = save(tmp_path / "five.tif", five, photometric="minisblack", planarconfig="contig")
    with pytest.raises(ManifestError, match="has 5 channels"):
        decode_image(path)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_more_pixels_than_the_limit_are_an_error(tmp_path, monkeypatch, suffix):
    path = save(tmp_path / f"a{suffix}", GREY)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)  # the image has 77: Pillow alone would only warn
    with pytest.raises(ManifestError, match="claims 7x11 pixels; expected at most 60"):
        decode_image(path)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(
    "pixels",
    [
        LABELS,
        (LABELS > 0).astype(np.uint8) * 255,
        LABELS > 0,
        np.repeat((LABELS > 0)[..., None] * np.uint8(9), 3, axis=-1),
    ],
    ids=["16-bit instances", "0 and 255", "1-bit", "equal channels"],
)
def test_a_mask_of_one_class_is_what_is_above_zero(tmp_path, suffix, pixels):
    mask = decode_mask([save(tmp_path / f"m{suffix}", pixels)], ONE)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, LABELS > 0)


def test_a_mask_of_several_classes_keeps_its_values_and_refuses_others(tmp_path):
    values = (LABELS // 300).astype(np.uint8)
    np.testing.assert_array_equal(decode_mask([save(tmp_path / "m.png", values)], TWO), values)
    palette = Image.fromarray(values)
    palette.putpalette([255, 255, 255, 0, 0, 0, 9, 9, 9])
    palette.save(tmp_path / "p.png")
    np.testing.assert_array_equal(decode_mask([tmp_path / "p.png"], TWO), values)
    with pytest.raises(ManifestError, match=r"has mask values 0, 300, 600; expected 0 background, 1 kidney, 2 tumour"):
        decode_mask([save(tmp_path / "bad.png", LABELS)], TWO)


def test_a_jpeg_mask_is_an_error(tmp_path):
    with pytest.raises(ManifestError, match="is a JPEG, which blurs"):
        decode_mask([save(tmp_path / "m.jpg", (LABELS > 0) * np.uint8(255))], ONE)


def test_a_colour_mask_is_an_error(tmp_path):
    with pytest.raises(ManifestError, match="is a colour mask"):
        decode_mask([save(tmp_path / "m.png", COLOUR)], ONE)


def test_a_folder_of_masks_is_their_union(tmp_path):
    parts = [np.eye(5, dtype=np.uint8) * 255, np.eye(5, k=2, dtype=np.uint8), np.eye(5, k=-2, dtype=np.uint8) * 7]
    for number, part in enumerate(parts):
        save(tmp_path / f"{number}.png", part)
    (tmp_path / "Thumbs.db").touch()
    files = mask_files(tmp_path)
    np.testing.assert_array_equal(decode_mask(files, ONE), sum(parts) > 0)
    with pytest.raises(ManifestError, match=r"3 mask files.*kidney, tumour"):
        decode_mask(files, TWO)
    save(tmp_path / "3.png", np.ones((5, 6), np.uint8))
    with pytest.raises(ManifestError, match=r"3\.png: is 6x5 \(width x height\); expected 5x5"):
        decode_mask(mask_files(tmp_path), ONE)


def test_an_empty_folder_of_masks_is_an_error(tmp_path):
    with pytest.raises(ManifestError, match="holds no mask"):
        mask_files(tmp_path)


def test_livecell_images_decode(real_data):
    paths = sorted(real_data.glob("livecell/images/**/*.tif"))[:3]
    for path in paths:
        image = decode_image(path)
        assert image.shape == (520, 704, 1)
        np.testing.assert_array_equal(image[..., 0], np.asarray(Image.open(path)))
    assert paths


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("hot", [65535, 0])
def test_a_hot_or_dead_pixel_doesnt_take_the_others_grey_levels(tmp_path, suffix, hot):
    deep = np.random.default_rng(0).integers(5200, 6800, (64, 64)).astype(np.uint16)
    plain = scaled(deep)
    deep[3, 3] = hot
    decoded = decode_image(save(tmp_path / f"a{suffix}", deep))[..., 0]
    assert len(np.unique(decoded)) > 200
    others = np.ones(deep.shape, bool)
    others[3, 3] = False
    assert np.abs(decoded.astype(int) - plain)[others].max() <= 2
    assert decoded[3, 3] == (255 if hot else 0)


def test_bright_spots_that_leave_the_others_levels_are_kept(tmp_path):
    deep = np.random.default_rng(0).integers(200, 20000, (64, 64)).astype(np.uint16)
    deep[5:7, 5:7] = 60000
    np.testing.assert_array_equal(decode_image(save(tmp_path / "a.tif", deep))[..., 0], scaled(deep))


@pytest.mark.parametrize("planes", [2, 5])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_a_stack_in_one_page_as_imagej_writes_it_is_refused(tmp_path, planes, byteorder):
    stack = RNG.integers(0, 255, (planes, 32, 40)).astype(np.uint16)
    path, about = tmp_path / "s.tif", f"ImageJ=1.54f\nimages={planes}\nslices={planes}\n"
    tifffile.imwrite(path, stack[0], description=about, metadata=None, byteorder=byteorder)
    with path.open("ab") as file:
        file.write(stack[1:].astype(f"{byteorder}u2").tobytes())
    with pytest.raises(ManifestError, match=rf"s\.tif: is a stack of {planes} planes in one page; expected one image"):
        decode_image(path)


@pytest.mark.parametrize("options", [{"imagej": True}, {"ome": True}, {"bigtiff": True}, {}])
@pytest.mark.parametrize("shape", [(3, 20, 30), (2, 3, 20, 30)])
def test_stacks_are_refused_however_they_are_written(tmp_path, options, shape):
    tifffile.imwrite(tmp_path / "s.tif", np.zeros(shape, np.uint16), photometric="minisblack", **options)
    with pytest.raises(ManifestError, match=r"s\.tif: (is a stack of|has) \d+ (planes|pages)"):
        decode_image(tmp_path / "s.tif")


@pytest.mark.parametrize("options", [{"imagej": True}, {"ome": True}, {"bigtiff": True}, {}])
def test_single_images_are_read_however_they_are_written(tmp_path, options):
    tifffile.imwrite(tmp_path / "s.tif", DEEP, photometric="minisblack", **options)
    np.testing.assert_array_equal(decode_image(tmp_path / "s.tif")[..., 0], scaled(DEEP))


@pytest.mark.parametrize(
    "description",
    ["ImageJ=1.54f\nslices=5\n", "ImageJ=1.54f\nchannels=5\nhyperstack=true\n", "no word of planes"],
)
@pytest.mark.parametrize("bigtiff", [False, True])
def test_a_stack_in_one_page_is_refused_whatever_its_description_says(tmp_path, description, bigtiff):
    path, plane = tmp_path / "s.tif", RNG.integers(0, 60000, (32, 40)).astype(">u2")
    tifffile.imwrite(path, plane, description=description, metadata=None, byteorder=">", bigtiff=bigtiff)
    with path.open("ab") as file:
        file.write(plane.tobytes() * 4)
    with pytest.raises(ManifestError, match=r"s\.tif: is a stack of 5 planes in one page; expected one image per file"):
        decode_image(path)


def test_a_colour_image_of_imagej_is_no_stack(tmp_path):
    path = save(tmp_path / "c.tif", COLOUR, imagej=True, photometric="rgb")
    np.testing.assert_array_equal(decode_image(path), COLOUR)


def test_only_images_of_16_bits_are_told_so(tmp_path):
    for suffix in (".png", ".tif"):
        assert is_16_bit(save(tmp_path / f"deep{suffix}", DEEP))
        assert not is_16_bit(save(tmp_path / f"grey{suffix}", GREY))
        assert not is_16_bit(save(tmp_path / f"bits{suffix}", GREY > 99))
    (tmp_path / "no.tif").write_bytes(b"II*\0garbage")
    assert not is_16_bit(tmp_path / "no.tif")
    assert not is_16_bit(tmp_path / "gone.png")


@pytest.mark.parametrize("tag", ["StripByteCounts", "StripOffsets"])
@pytest.mark.parametrize("value", [0, 10_000_000])
def test_a_tiff_that_lacks_its_pixels_isnt_read_as_zeros(tmp_path, tag, value):
    path = save(tmp_path / "a.tif", GREY, photometric="minisblack")
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages.first.tags[tag].overwrite(value)
    with pytest.raises(ManifestError, match=r"a\.tif: unreadable image \(0 of 1 strips or tiles are there\)"):
        decode_image(path)
