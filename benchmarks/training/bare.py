"""The limit: forward, loss, backward and step on tensors that are on the device already; and the forward pass alone."""

import contextlib
import time
from dataclasses import dataclass, replace
from typing import Literal

import torch

from benchmarks.training.contender import Lap
from benchmarks.training.work import Work
from metaseg.networks.unet import UNet
from metaseg.training.evaluate import evaluation_batches
from metaseg.training.fit import build_network, encode_metadata
from metaseg.training.losses import segmentation_loss

Dtype = Literal["float32", "bfloat16", "float16"]


def type_name(dtype: torch.dtype | None) -> Dtype:
    """The name of a number format; of single precision where there is none."""
    return "float16" if dtype is torch.float16 else "bfloat16" if dtype is torch.bfloat16 else "float32"


def precision(device: torch.device, dtype: Dtype) -> contextlib.AbstractContextManager[object]:
    """Autocast to a half precision, or nothing."""
    half = torch.float16 if dtype == "float16" else torch.bfloat16
    return torch.autocast(device.type, half, enabled=dtype != "float32")


@dataclass(frozen=True)
class Arithmetic:
    """Number format, memory layout and compilation of a bare loop."""

    dtype: Dtype = "float32"
    channels_last: bool = False
    compiled: bool = False

    def __str__(self) -> str:
        layout = "channels last" if self.channels_last else "NCHW"
        return f"{self.dtype} {layout}{' compiled' if self.compiled else ''}"

    @property
    def memory_format(self) -> torch.memory_format:
        """Memory layout of the images and weights."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def network(self, work: Work, block: str = "sme") -> UNet:
        """Our network, as `metaseg.training.fit` builds it."""
        config = replace(work.config(), block=block)
        _, vectors = encode_metadata(config, work.dataset)
        model = build_network(config, work.dataset.channels, len(work.dataset.classes), vectors.shape[1])
        model = model.to(work.device, memory_format=self.memory_format)
        return torch.compile(model) if self.compiled else model  # type: ignore[return-value]


ALL = tuple(Arithmetic(dtype, last) for dtype in ("float32", "bfloat16") for last in (False, True))


def wait(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class BareLoop:
    """Takes the steps of an epoch, all on one batch of noise: nothing is read, cropped or moved."""

    def __init__(self, work: Work, arithmetic: Arithmetic, block: str = "sme") -> None:
        self.work, self.arithmetic = work, arithmetic
        self.model = arithmetic.network(work, block)
        self.parameters = sum(weights.numel() for weights in self.model.parameters())
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-4, fused=True)
        generator = torch.Generator().manual_seed(0)
        count, crop = work.size.batch, work.size.crop
        image = torch.randn(count, work.dataset.channels, crop, crop, generator=generator)
        self.image = image.to(work.device).clone(memory_format=arithmetic.memory_format)
        # Noise that can't be learned: gradients stay as large as in training.
        self.target = torch.randint(2, (count, crop, crop), generator=generator, dtype=torch.uint8).to(work.device)
        self.metadata = encode_metadata(work.config(), work.dataset)[1][:count].to(work.device)

    def lap(self) -> Lap:
        """An epoch's steps, with none of the last one's batch missing."""
        torch.backends.cudnn.benchmark = True
        self.model.train()
        wait(self.work.device)
        started = time.perf_counter()
        for _ in range(self.work.steps):
            with precision(self.work.device, self.arithmetic.dtype):
                logits = self.model(self.image, self.metadata)
            loss = segmentation_loss(logits, self.target).mean()
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
        wait(self.work.device)
        return Lap(self.work.steps * len(self.image), time.perf_counter() - started)

    def close(self) -> None:
        """Nothing to let go of."""


class BareForward:
    """The forward pass alone, of tensors of the validation images' number and sizes."""

    def __init__(self, work: Work, arithmetic: Arithmetic) -> None:
        self.work, self.arithmetic = work, arithmetic
        self.model = arithmetic.network(work).eval()
        samples = work.dataset.indices("val")
        sizes = work.dataset.table[["height", "width"]].to_numpy()
        vectors = encode_metadata(work.config(), work.dataset)[1].to(work.device)
        self.batches = []
        for positions in evaluation_batches(work.dataset, samples):
            members = samples[positions]
            image = torch.randn(len(members), work.dataset.channels, *sizes[members[0]]).to(work.device)
            self.batches.append((image.clone(memory_format=arithmetic.memory_format), vectors[members]))

    @torch.no_grad()
    def lap(self) -> Lap:
        """All validation images once."""
        torch.backends.cudnn.benchmark = True
        wait(self.work.device)
        started = time.perf_counter()
        for image, metadata in self.batches:
            with precision(self.work.device, self.arithmetic.dtype):
                self.model(image, metadata)
        wait(self.work.device)
        return Lap(sum(len(image) for image, _ in self.batches), time.perf_counter() - started)

    def close(self) -> None:
        """Nothing to let go of."""
