"""Batches of standardised random crops; counter-based randomness draws their order and their places."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from metaseg.data.counter_random import Stream, permutation, uniform
from metaseg.data.crops import Cutter, Placement, sent
from metaseg.data.dataset import Dataset
from metaseg.data.reading import ImagePixels


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
    """`(N,)` each sample's share of the step's loss, times the number of workers, because gradients are averaged over
    workers."""


def standardise(pixels: Tensor, statistics: Tensor, memory_format: torch.memory_format) -> Tensor:
    """Standardise `(N, C, H, W)` pixels, as stored, by the mean and std `(N, 2)` of their images: float32."""
    mean, std = statistics[:, :, None, None, None].unbind(dim=1)
    if pixels.dtype == torch.uint16:  # for which devices hardly have functions
        pixels = pixels.view(torch.int16).to(torch.int32) & 0xFFFF
    # Copied: with one channel, pixels in channels-last order also count as contiguous, but convolutions, which look at
    # the strides, would then return channels last.
    return (pixels.to(torch.float32, memory_format=memory_format, copy=True) - mean) / std


def to_input(dataset: Dataset, samples: npt.NDArray[np.int64], pixels: ImagePixels, device: torch.device) -> Tensor:
    """Standardise `(N, H, W, C)` pixels, as stored, of `samples` for evaluation: `(N, C, H, W)` float32 on `device`."""
    return standardise(
        sent(pixels, device).movedim(-1, 1), sent(dataset.statistics[samples], device), torch.channels_last
    )


def intensity_changes(
    samples: npt.NDArray[np.int64], intensity: float, seed: int, epoch: int
) -> npt.NDArray[np.float32]:
    """Contrast factor (1 +- `intensity`) and brightness offset (0 +- `intensity`) of each sample: `(N, 2)`."""
    draws = [uniform(seed, epoch, samples, stream) for stream in (Stream.CONTRAST, Stream.BRIGHTNESS)]
    return (np.stack(draws, axis=1) * 2 * intensity - intensity + [1.0, 0.0]).astype(np.float32)


def epoch_batches(
    dataset: Dataset,
    samples: npt.NDArray[np.int64],
    *,
    batch_size: int,
    crop: int,
    seed: int,
    epoch: int,
    device: torch.device,
    cutter: Cutter,
    intensity: float = 0.0,
    rank: int = 0,
    world_size: int = 1,
    first_step: int = 0,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Iterator[Batch]:
    """Yield this worker's batches of one epoch, which visits every sample once in an order of its own.

    Step k holds the same samples for any `world_size`; worker `rank` gets every `world_size`-th of them. A worker that
    a short last step leaves without samples gets one of weight 0, because every worker must take part in every step.

    Args:
        dataset: the prepared images and masks.
        samples: `(N,)` rows of the dataset's table to visit.
        batch_size: samples in a step, summed over all workers.
        crop: side of the square crops, in pixels.
        seed: seed of the run.
        epoch: counted from 0.
        device: device of the batches.
        cutter: from `open_cutter`, for the same dataset and device.
        intensity: largest random change of contrast and brightness; 0 for none.
        rank: number of this worker, from 0.
        world_size: number of workers.
        first_step: first step to yield, from 0; a resumed epoch starts later.
        memory_format: of the images.
    """
    order = permutation(seed, epoch, samples)
    placement = Placement.draw(dataset, order, crop, seed, epoch)
    # Sent once per epoch: each step would have to wait for small copies to a GPU.
    visited = torch.from_numpy(order).to(device)
    statistics = torch.from_numpy(dataset.statistics[order]).to(device)
    changes = torch.from_numpy(intensity_changes(order, intensity, seed, epoch)).to(device) if intensity else None
    for start in range(first_step * batch_size, len(order), batch_size):
        size = min(batch_size, len(order) - start)
        mine, weight = slice(start + rank, start + size, world_size), world_size / size
        if rank >= size:
            mine, weight = slice(start, start + 1), 0.0
        images, masks = cutter(placement[mine], crop)
        image = standardise(images, statistics[mine], memory_format)
        if changes is not None:
            contrast, brightness = changes[mine, :, None, None, None].unbind(dim=1)
            image = image * contrast + brightness
        yield Batch(
            image=image,
            target=masks,
            samples=visited[mine],
            weight=torch.full((len(images),), weight, device=device),
        )
