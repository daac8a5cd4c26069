"""Segment an image with an exported network: needs numpy and onnxruntime, and Pillow to read images.

    python predict.py IMAGE MASK --metadata COLUMN=VALUE ...

IMAGE is a PNG, JPEG or TIFF file of one page, or an array (H, W) or (H, W, C) in a .npy file, for 16-bit colour and
formats that other programs read. MASK is an 8-bit PNG: 0 for background, k for the k-th class (255 if there is only
one). Metadata that isn't known is COLUMN=unknown, for networks that were trained for that.
"""

import argparse
import json
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np

TILED_ABOVE, TILE, MARGIN = 2048 * 2048, 1024, 128
"""Pixels of the largest image that passes in one piece; side of a tile; context around it, which is discarded."""


class Network:
    """An exported network.

    Args:
        path: the file model.onnx.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
        there = [name for name in wanted if name in onnxruntime.get_available_providers()]
        self.session = onnxruntime.InferenceSession(str(path), options, providers=there)
        self.passport = json.loads(self.session.get_modelmeta().custom_metadata_map["passport"])

    def predict(self, pixels: Any, metadata: dict[str, Any]) -> Any:
        """Segment an image `(H, W, C)`; returns the mask `(H, W)` uint8: 0 background, k the k-th class."""
        logits = self.logits(pixels, metadata)
        return (logits[0] > 0 if len(logits) == 1 else logits.argmax(axis=0)).astype(np.uint8)

    def probabilities(self, pixels: Any, metadata: dict[str, Any]) -> Any:
        """Probability of each class in each pixel, `(K, H, W)`."""
        logits = self.logits(pixels, metadata)
        if len(logits) == 1:
            return 1 / (1 + np.exp(-logits))
        share = np.exp(logits - logits.max(axis=0))
        return share[1:] / share.sum(axis=0)

    def logits(self, pixels: Any, metadata: dict[str, Any]) -> Any:
        """Logits of each pixel, `(1, H, W)` or, with several classes, `(1 + K, H, W)`."""
        told = encode(metadata, self.passport)
        image, factor = self.passport["image"], self.passport["image"]["reading"]["shrink"]
        small = shrink(to_channels(pixels, image["channels"], image["reading"]["every_channel"]), factor)
        raw = np.ascontiguousarray(np.moveaxis(small, 2, 0)[None], np.float32)
        height, width = raw.shape[2:]
        if height * width <= TILED_ABOVE:
            found = self._run(raw, told, True)[0]
        else:
            mean, std = small.mean(dtype=np.float64), small.std(dtype=np.float64) or 1.0
            found = self._tiles((raw - np.float32(mean)) / np.float32(std), told)
        if factor == 1:
            return found
        return enlarge(found, factor)[:, : pixels.shape[0], : pixels.shape[1]]

    def _run(self, image: Any, told: Any, standardise: bool) -> Any:
        given = {"image": image, "standardise": np.array(standardise)}
        if self.passport["metadata"]["is_input"]:
            given["metadata"] = told
        return self.session.run(["logits"], given)[0]

    def _tiles(self, image: Any, told: Any) -> Any:
        """Logits of a large image, standardised as a whole, a tile at a time."""
        rows = []
        for top in range(0, image.shape[2], TILE):
            row = []
            for left in range(0, image.shape[3], TILE):
                above, before = max(0, top - MARGIN), max(0, left - MARGIN)
                window = image[:, :, above : top + TILE + MARGIN, before : left + TILE + MARGIN]
                logits = self._run(np.ascontiguousarray(window), told, False)[0]
                row.append(logits[:, top - above :, left - before :][:, :TILE, :TILE])
            rows.append(np.concatenate(row, axis=2))
        return np.concatenate(rows, axis=1)


def encode(metadata: dict[str, Any], passport: dict[str, Any]) -> Any:
    """The vector `(1, M)` of an image's metadata, column to value, as the passport describes it."""
    if not passport["metadata"]["is_input"]:
        return np.zeros((1, 0), np.float32)
    columns = passport["metadata"]["columns"]
    names = [column["column"] for column in columns]
    if set(metadata) != set(names):
        raise ValueError(f"metadata columns are {sorted(metadata)}; expected {sorted(names)}")
    return np.concatenate([_encode_column(metadata[column["column"]], column) for column in columns])[None]


