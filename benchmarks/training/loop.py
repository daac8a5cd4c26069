"""A training loop of plain PyTorch, as one finds it in tutorials; peers differ in network, loader and loss."""

import time
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CyclicLR

from benchmarks.training.bare import Arithmetic, precision, wait
from benchmarks.training.contender import Lap
from benchmarks.training.work import Work
from benchmarks.training.worker_process import KEEPS_MEMORY
from metaseg.training.metrics import confusion_counts, f1_score

Loss = Callable[[Tensor, Tensor], Tensor]
"""One number from logits and masks."""

Batches = Iterable[tuple[Tensor, Tensor, Tensor]]
"""Images `(N, C, H, W)` float32, masks `(N, H, W)` uint8, metadata `(N, M)`, on whatever device."""


class Unconditioned(nn.Module):
    """A network that isn't told metadata."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, metadata: Tensor) -> Tensor:
        """Logits of images."""
        logits: Tensor = self.network(image)
        return logits


class Stepper:
    """Takes steps of Adam with a network, whatever the batches are."""

    def __init__(
        self, model: nn.Module, loss: Loss, device: torch.device, arithmetic: Arithmetic, learning_rate: float
    ) -> None:
        self.device, self.loss, self.arithmetic = device, loss, arithmetic
        self.model = model.to(device, memory_format=arithmetic.memory_format)  # type: ignore[call-overload]
        self.called = torch.compile(model) if arithmetic.compiled else model
        self.optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)

    def laid_out(self, image: Tensor) -> Tensor:
        """The image in the memory format; a copy, since with one channel `Tensor.to` would leave its strides."""
        if not self.arithmetic.channels_last:
            return image
        return image.clone(memory_format=torch.channels_last)

    def step(self, image: Tensor, mask: Tensor, metadata: Tensor) -> float:
        """A step on tensors of the device; returns the loss."""
        with precision(self.device, self.arithmetic.dtype):
            logits = self.called(self.laid_out(image), metadata)
        loss = self.loss(logits.float(), mask)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def logits(self, image: Tensor, metadata: Tensor) -> Tensor:
        """Logits of a batch of any size, by the network that isn't compiled."""
        with precision(self.device, self.arithmetic.dtype):
            found: Tensor = self.model(self.laid_out(image), metadata)
        return found


class Loop:
    """A network, batches and a loss; Adam, with the learning rate of our own schedule.

    Args:
        work: what is trained on.
        epochs: that the schedule is for.
        model: called with images and metadata.
        loss: of logits and masks.
        training: an epoch's batches, anew each time they are iterated.
        validation: whole images.
        arithmetic: number format that is autocast to, memory format, and whether the network is compiled.
        about: what a reader has to know, but for the arithmetic.
    """

    def __init__(
        self,
        work: Work,
        epochs: int,
        model: nn.Module,
        loss: Loss,
        training: Batches,
        validation: Batches,
        arithmetic: Arithmetic,
        about: str,
    ) -> None:
        self.work, self.about = work, f"{about}; {KEEPS_MEMORY}; {arithmetic}"
        self.training, self.validation = training, validation
        self.parameters = sum(weights.numel() for weights in model.parameters())
        schedule = work.config().schedule
        self.stepper = Stepper(model, loss, work.device, arithmetic, schedule.lr_min)
        self.model = self.stepper.model
        self.scheduler = CyclicLR(
            self.stepper.optimizer, schedule.lr_min, schedule.lr_max, step_size_up=work.steps * epochs / 2,
            cycle_momentum=False,
        )  # type: ignore[arg-type]  # fmt: skip

    def lap(self) -> Lap:
        """An epoch, without validation."""
        device, images, total = self.work.device, 0, 0.0
        self.model.train()
        wait(device)
        started = time.perf_counter()
        for batch in self.training:
            image, mask, metadata = (tensor.to(device, non_blocking=True) for tensor in batch)
            total += self.stepper.step(image, mask, metadata)
            self.scheduler.step()
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
            counts.append(confusion_counts(self.stepper.logits(image, metadata), mask).cpu())
        return float(f1_score(torch.cat(counts).numpy()).mean())

    def close(self) -> None:
        """Nothing to let go of: loaders end their workers themselves."""
