"""Random crops, placed once per epoch and cut on the host, or on a device that holds all pixels."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from metaseg.data.counter_random import Stream, uniform
from metaseg.data.dataset import Dataset
from metaseg.data.reading import ImagePixels

RESIDENT_SHARE = 0.5
"""Largest share of a GPU's free memory that decoded images may take."""


@dataclass(frozen=True)
class Placement:
    """Places of an epoch's crops: the corner of a square in each sample and one of eight orientations, `(N,)` int64."""

    samples: npt.NDArray[np.int64]
    top: npt.NDArray[np.int64]
    left: npt.NDArray[np.int64]
    symmetry: npt.NDArray[np.int64]
    """0 to 7: the number of quarter turns, mirrored from 4 on."""

    @classmethod
    def draw(cls, dataset: Dataset, samples: npt.NDArray[np.int64], crop: int, seed: int, epoch: int) -> "Placement":
        """Draw places as a function of seed, epoch and sample; squares may exceed images smaller than `crop`."""
        height, width = (np.maximum(dataset.sizes[samples], crop) - crop + 1).T
        return cls(
            samples,
            (uniform(seed, epoch, samples, Stream.CROP_TOP) * height).astype(np.int64),
            (uniform(seed, epoch, samples, Stream.CROP_LEFT) * width).astype(np.int64),
            (uniform(seed, epoch, samples, Stream.SYMMETRY) * 8).astype(np.int64),
        )

    def __getitem__(self, rows: slice | npt.NDArray[np.int64]) -> "Placement":
        """The crops in some rows."""
        return Placement(self.samples[rows], self.top[rows], self.left[rows], self.symmetry[rows])


class Cutter(Protocol):
    """Cuts crops out of a dataset's images and masks."""

    def __call__(self, placement: Placement, crop: int) -> tuple[Tensor, Tensor]:
        """Images `(N, C, crop, crop)`, channels last in memory, and masks `(N, crop, crop)`, on the device: the types
        in which the dataset stores them."""


def open_cutter(dataset: Dataset, device: torch.device) -> Cutter:
    """Choose the fastest cutter for `device`: one that cuts in its own memory where that has room for all pixels."""
    if device.type == "cuda" and dataset.size_bytes <= RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]:
        return ResidentCutter(dataset, device)
    return HostCutter(dataset, device)


class HostCutter:
    """Cuts from memory maps on the host, and sends the crops to the device."""

    def __init__(self, dataset: Dataset, device: torch.device) -> None:
        self._dataset, self._device = dataset, device

    def __call__(self, placement: Placement, crop: int) -> tuple[Tensor, Tensor]:
        """See `Cutter`."""
        count = len(placement.samples)
        images = np.empty((count, crop, crop, self._dataset.channels), dtype=self._dataset.pixel_type)
        masks = np.empty((count, crop, crop), dtype=np.uint8)
        rows = zip(placement.samples, placement.top, placement.left, placement.symmetry, strict=True)
        for row, (sample, top, left, turn) in enumerate(rows):
            pixels = self._dataset.image(int(sample)), self._dataset.mask(int(sample))
            for source, target in zip(pixels, (images, masks), strict=True):
                square = reflect_up_to(source[top : top + crop, left : left + crop], crop)
                target[row] = symmetry(square, int(turn))
        return sent(images, self._device).movedim(-1, 1), sent(masks, self._device)


class ResidentCutter:
    """Cuts all crops of a batch at once from a copy of all pixels on the device, by an index for each pixel."""

    def __init__(self, dataset: Dataset, device: torch.device) -> None:
        self._images, self._masks = (torch.tensor(pixels, device=device) for pixels in dataset.pixels)
        self._dataset, self._channels = dataset, dataset.channels
        # For each sample: height, width, stored channels, start of its image, start of its mask.
        columns = (*dataset.sizes.T, dataset.stored_channels, *(starts[:-1] for starts in dataset.starts))
        self._layout = torch.from_numpy(np.stack(columns, axis=1).astype(np.int64)).to(device)

    def __call__(self, placement: Placement, crop: int) -> tuple[Tensor, Tensor]:
        """See `Cutter`."""
        self._dataset.require_open(placement.samples)
        device = self._layout.device
        where = np.stack([placement.samples, placement.top, placement.left, placement.symmetry])
        samples, top, left, turn = (column[:, None, None] for column in sent(where, device))
        height, width, stored, image_start, mask_start = self._layout[samples[:, 0, 0]].T[:, :, None, None]

        steps = torch.arange(crop, device=device)
        row, column = unturned(steps[None, :, None], steps[None, None, :], turn, crop)
        row, column = reflected(row + top, height), reflected(column + left, width)
        pixel = row * width + column
        # A grey image is stored once even in a dataset of several channels.
        channel = torch.arange(self._channels, device=device) * (stored > 1)[..., None]
        # PyTorch can't index all unsigned types on all devices; its bits are the same.
        bits = self._images.view(torch.int16) if self._images.dtype == torch.uint16 else self._images
        images = bits[(image_start + pixel * stored)[..., None] + channel].view(self._images.dtype)
        return images.movedim(-1, 1), self._masks[mask_start + pixel]


def sent(values: npt.NDArray[Any], device: torch.device) -> Tensor:
    """Values on the device, without waiting for a GPU."""
    tensor = torch.from_numpy(values)
    if device.type == "cuda":  # only copies from pinned memory are asynchronous
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def unturned(row: Tensor, column: Tensor, turn: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Invert `symmetry`: the row and column that a pixel of a square had before it, given those after it."""
    row, column = torch.broadcast_tensors(row, torch.where(turn >= 4, side - 1 - column, column))
    back_row, back_column = side - 1 - row, side - 1 - column
    quarter = turn % 4
    before_row = torch.where(
        quarter == 0, row, torch.where(quarter == 1, column, torch.where(quarter == 2, back_row, back_column))
    )
    before_column = torch.where(
        quarter == 0, column, torch.where(quarter == 1, back_row, torch.where(quarter == 2, back_column, row))
    )
    return before_row, before_column


def reflected(place: Tensor, size: Tensor) -> Tensor:
    """Mirror a row or column beyond an image's bottom or right edge back into it: 0 to `size` - 1."""
    around = place % (2 * size)
    return torch.minimum(around, 2 * size - 1 - around)


def symmetry(pixels: ImagePixels, index: int) -> ImagePixels:
    """Apply one of the square's eight symmetries to `(H, W, ...)`: `index` quarter turns, mirrored from 4 on."""
    turned = np.rot90(pixels, index % 4)
    return turned[:, ::-1] if index >= 4 else turned


def reflect_up_to(pixels: ImagePixels, side: int) -> ImagePixels:
    """Mirror `(H, W, ...)` at its bottom and right edges until both sides are at least `side`."""
    missing = [(0, max(0, side - size)) for size in pixels.shape[:2]]
    if not any(after for _, after in missing):
        return pixels
    return np.pad(pixels, [*missing, *[(0, 0)] * (pixels.ndim - 2)], mode="symmetric")
