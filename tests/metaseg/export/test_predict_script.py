"""The script that goes with an ONNX file: numpy alone does what metaseg does."""

import struct
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from PIL import Image
from torch.nn.functional import interpolate

from metaseg.data.decode import decode_image
from metaseg.data.decode import to_channels as to_channels_of_metaseg
from metaseg.data.manifest import ManifestError
from metaseg.data.metadata import CategoricalCode, ContinuousCode, MetadataEncoder, UnknownMetadataError
from metaseg.data.reading import Reading
from metaseg.data.shrink import shrink_image
from metaseg.export import predict as script
from metaseg.export.passport import _column
from metaseg.networks.unet import UNet
from metaseg.study.predict import Predictor
from metaseg.training import evaluate
from single_precision import in_single_precision

LINE = CategoricalCode("line", ("HeLa", "caf\u00e9", "x y"))
CODES = {
    "plain": (LINE, ContinuousCode("dose", 1.5, 0.4)),
    "unknown": (
        CategoricalCode("line", ("a", "b"), untold=("c",), unknown=True),
        ContinuousCode("dose", 2.0, 3.0, unknown=True),
    ),
    "untold": (CategoricalCode("line", ("a", "b"), untold=("c",)), ContinuousCode("dose", 2.0, 3.0, "mean")),
    "named unknown": (CategoricalCode("line", ("a", "unknown"), untold=("c",)), ContinuousCode("dose", 0.0, 1.0)),
}
LINES = ["HeLa", " HeLa\u200b", "cafe\u0301", "x\u00a0y", "a", "b", "c", "unknown", " unknown", "", None, float("nan")]
DOSES = [0, 1.25, "2.5", " 3", "unknown", "", None, float("nan"), float("inf"), "many"]


def passport(codes: Any, **reading: Any) -> dict[str, Any]:
    settings = vars(Reading()) | reading
    return {
        "metadata": {"is_input": True, "columns": [_column(code) for code in codes]},
        "image": {"channels": 1, "reading": settings},
        "classes": ["cell"],
    }


@pytest.mark.parametrize("kind", CODES)
def test_metadata_become_the_vectors_of_training(kind: str) -> None:
    encoder, described = MetadataEncoder(CODES[kind]), passport(CODES[kind])
    vectors = refused = 0
    for line in LINES:
        for dose in DOSES:
            told = {"line": line, "dose": dose}
            try:
                expected = encoder.encode(pd.DataFrame([told], dtype=object))
            except UnknownMetadataError:
                refused += 1
                with pytest.raises(ValueError, match=r"metadata column '(line|dose)' has value"):
                    script.encode(told, described)
            else:
                vectors += 1
                np.testing.assert_array_equal(script.encode(told, described), expected)
    assert vectors > 5
    assert refused > 5


def test_columns_have_to_be_the_runs() -> None:
    with pytest.raises(ValueError, match=r"metadata columns are \['line'\]; expected \['dose', 'line'\]"):
        script.encode({"line": "HeLa"}, passport(CODES["plain"]))


def save(folder: Path, name: str, pixels: Any, mode: str | None = None) -> Path:
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(folder / name)
    return folder / name


def test_files_become_the_pixels_of_training(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    grey, colour = (generator.integers(0, 256, shape, np.uint8) for shape in [(20, 30), (20, 30, 3)])
    deep = generator.integers(0, 4000, (20, 30)).astype(np.uint16)
    hot = deep.copy()
    hot[3, 4] = 65535
    files = [
        save(tmp_path, "grey.png", grey),
        save(tmp_path, "colour.png", colour),
        save(tmp_path, "equal.png", np.repeat(grey[..., None], 3, axis=2)),
        save(tmp_path, "palette.png", colour, "P"),
        save(tmp_path, "alpha.png", np.concatenate([colour, grey[..., None]], axis=2)),
        save(tmp_path, "grey-alpha.png", grey, "LA"),
        save(tmp_path, "bits.png", grey > 99),
        save(tmp_path, "deep.png", deep),
        save(tmp_path, "hot.tif", hot),
        save(tmp_path, "grey.jpg", grey),
    ]
    for file in files:
        np.testing.assert_array_equal(script.read_image(file, passport(())), decode_image(file), err_msg=file.name)
    kept = script.read_image(tmp_path / "deep.png", passport((), kept=True))
    np.testing.assert_array_equal(kept, decode_image(tmp_path / "deep.png", Reading(kept=True)))
    np.save(tmp_path / "stack.npy", colour)
    np.testing.assert_array_equal(script.read_image(tmp_path / "stack.npy", passport(())), colour)
    np.save(tmp_path / "double.npy", colour / 3)
    with pytest.raises(ValueError, match="holds float64; expected 8 or 16 bits"):
        script.read_image(tmp_path / "double.npy", passport(()))


@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_16_bit_colour_which_pillow_reduces_is_an_error_and_an_array_of_it_is_as_in_training(
    tmp_path: Path, byteorder: str, planes: str
) -> None:
    colour = np.random.default_rng(4).integers(300, 4000, (20, 30, 3)).astype(np.uint16)
    file, array = tmp_path / "colour.tif", tmp_path / "colour.npy"
    stored = colour if planes == "contig" else np.moveaxis(colour, 2, 0)
    tifffile.imwrite(file, stored, byteorder=byteorder, photometric="rgb", planarconfig=planes)  # type: ignore[call-overload]
    np.save(array, colour)
    with pytest.raises(ValueError, match=r"colour\.tif has 16 bits per value in several channels.*\.npy"):
        script.read_image(file, passport(()))
    np.testing.assert_array_equal(script.read_image(array, passport(())), decode_image(file))


@pytest.mark.parametrize(("kind", "samples"), [(2, 3), (4, 2), (6, 4)])
def test_16_bit_colour_or_alpha_png_is_an_error(tmp_path: Path, kind: int, samples: int) -> None:
    height, width = 4, 5

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = np.random.default_rng(5).integers(0, 256, (height, 1 + width * samples * 2), np.uint8)
    rows[:, 0] = 0  # no filter
    file = tmp_path / "deep.png"
    file.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows.tobytes()))
        + chunk(b"IEND", b"")
    )
    assert Image.open(file).size == (width, height)
    with pytest.raises(ManifestError, match="16-bit colour or alpha PNG"):
        decode_image(file)
    with pytest.raises(ValueError, match=r"deep\.png has 16 bits per value in several channels.*\.npy"):
        script.read_image(file, passport(()))


