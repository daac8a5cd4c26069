"""A trained network as all formats write it: the network, its passport, and a check against PyTorch."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.export import Dim, ExportedProgram, export

from metaseg.config import ConfigError
from metaseg.data.decode import pixel_statistics
from metaseg.data.metadata import CategoricalCode, MetadataEncoder
from metaseg.export.whole_image import TOLD_NOTHING, Probabilities, WholeImage
from metaseg.networks.block_source import Code
from metaseg.study.predict import Predictor

Floats = npt.NDArray[np.float32]
Run = Callable[[Floats, Floats], Floats]
"""An exported program: `(N, C, H, W)` pixels and `(N, M)` metadata to `(N, K, H, W)` probabilities."""

CLOSE = 1e-3
"""Largest difference of a probability from PyTorch's that rounding explains."""


class CheckError(RuntimeError):
    """An exported program gives other probabilities than the network."""


@dataclass(frozen=True)
class Checked:
    """Result of a check: how an exported program agrees with PyTorch."""

    images: int
    """Images that were compared, in batches of several sizes, each told other metadata."""
    largest: float
    """Largest difference of a probability."""
    pixels: int
    """Pixels of the masks, and how many of them differ."""
    differing: int

    def __str__(self) -> str:
        masks = "the same masks" if not self.differing else f"{self.differing} of {self.pixels} pixels of masks differ"
        return f"{self.images} images of several sizes: {masks}, probabilities differ by {self.largest:.1g} at most"


@dataclass(frozen=True)
class Model:
    """A trained network that is to be exported."""

    predictor: Predictor
    passport: dict[str, Any]
    """Plain values that describe it: `metaseg.export.passport`."""
    weights: dict[str, torch.Tensor]
    authors: tuple[str, ...] = ()
    licence: str | None = None
    blocks: tuple[Code, ...] = ()
    """Code from outside metaseg that the block and the network may be."""

    @property
    def smallest(self) -> int:
        """Least height and width of the images that programs are made for and checked on, in pixels."""
        return int(getattr(self.predictor.model, "stride", 1)) + 1

    @property
    def takes_metadata(self) -> bool:
        """False for networks that are told nothing, which then have no such input."""
        return self.predictor.metadata_mode not in TOLD_NOTHING

    @cached_property
    def rows(self) -> Floats:
        """Metadata to try: each value of each column once, `(rows, M)`; `(1, 0)` if there is no such input."""
        return metadata_rows(self.predictor.encoder) if self.takes_metadata else np.zeros((1, 0), np.float32)

    def trace(self, tiles: bool = False) -> ExportedProgram:
        """The network as a program for every batch, height and width.

        Args:
            tiles: True for a program with the argument `standardise` that returns probabilities and logits; else it
                returns probabilities.

        Raises:
            ConfigError: PyTorch can't export the network.
        """
        whole = WholeImage(self.predictor).eval().requires_grad_(False)
        size = (self.smallest + 8, self.smallest + 11)
        example: dict[str, Any] = {"image": 255 * torch.rand(2, self.predictor.channels, *size)}
        shapes: dict[str, Any] = {
            "image": {0: Dim("batch"), 2: Dim("height", min=self.smallest), 3: Dim("width", min=self.smallest)}
        }
        if self.takes_metadata:
            example["metadata"] = torch.from_numpy(np.resize(self.rows, (2, self.rows.shape[1])))
            shapes["metadata"] = {0: shapes["image"][0]}
        if tiles:
            example["standardise"], shapes["standardise"] = torch.tensor(True), None
        try:
            with torch.no_grad():
                return export(
                    whole if tiles else Probabilities(whole).eval(), (), example, dynamic_shapes=shapes, strict=False
                )
        except Exception as error:  # whatever a network's own code does that a program can't
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ConfigError(
                f"PyTorch can't export this network ({type(self.predictor.model).__name__}) for images of any size: "
                f"{reason:.200}"
            ) from error

    def check(self, run: Run) -> Checked:
        """Compare an exported program with the network on simulated images of several sizes, one a row of metadata.

        Raises:
            CheckError: a probability differs by more than `CLOSE`.
        """
        least, stride = self.smallest, self.smallest - 1
        sizes = [(least, least), (least + 6, 2 * least + 9), (2 * stride, 4 * stride)]
        largest, pixels, differing, images = 0.0, 0, 0, 0
        for number, (height, width) in enumerate(sizes):
            rows = np.roll(self.rows, number, axis=0)[: len(self.rows) if number else 1]
            batch = np.stack([shapes_image(height, width, self.predictor.channels, seed) for seed in range(len(rows))])
            found, expected = run(batch, rows), self.probabilities(batch, rows)
            if found.shape != expected.shape or not (np.abs(found - expected) <= CLOSE).all():
                raise CheckError(
                    f"the exported program gives {found.shape} probabilities that differ from PyTorch's "
                    f"{expected.shape} on images of {height} x {width} pixels; nothing was written"
                )
            largest = max(largest, float(np.abs(found - expected).max()))
            masks = to_mask(found), to_mask(expected)
            differing += int((masks[0] != masks[1]).sum())
            pixels, images = pixels + masks[0].size, images + len(rows)
        return Checked(images, largest, pixels, differing)

    @torch.no_grad()
    def probabilities(self, images: Floats, rows: Floats) -> Floats:
        """PyTorch's `(N, K, H, W)` probabilities in single precision; images are standardised by numpy."""
        statistics = [pixel_statistics(image) for image in images]
        standard = np.stack([(image - np.float32(mean)) / np.float32(std) for image, (mean, std) in zip(
            images, statistics, strict=True)])  # fmt: skip
        told = torch.from_numpy(rows)
        if self.predictor.metadata_mode == "zeros":
            told = torch.zeros(len(rows), self.predictor.encoder.size)
        logits = self.predictor.model(torch.from_numpy(standard), told)
        several = len(self.predictor.classes) > 1
        found: Floats = (torch.softmax(logits, dim=1)[:, 1:] if several else torch.sigmoid(logits)).numpy()
        return found


