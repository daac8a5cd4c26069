"""The textbook's loop: a `torch.utils.data.Dataset` that decodes PNGs, a `DataLoader`, our network and loss."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from benchmarks.training.bare import Dtype
from benchmarks.training.loop import Loop
from benchmarks.training.work import Work
from metaseg.training.fit import build_network, encode_metadata
from metaseg.training.losses import segmentation_loss


def loader_workers(device: torch.device) -> int:
    """Processes of a DataLoader: on a CPU none, since training has all its cores."""
    return 4 if device.type == "cuda" else 0


Sample = tuple[Tensor, Tensor, Tensor]
"""Image, mask and metadata."""


class PngImages(TorchDataset[Sample]):
    """Files, decoded when they are asked for; a random crop and flips where `crop` isn't None."""

    def __init__(self, root: Path, rows: pd.DataFrame, vectors: Tensor, crop: int | None) -> None:
        self.images = [root / name for name in rows["image"]]
        self.masks = [root / name for name in rows["mask"]]
        self.vectors, self.crop = vectors, crop

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        image = torch.from_numpy(np.array(Image.open(self.images[index]), dtype=np.float32))[None]
        mask = torch.from_numpy((np.array(Image.open(self.masks[index])) > 0).astype(np.uint8))
        image = (image - image.mean()) / image.std()
        if self.crop is not None:
            top, left = (int(torch.randint(side - self.crop + 1, ())) for side in mask.shape)
            window = (..., slice(top, top + self.crop), slice(left, left + self.crop))
            image, mask = image[window], mask[window]
            for axis in (-1, -2):
                if torch.rand(()) < 0.5:
                    image, mask = image.flip(axis), mask.flip(axis)
        return image, mask, self.vectors[index]


def loaders(work: Work, seed: int) -> tuple[DataLoader[Sample], DataLoader[Sample]]:
    """Batches of random crops for training, and of whole images for validation."""
    vectors, table = encode_metadata(work.config(seed), work.dataset)[1], work.dataset.table
    processes = loader_workers(work.device)

    def loader(split: str, crop: int | None, batch: int) -> DataLoader[Sample]:
        chosen = np.flatnonzero(table["split"] == split)
        images = PngImages(work.data, table.iloc[chosen], vectors[chosen], crop)
        return DataLoader(
            images, batch, shuffle=crop is not None, num_workers=processes, persistent_workers=processes > 0,
            pin_memory=work.device.type == "cuda",
        )  # fmt: skip

    return loader("train", work.size.crop, work.size.batch), loader("val", None, 4)


def textbook(work: Work, seed: int, epochs: int, dtype: Dtype = "float32", channels_last: bool = False) -> Loop:
    """The loop, ready to train."""
    torch.manual_seed(seed)
    config, processes = work.config(seed), loader_workers(work.device)
    training, validation = loaders(work, seed)
    vectors = encode_metadata(config, work.dataset)[1]
    model = build_network(config, work.dataset.channels, len(work.dataset.classes), vectors.shape[1])
    return Loop(
        work, epochs, model, lambda logits, mask: segmentation_loss(logits, mask).mean(), training, validation, dtype,
        f"our network; PNGs decoded by {processes or 'no'} loader processes", channels_last,
    )  # fmt: skip
