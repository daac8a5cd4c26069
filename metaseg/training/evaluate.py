"""Full-resolution evaluation: a network and samples in, integer counts out."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from metaseg.data.batches import to_input
from metaseg.data.crops import sent
from metaseg.data.dataset import Dataset
from metaseg.device import autocast
from metaseg.training.metrics import confusion_counts
from metaseg.training.world import World

TILED_ABOVE = 2048 * 2048
"""Size in pixels of the largest image that passes through the network in one piece."""

TILE, MARGIN = 1024, 128
"""Side of a tile, and width of the context around it that is computed and discarded, in pixels."""

BATCH_PIXELS = 512 * 512
"""Most pixels of a batch of small images."""


def predict_logits(model: nn.Module, image: Tensor, metadata: Tensor) -> Tensor:
    """Logits `(N, out_channels, H, W)` of whole images `(N, C, H, W)`; in tiles for images above `TILED_ABOVE` pixels.

    Normalisation and global average pooling then see a tile instead of the image, so the logits differ slightly from
    those of the whole image.
    """
    height, width = image.shape[2:]
    if height * width <= TILED_ABOVE:
        whole: Tensor = model(image, metadata)
        return whole
    rows = []
    for top in range(0, height, TILE):
        row = []
        for left in range(0, width, TILE):
            above, before = max(0, top - MARGIN), max(0, left - MARGIN)
            window = image[:, :, above : top + TILE + MARGIN, before : left + TILE + MARGIN]
            logits = model(window, metadata)
            row.append(logits[:, :, top - above :, left - before :][:, :, :TILE, :TILE])
        rows.append(torch.cat(row, dim=3))
    return torch.cat(rows, dim=2)


def evaluation_batches(dataset: Dataset, samples: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    """Batches of images of one size, as positions in `samples`: a function of the samples alone, not of the workers."""
    sizes = dataset.table.loc[samples, ["height", "width"]].to_numpy(np.int64)
    batches = []
    for height, width in np.unique(sizes, axis=0):
        members = np.flatnonzero((sizes == (height, width)).all(axis=1))
        at_once = max(1, BATCH_PIXELS // int(height * width))
        batches += [members[start : start + at_once] for start in range(0, len(members), at_once)]
    return batches


@torch.no_grad()
def predictions(
    model: nn.Module, dataset: Dataset, samples: npt.NDArray[np.int64], vectors: Tensor, device: torch.device
) -> Iterator[tuple[npt.NDArray[np.int64], Tensor, Tensor]]:
    """Predictions for this worker's share of `samples`; arguments as of `evaluate`.

    Yields:
        For each batch, positions in `samples`, logits `(N, out_channels, H, W)` and reference masks `(N, H, W)`.
    """
    world = World.current()
    model.eval()
    for positions in evaluation_batches(dataset, samples)[world.rank :: world.size]:
        members = samples[positions]
        pixels = np.stack([dataset.image(int(sample)) for sample in members])
        target = sent(np.stack([dataset.mask(int(sample)) for sample in members]), device)
        with autocast(device):
            metadata = vectors[sent(members, device)]
            logits = predict_logits(model, to_input(dataset, members, pixels, device), metadata)
        yield positions, logits, target


def evaluate(
    model: nn.Module, dataset: Dataset, samples: npt.NDArray[np.int64], vectors: Tensor, device: torch.device
) -> npt.NDArray[np.int64]:
    """Confusion counts of each of `samples`, computed together by the workers of the current process group.

    A GPU is waited for once, at the end.

    Args:
        model: the network (not its data-parallel wrapper), on `device`.
        dataset: the decoded samples.
        samples: `(n,)` rows of the dataset's table.
        vectors: `(len(dataset.table), M)` metadata of all samples, on `device`.
        device: the device to compute on.

    Returns:
        `(n, K, 4)`: tp, fp, fn, tn in pixels for each sample and class, the same on every worker.
    """
    counts = torch.zeros(len(samples), len(dataset.classes), 4, dtype=torch.int64, device=device)
    for positions, logits, target in predictions(model, dataset, samples, vectors, device):
        counts[sent(positions, device)] = confusion_counts(logits, target)
    return World.current().sum(counts).cpu().numpy()
