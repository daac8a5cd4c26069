"""The textbook's loop: a `torch.utils.data.Dataset` that decodes PNGs, a `DataLoader`, our network and loss."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from benchmarks.training.bare import Arithmetic
from benchmarks.training.loop import Loop, Loss
from benchmarks.training.work import Work
from metaseg.training.fit import build_network, encode_metadata
from metaseg.training.losses import segmentation_loss


def loader_workers(device: torch.device) -> int:
    """Processes of a DataLoader: on a CPU none, since training has all its cores."""
    return 4 if device.type == "cuda" else 0


class PngImages(TorchDataset[tuple[Tensor, Tensor, Tensor]]):
    """Files, decoded when they are asked for; a random crop and flips where `crop` isn't None."""

    def __init__(self, root: Path, rows: pd.DataFrame, vectors: Tensor, crop: int | None) -> None:
        self.images = [root / name for name in rows["image"]]
        self.masks = [root / name for name in rows["mask"]]
        self.vectors, self.crop = vectors, crop

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
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


def mean_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Our loss, of the whole batch."""
    return segmentation_loss(logits, mask).mean()


def textbook_network(work: Work) -> tuple[nn.Module, Loss]:
    """Our network and loss."""
    config, dataset = work.config(), work.dataset
    vectors = encode_metadata(config, dataset)[1]
    return build_network(config, dataset.channels, len(dataset.classes), vectors.shape[1]), mean_loss


def textbook(
    work: Work, seed: int, epochs: int, arithmetic: Arithmetic, network: tuple[nn.Module, Loss, str] | None = None
) -> Loop:
    """The loop, ready to train our network, or another with its loss and description."""
    torch.manual_seed(seed)
    config, table = work.config(seed), work.dataset.table
    vectors = encode_metadata(config, work.dataset)[1]
    processes = loader_workers(work.device)

    def loader(split: str, crop: int | None, batch: int) -> DataLoader[tuple[Tensor, Tensor, Tensor]]:
        chosen = np.flatnonzero(table["split"] == split)
        images = PngImages(work.data, table.iloc[chosen], vectors[chosen], crop)
        return DataLoader(
            images, batch, shuffle=crop is not None, num_workers=processes, persistent_workers=processes > 0,
            pin_memory=work.device.type == "cuda",
        )  # fmt: skip

    model, loss, about = network or (*textbook_network(work), "our network")
    return Loop(
        work, epochs, model, loss, loader("train", work.size.crop, work.size.batch), loader("val", None, 4), arithmetic,
        f"{about}; PNGs decoded by {processes or 'no'} loader processes",
    )  # fmt: skip