def metadata_rows(encoder: MetadataEncoder) -> Floats:
    """Vectors `(rows, M)` that tell each value of each column: categories, unknown, numbers about the mean."""
    parts = []
    for code in encoder.codes:
        if isinstance(code, CategoricalCode):
            parts.append(np.eye(code.size, dtype=np.float32))
        else:
            numbers = np.zeros((3, code.size), np.float32)
            numbers[:, 0] = -1.5, 0.25, 2
            parts.append(np.concatenate([numbers, code.unknown_part[None]]) if code.knows_unknown else numbers)
    longest = max(map(len, parts))
    return np.concatenate([np.resize(part, (longest, part.shape[1])) for part in parts], axis=1)


def shapes_image(height: int, width: int, channels: int, seed: int = 0) -> Floats:
    """A simulated image `(channels, height, width)` of bright ellipses and noise: whole numbers from 0 to 255."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width] / np.array([height, width])[:, None, None]
    image = np.full((channels, height, width), 60.0)
    for _ in range(6):
        (y, x), (a, b) = generator.random(2), generator.uniform(0.06, 0.2, 2)
        inside = ((rows - y) / a) ** 2 + ((columns - x) / b) ** 2 < 1
        image += inside * generator.uniform(30, 120, (channels, 1, 1))
    image += generator.normal(0, 8, image.shape)
    rounded: Floats = np.rint(image.clip(0, 255)).astype(np.float32)
    return rounded


def to_mask(probabilities: Floats) -> npt.NDArray[np.uint8]:
    """`(N, K, H, W)` probabilities as masks `(N, H, W)`: 0 background, k the k-th class."""
    if probabilities.shape[1] == 1:
        return (probabilities[:, 0] > 0.5).astype(np.uint8)
    background = 1 - probabilities.sum(axis=1, keepdims=True)
    return np.asarray(np.concatenate([background, probabilities], axis=1).argmax(axis=1), np.uint8)
