"""MONAI as its fast-training guide says: images cached on the device, random transforms there, threads."""

from collections.abc import Callable, Iterator

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

from benchmarks.training.bare import Dtype
from benchmarks.training.loop import Loop
from benchmarks.training.work import Work

KEYS = ("image", "mask")


def closest_width(parameters: Callable[[int], int], wanted: int) -> int:
    """The width with which a network that grows with it has closest to `wanted` parameters."""
    width = 1
    while parameters(width + 1) <= wanted:
        width += 1
    return min(width, width + 1, key=lambda each: abs(parameters(each) - wanted))


def basic_unet(width: int) -> BasicUNet:
    """Widths as of our levels."""
    features = (width, 2 * width, 4 * width, 8 * width, 16 * width, width)
    return BasicUNet(spatial_dims=2, in_channels=1, out_channels=1, features=features)


class Unconditioned(nn.Module):
    """A network that isn't told metadata."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, metadata: Tensor) -> Tensor:
        """Logits of images."""
        logits: Tensor = self.network(image)
        return logits


class Batches:
    """A loader's dictionaries, as `Loop` takes them."""

    def __init__(self, loader: ThreadDataLoader) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for batch in self.loader:
            mask = (batch["mask"][:, 0] > 0).to(torch.uint8)
            yield batch["image"], mask, mask.new_zeros(len(mask), 0)


def monai_loop(
    work: Work, seed: int, epochs: int, parameters: int, dtype: Dtype = "float32", channels_last: bool = False
) -> Loop:
    """BasicUNet with about `parameters` parameters, ready to train."""
    torch.manual_seed(seed)
    set_track_meta(False)
    with torch.device("meta"):
        width = closest_width(lambda each: sum(w.numel() for w in basic_unet(each).parameters()), parameters)
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

    loss = DiceCELoss(sigmoid=True)
    return Loop(
        work, epochs, Unconditioned(basic_unet(width)),
        lambda logits, mask: loss(logits, mask[:, None].float()),
        batches("train", [*read, *augment], work.size.batch, True), batches("val", read, 4, False), dtype,
        f"BasicUNet of width {width}; CacheDataset, ThreadDataLoader", channels_last,
    )  # fmt: skip
