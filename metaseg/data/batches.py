"""Batches of random crops, cut from the dataset's uint8 memory maps by counter-based randomness."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from metaseg.data.dataset import Dataset
from metaseg.data.random import Stream, permutation, uniform


@dataclass(frozen=True)
class Batch:
    """This worker's share of a step's samples, on the device."""

    image: Tensor
    """`(N, C, crop, crop)` float32, each image standardised by its own mean and standard deviation."""
    target: Tensor
    """`(N, crop, crop)` uint8, 0 background, k the k-th class."""
    samples: Tensor
    """`(N,)` int64, rows of the dataset's table."""
    weight: Tensor
    """`(N,)` each sample's share of the step's loss, times the number of workers, whose gradients are averaged."""


def to_input(
    dataset: Dataset, samples: npt.NDArray[np.int64], pixels: npt.NDArray[np.uint8], device: torch.device
) -> Tensor:
    """Standardise `(N, H, W, C)` uint8 pixels by their images' statistics: `(N, C, H, W)` float32 on `device`."""
    image = torch.from_numpy(pixels).to(device, non_blocking=True).movedim(-1, 1).float()
    mean, std = torch.from_numpy(dataset.statistics[samples]).to(device)[:, :, None, None, None].unbind(dim=1)
    standardised: Tensor = (image - mean) / std
    return standardised.contiguous()


def symmetry(pixels: npt.NDArray[np.uint8], index: int) -> npt.NDArray[np.uint8]:
    """One of the square's eight symmetries of `(H, W, ...)`: quarter turns, mirrored where `index` is 4 or more."""
    turned = np.rot90(pixels, index % 4)
    return turned[:, ::-1] if index >= 4 else turned


def reflect_up_to(pixels: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """Mirror `(H, W, ...)` at its bottom and right edges until both sides are at least `side`."""
    missing = [(0, max(0, side - size)) for size in pixels.shape[:2]]
    if not any(after for _, after in missing):
        return pixels
    return np.pad(pixels, [*missing, *[(0, 0)] * (pixels.ndim - 2)], mode="symmetric")


def random_crops(
    dataset: Dataset, samples: npt.NDArray[np.int64], crop: int, seed: int, epoch: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """A random square of each sample, in a random one of its eight orientations.

    Returns:
        Images `(N, crop, crop, C)` and masks `(N, crop, crop)`, which share each sample's square and orientation.
    """
    images = np.empty((len(samples), crop, crop, dataset.channels), dtype=np.uint8)
    masks = np.empty((len(samples), crop, crop), dtype=np.uint8)
    draws = [uniform(seed, epoch, samples, stream) for stream in (Stream.CROP_TOP, Stream.CROP_LEFT, Stream.SYMMETRY)]
    for row, (sample, u_top, u_left, u_symmetry) in enumerate(zip(samples, *draws, strict=True)):
        image, mask = dataset.image(int(sample)), dataset.mask(int(sample))
        height, width = (max(size, crop) for size in mask.shape)
        top, left = int(u_top * (height - crop + 1)), int(u_left * (width - crop + 1))
        for source, target in ((image, images), (mask, masks)):
            square = reflect_up_to(source[top : top + crop, left : left + crop], crop)
            target[row] = symmetry(square, int(u_symmetry * 8))
    return images, masks


def epoch_batches(
    dataset: Dataset,
    samples: npt.NDArray[np.int64],
    *,
    batch_size: int,
    crop: int,
    seed: int,
    epoch: int,
    device: torch.device,
    rank: int = 0,
    world_size: int = 1,
    first_step: int = 0,
) -> Iterator[Batch]:
    """Visit every sample once, in an order of the epoch's own; or those of step `first_step` (from 0) and later.

    Step k holds the same samples whatever `world_size`; worker `rank` gets every `world_size`-th of them. A worker left
    without samples by a short last step gets one of weight 0, since every worker must take part in every step.
    """
    order = permutation(seed, epoch, samples)
    for start in range(first_step * batch_size, len(order), batch_size):
        step = order[start : start + batch_size]
        share = step[rank::world_size]
        weight = np.full(len(share), world_size / len(step), dtype=np.float32)
        if not len(share):
            share, weight = step[:1], np.zeros(1, dtype=np.float32)
        images, masks = random_crops(dataset, share, crop, seed, epoch)
        yield Batch(
            image=to_input(dataset, share, images, device),
            target=torch.from_numpy(masks).to(device, non_blocking=True),
            samples=torch.from_numpy(share).to(device),
            weight=torch.from_numpy(weight).to(device),
        )
