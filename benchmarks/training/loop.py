"""A training loop of plain PyTorch, as one finds it in tutorials; peers differ in network, loader and loss."""

import time
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CyclicLR

from benchmarks.training.bare import Dtype, precision, wait
from benchmarks.training.contender import Lap
from benchmarks.training.work import Work
from metaseg.training.metrics import confusion_counts, f1_score

Batches = Iterable[tuple[Tensor, Tensor, Tensor]]
"""Images `(N, C, H, W)` float32, masks `(N, H, W)` uint8, metadata `(N, M)`, on whatever device."""


class Loop:
    """A network, batches and a loss; Adam, with the learning rate of our own schedule.

    Args:
        work: what is trained on.
        epochs: that the schedule is for.
        model: called with images and metadata.
        loss: of logits and masks.
        training: an epoch's batches, anew each time they are iterated.
        validation: whole images.
        dtype: what is autocast to.
        about: what a reader has to know.
        channels_last: memory format of images and weights.
    """

    def __init__(
        self,
        work: Work,
        epochs: int,
        model: nn.Module,
        loss: Callable[[Tensor, Tensor], Tensor],
        training: Batches,
        validation: Batches,
        dtype: Dtype,
        about: str,
        channels_last: bool = False,
    ) -> None:
        self.work, self.dtype = work, dtype
        self.about = f"{about}; {dtype}, {'channels last' if channels_last else 'NCHW'}"
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.model = model.to(work.device, memory_format=self.format)  # type: ignore[call-overload]
        self.loss = loss
        self.training, self.validation = training, validation
        self.parameters = sum(weights.numel() for weights in model.parameters())
        schedule = work.config().schedule
        self.optimizer = torch.optim.Adam(model.parameters(), lr=schedule.lr_min)
        self.scheduler = CyclicLR(
            self.optimizer, schedule.lr_min, schedule.lr_max, step_size_up=work.steps * epochs / 2, cycle_momentum=False
        )  # type: ignore[arg-type]

    def lap(self) -> Lap:
        """An epoch, without validation."""
        device, images, total = self.work.device, 0, 0.0
        self.model.train()
        wait(device)
        started = time.perf_counter()
        for batch in self.training:
            image, mask, metadata = (tensor.to(device, non_blocking=True) for tensor in batch)
            image = image.contiguous(memory_format=self.format)
            with precision(device, self.dtype):
                logits = self.model(image, metadata)
            loss = self.loss(logits.float(), mask)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.scheduler.step()
            total += loss.item()
            images += len(image)
        wait(device)
        return Lap(images, time.perf_counter() - started)

    @torch.no_grad()
    def score(self) -> float:
        """Mean F1 over the validation images."""
        self.model.eval()
        counts = []
        for batch in self.validation:
            image, mask, metadata = (tensor.to(self.work.device) for tensor in batch)
            image = image.contiguous(memory_format=self.format)
            with precision(self.work.device, self.dtype):
                logits = self.model(image, metadata)
            counts.append(confusion_counts(logits, mask).cpu())
        return float(f1_score(torch.cat(counts).numpy()).mean())

    def close(self) -> None:
        """Nothing to let go of: loaders end their workers themselves."""
