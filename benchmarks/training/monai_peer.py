"""MONAI as its fast-training guide says: images cached on the device, random transforms there, threads."""

from collections.abc import Iterator

import torch
from monai.data import CacheDataset, ThreadDataLoader, set_track_meta
from monai.losses import DiceCELoss
from monai.networks.nets import BasicUNet
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    EnsureTyped,
    LoadImaged,
    NormalizeIntensityd,
    RandFlipd,
    RandRotate90d,
    RandSpatialCropd,
)
from torch import Tensor, nn

from benchmarks.training.bare import Arithmetic
from benchmarks.training.contender import closest_width
from benchmarks.training.loop import Loop, Loss, Unconditioned
from benchmarks.training.work import Work

KEYS = ("image", "mask")


def basic_unet(width: int) -> BasicUNet:
    """Widths as of our levels."""
    features = (width, 2 * width, 4 * width, 8 * width, 16 * width, width)
    return BasicUNet(spatial_dims=2, in_channels=1, out_channels=1, features=features)


class Batches:
    """A loader's dictionaries, as `Loop` takes them."""

    def __init__(self, loader: ThreadDataLoader) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for batch in self.loader:
            mask = (batch["mask"][:, 0] > 0).to(torch.uint8)
            yield batch["image"], mask, mask.new_zeros(len(mask), 0)


def monai_network(parameters: int) -> tuple[nn.Module, Loss, int]:
    """BasicUNet with about `parameters` parameters, its loss, and its width."""
    with torch.device("meta"):
        width = closest_width(lambda each: sum(w.numel() for w in basic_unet(each).parameters()), parameters)
    dice = DiceCELoss(sigmoid=True)

    def loss(logits: Tensor, mask: Tensor) -> Tensor:
        found: Tensor = dice(logits, mask[:, None].float())
        return found

    return Unconditioned(basic_unet(width)), loss, width


def monai_loop(work: Work, seed: int, epochs: int, parameters: int, arithmetic: Arithmetic) -> Loop:
    """BasicUNet with about `parameters` parameters, ready to train."""
    torch.manual_seed(seed)
    set_track_meta(False)
    read = [
        LoadImaged(KEYS, image_only=True), EnsureChannelFirstd(KEYS, channel_dim="no_channel"),
        NormalizeIntensityd("image"), EnsureTyped(KEYS, device=work.device, track_meta=False),
    ]  # fmt: skip
    augment = [
        RandSpatialCropd(KEYS, (work.size.crop, work.size.crop), random_size=False),
        RandFlipd(KEYS, prob=0.5, spatial_axis=0), RandFlipd(KEYS, prob=0.5, spatial_axis=1),
        RandRotate90d(KEYS, prob=0.5),
    ]  # fmt: skip

    def batches(split: str, transforms: list[object], batch: int, shuffle: bool) -> Batches:
        rows = work.dataset.table[work.dataset.table["split"] == split]
        files = [{key: str(work.data / row[key]) for key in KEYS} for _, row in rows.iterrows()]
        transform = Compose(transforms).set_random_state(seed)
        cached = CacheDataset(files, transform, num_workers=work.threads, progress=False, copy_cache=False)
        return Batches(ThreadDataLoader(cached, num_workers=0, batch_size=batch, shuffle=shuffle))

    model, loss, width = monai_network(parameters)
    return Loop(
        work, epochs, model, loss, batches("train", [*read, *augment], work.size.batch, True),
        batches("val", read, 4, False), arithmetic, f"BasicUNet of width {width}; CacheDataset, ThreadDataLoader",
    )  # fmt: skip