def _encode_column(value: Any, column: dict[str, Any]) -> Any:
    known = value is not None and value == value and clean(str(value)) not in ("", "unknown")
    name, size = column["column"], len(column["elements"])
    vector = np.zeros(size, np.float32)
    if column["kind"] == "continuous":
        if not known and column["may_be_unknown"]:
            vector[1:] = 1
            return vector
        try:
            number = float(value) if known else float("nan")
        except ValueError:
            number = float("nan")
        if not np.isfinite(number):
            raise ValueError(f"metadata column {name!r} has value {value!r}; expected a finite number")
        vector[0] = (number - column["mean"]) / column["std"]
        return vector
    text = str(value) if known else "unknown"
    text = text if text in column["vocabulary"] else clean(text)
    if text in column["vocabulary"]:
        vector[column["vocabulary"].index(text)] = 1
        return vector
    if text in column["untold"] or (text == "unknown" and column["unknown"]):
        vector[len(column["vocabulary"]) :] = 1  # if there is an element for what isn't known; else zeros
        return vector
    known_values = ", ".join(map(repr, column["vocabulary"]))
    raise ValueError(f"metadata column {name!r} has value {text!r}, not seen in training; known: {known_values}")


def clean(text: str) -> str:
    """Text without what can't be seen: composed, and without spaces around it."""
    text = unicodedata.normalize("NFC", "".join(each for each in text if each not in "\u200b\u2060\ufeff\u00ad"))
    plain = "".join(" " if unicodedata.category(each) == "Zs" else each for each in text)
    before = None
    while before != plain:
        before, plain = plain, plain.strip().strip("\u200c\u200d")
    return plain


def read_image(path: Path, passport: dict[str, Any]) -> Any:
    """Pixels `(H, W, C)` of a file: uint8, or its own values for networks that were trained on those."""
    kept = passport["image"]["reading"]["kept"]
    stored = np.load(path, allow_pickle=False) if path.suffix == ".npy" else _read_with_pillow(path)
    if stored.ndim not in (2, 3):
        raise ValueError(f"{path} is an array {stored.shape}; expected (H, W) or (H, W, C)")
    stored = np.atleast_3d(stored.astype(stored.dtype.newbyteorder("=")))
    if stored.dtype == bool:
        stored = stored.astype(np.uint8) * np.uint8(255)
    if not kept and stored.dtype != np.uint8:
        if stored.dtype != np.uint16:
            raise ValueError(f"{path} holds {stored.dtype}; expected 8 or 16 bits")
        stored = to_8_bits(stored)
    every = passport["image"]["reading"]["every_channel"]
    return stored[..., :1] if not every and (stored == stored[..., :1]).all() else stored


def _read_with_pillow(path: Path) -> Any:
    from PIL import Image

    with path.open("rb") as file:
        head = file.read(26)
    deep_png = head.startswith(b"\x89PNG") and head[24:25] == b"\x10" and head[25:26] != b"\0"
    with Image.open(path, formats=("PNG", "JPEG", "TIFF")) as image:
        if getattr(image, "n_frames", 1) > 1:
            raise ValueError(f"{path} has several pages; expected one image")
        tags = getattr(image, "tag_v2", {})
        depths, white_is_zero = tags.get(258, ()), tags.get(262) == 0
        if deep_png or (len(depths) > 1 and max(depths) > 8):
            # Pillow would keep the high bytes only, or none
            raise ValueError(
                f"{path} has 16 bits per value in several channels, which Pillow can't read; expected 8 bits, or the "
                "16-bit values as an array (H, W, C) in a .npy file"
            )
        if image.mode.startswith("I;16"):
            stored = np.asarray(image)
            return np.invert(stored) if white_is_zero else stored  # of 8 bits, Pillow does it
        if image.mode == "I":
            raise ValueError(f"{path} has 32 bits per value; expected 8 or 16")
        if image.mode == "F" and white_is_zero:
            raise ValueError(f"{path} is a white-is-zero TIFF of floats; expected black as zero")
        if image.mode == "LA":
            return np.asarray(image)[..., 0]
        return np.asarray(image if image.mode in ("1", "L", "RGB", "F") else image.convert("RGB"))