@pytest.mark.parametrize(("dtype", "byteorder"), [(np.uint8, "<"), (np.uint8, ">"), (np.uint16, "<")])
def test_white_is_zero_is_inverted_as_in_training(tmp_path: Path, dtype: type, byteorder: str) -> None:
    pixels = np.random.default_rng(6).integers(3, 250, (20, 30)).astype(dtype)
    file = tmp_path / "white.tif"
    tifffile.imwrite(file, pixels, byteorder=byteorder, photometric="miniswhite")  # type: ignore[call-overload]
    for kept in (False, True):
        expected = decode_image(file, Reading(kept=kept))
        np.testing.assert_array_equal(script.read_image(file, passport((), kept=kept)), expected)
    assert expected[0, 0, 0] == np.iinfo(dtype).max - pixels[0, 0]


def test_white_is_zero_floats_are_refused_as_in_training(tmp_path: Path) -> None:
    file = tmp_path / "white.tif"
    tifffile.imwrite(file, np.ones((4, 5), np.float32), photometric="miniswhite")
    with pytest.raises(ManifestError, match="black as zero"):
        decode_image(file, Reading(kept=True))
    with pytest.raises(ValueError, match="white-is-zero TIFF of floats; expected black as zero"):
        script.read_image(file, passport((), kept=True))


@pytest.mark.parametrize(("stored", "channels"), [(1, 1), (1, 3), (3, 1), (3, 3), (5, 5)])
def test_channels_and_smaller_images_are_those_of_training(stored: int, channels: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (13, 10, stored), np.uint8)
    found = script.to_channels(pixels, channels)
    np.testing.assert_array_equal(found, to_channels_of_metaseg(pixels, channels))
    for each in (found, found.astype(np.float32)):
        np.testing.assert_array_equal(script.shrink(each, 3), shrink_image(each, 3))


def test_another_number_of_channels_is_an_error() -> None:
    with pytest.raises(ValueError, match="the image has 4 channels; expected 3"):
        script.to_channels(np.zeros((4, 4, 4), np.uint8), 3)
    with pytest.raises(ValueError, match="the image has 1 channels; expected 3"):
        script.to_channels(np.zeros((4, 4, 1), np.uint8), 3, exact=True)


@pytest.mark.parametrize("factor", [2, 3, 8])
def test_results_are_enlarged_as_pytorch_does_it(factor: int) -> None:
    logits = np.random.default_rng(2).standard_normal((2, 5, 7)).astype(np.float32)
    expected = interpolate(torch.from_numpy(logits)[None], scale_factor=factor, mode="bilinear", align_corners=False)
    np.testing.assert_allclose(script.enlarge(logits, factor), expected[0].numpy(), atol=1e-5)


@pytest.mark.parametrize(("classes", "shrink", "tiles"), [(1, 1, False), (1, 1, True), (2, 3, False), (2, 3, True)])
def test_masks_are_those_of_predictor_in_tiles_and_of_smaller_images(
    monkeypatch: pytest.MonkeyPatch, classes: int, shrink: int, tiles: bool
) -> None:
    """With PyTorch in the place of onnxruntime."""
    if tiles:
        for module in (script, evaluate):
            for name, value in (("TILED_ABOVE", 100), ("TILE", 16), ("MARGIN", 4)):
                monkeypatch.setattr(module, name, value)
    torch.manual_seed(0)
    network = UNet(1, classes + (classes > 1), "sme", 3).eval()
    encoder = MetadataEncoder((CategoricalCode("line", ("a", "b", "c")),))
    names = tuple(map(str, range(classes)))
    predictor = Predictor(network, encoder, "true", names, 1, Reading(shrink=shrink))

    def run(outputs: list[str], given: dict[str, Any]) -> list[Any]:
        image = given["image"]
        if given["standardise"]:
            image = (image - image.mean(dtype=np.float64)) / image.std(dtype=np.float64)
        with torch.no_grad():
            logits = network(torch.from_numpy(image.astype(np.float32)), torch.from_numpy(given["metadata"]))
        return [logits.numpy()]

    found = script.Network.__new__(script.Network)
    found.session = SimpleNamespace(run=run)
    found.passport = passport(encoder.codes, shrink=shrink) | {"classes": names}
    pixels = np.random.default_rng(3).integers(0, 256, (61, 50, 1), np.uint8)
    with in_single_precision():
        expected = predictor.probabilities(pixels, {"line": "b"})
        np.testing.assert_allclose(found.probabilities(pixels, {"line": "b"}), expected, atol=2e-5)
        assert (found.predict(pixels, {"line": "b"}) != predictor.predict(pixels, {"line": "b"})).mean() < 0.001