def to_8_bits(stored: Any) -> Any:
    """16-bit values by their minimum and maximum as 0..255; single pixels far from the others are clipped."""
    low, high = int(stored.min()), int(stored.max())
    inner = np.quantile(stored, [0.001, 0.999], method="inverted_cdf").astype(int)
    if (inner[1] - inner[0]) * 255 < 64 * (high - low) and inner[1] > inner[0]:
        low = int(inner[0]) if _stand_alone(stored < inner[0]) else low
        high = int(inner[1]) if _stand_alone(stored > inner[1]) else high
    span = max(high - low, 1)
    clipped = np.clip(stored, low, high).astype(np.uint32) - low
    return ((clipped * 255 + span // 2) // span).astype(np.uint8)


def _stand_alone(outliers: Any) -> bool:
    pixels = outliers.any(axis=2)
    beside = (pixels[1:] & pixels[:-1]).sum() + (pixels[:, 1:] & pixels[:, :-1]).sum()
    return bool(beside <= 0.5 * pixels.sum())


def to_channels(pixels: Any, channels: int, exact: bool = False) -> Any:
    """Pixels `(H, W, channels)`: grey is repeated, colour becomes its luma; any other number is an error."""
    found = pixels.shape[2]
    if found == channels:
        return pixels
    if exact or {found, channels} != {1, 3}:
        raise ValueError(f"the image has {found} channels; expected {channels}")
    if channels == 3:
        return np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    if pixels.dtype == np.float32:
        return (pixels @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    luma = (pixels.astype(np.uint32) @ np.array([299, 587, 114], np.uint32) + 500) // 1000
    return luma.astype(pixels.dtype)[..., None]


def shrink(pixels: Any, factor: int) -> Any:
    """The mean of each square of `factor` x `factor` pixels, rounded where values are whole numbers."""
    if factor == 1:
        return pixels
    height, width, channels = pixels.shape
    padded = np.pad(pixels, [(0, -height % factor), (0, -width % factor), (0, 0)], mode="edge")
    squares = padded.reshape(padded.shape[0] // factor, factor, padded.shape[1] // factor, factor, channels)
    mean = squares.mean(axis=(1, 3), dtype=np.float64)
    return (mean if pixels.dtype.kind == "f" else np.rint(mean)).astype(pixels.dtype)


def enlarge(logits: Any, factor: int) -> Any:
    """Values `(K, h, w)` between the centres of the squares, bilinearly: `(K, h factor, w factor)`."""
    for axis in (1, 2):
        side = logits.shape[axis]
        place = np.clip((np.arange(side * factor) + 0.5) / factor - 0.5, 0, None)
        before = np.floor(place).astype(int)
        after = np.minimum(before + 1, side - 1)
        share = (place - before).astype(np.float32).reshape([-1 if each == axis else 1 for each in range(3)])
        logits = np.take(logits, before, axis) * (1 - share) + np.take(logits, after, axis) * share
    return logits


def main() -> None:
    """Segment the image that the arguments name."""
    from PIL import Image

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("mask", type=Path)
    parser.add_argument("--metadata", nargs="*", default=[], metavar="COLUMN=VALUE")
    parser.add_argument("--model", type=Path, default=Path(__file__).with_name("model.onnx"))
    given = parser.parse_args()
    told = {name: value for name, _, value in (each.partition("=") for each in given.metadata)}
    try:
        network = Network(given.model)
        mask = network.predict(read_image(given.image, network.passport), told)
        classes = network.passport["classes"]
        Image.fromarray(mask * 255 if len(classes) == 1 else mask).save(given.mask, format="PNG")
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    share = ", ".join(f"{name} {(mask == k).mean():.1%}" for k, name in enumerate(classes, start=1))
    print(f"{given.mask}: {share} of {mask.shape[1]}x{mask.shape[0]} pixels")


if __name__ == "__main__":
    main()
