"""A training step: forward pass, loss, backward pass and optimizer, launched one by one or from a CUDA graph."""

import contextlib
import random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from metaseg.data.batches import Batch
from metaseg.device import Arithmetic
from metaseg.training.deep_supervision import supervised_loss
from metaseg.training.losses import SampleLoss
from metaseg.training.world import World

WARM_UP_STEPS = 3
"""Steps before a capture, in which libraries make what they keep: as many as PyTorch's documentation takes."""

KNOWN_PACKAGES = ("torch", "metaseg", "monai", "segmentation_models_pytorch", "timm", "torchvision")
"""Packages whose modules compute the same in each step, apart from what they draw."""

Capture = Callable[[Callable[[], Tensor]], tuple[Callable[[], None], Tensor]]
"""Captures a function of no arguments, which it may call several times first: returns what replays it, and the tensor
that each replay writes the result to."""


class CaptureWarning(UserWarning):
    """Training steps couldn't be captured in a CUDA graph; they are launched one by one."""


@dataclass(frozen=True)
class Step:
    """One step of training, launched operation by operation.

    Args:
        network: called with images and metadata; wrapped for data-parallel training where there are several workers.
        optimizer: of the network's parameters.
        scaler: of losses in float16; does nothing in other types.
        loss_of: each sample's loss.
        arithmetic: number format of the forward pass.
        device: of the network.
        compiled: the network, compiled for full batches; None if it isn't.
        samples: number of samples of a full batch.
    """

    network: nn.Module
    optimizer: Optimizer
    scaler: torch.amp.GradScaler
    loss_of: SampleLoss
    arithmetic: Arithmetic
    device: torch.device
    compiled: nn.Module | None = None
    samples: int = 0
    is_captured: ClassVar[bool] = False

    def __call__(self, batch: Batch, metadata: Tensor) -> Tensor:
        """Take a step.

        Args:
            batch: this worker's share of the samples.
            metadata: `(N, M)`, what the network is told of them.

        Returns:
            The sum of the losses of all samples whose weight isn't 0, on the device.
        """
        return self.taken(batch.image, metadata, batch.target, batch.weight)

    def taken(self, image: Tensor, metadata: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """Take a step; arguments as the fields of `Batch`."""
        # To compile for another size would take as long again.
        network = self.network if self.compiled is None or len(image) != self.samples else self.compiled
        with self.arithmetic.autocast(self.device):
            outputs = network(image, metadata)
        losses = supervised_loss(outputs, target, self.loss_of)
        for group in self.optimizer.param_groups:  # `zero_grad` takes ten times as long
            for parameter in group["params"]:
                parameter.grad = None
        self.scaler.scale((losses * weight).sum()).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return (losses.detach() * (weight > 0)).sum()


class CapturedStep:
    """Steps that are replayed from a capture of the first one: nothing is launched by Python any more.

    Batches are copied to where that of the capture lay. A smaller batch, as an epoch's last one may be, takes a step of
    the usual kind. Where steps can't be captured, all do, with a `CaptureWarning`.

    Args:
        step: what is captured.
        capture: how.
    """

    def __init__(self, step: Step, capture: Capture) -> None:
        self._step, self._capture = step, capture
        self._inputs: tuple[Tensor, ...] | None = None
        self._replay: Callable[[], None] | None = None
        self._loss: Tensor | None = None
        self._rates: list[Tensor] = []
        self._failed = False

    @property
    def is_captured(self) -> bool:
        """True once a step is captured."""
        return self._inputs is not None

    def __call__(self, batch: Batch, metadata: Tensor) -> Tensor:
        """Take a step; see `Step`."""
        given = (batch.image, metadata, batch.target, batch.weight)
        full = len(batch.image) == self._step.samples
        if full and self._inputs is None and not self._failed:
            with _on(self._step.device):
                self._begin(given)
        if not full or self._inputs is None or self._replay is None or self._loss is None:
            return self._step.taken(*given)
        for kept, new in zip(self._inputs, given, strict=True):
            kept.copy_(new)
        for kept, group in zip(self._rates, self._step.optimizer.param_groups, strict=True):
            kept.fill_(group["lr"])
        self._replay()
        return self._loss.clone()

    def _begin(self, given: tuple[Tensor, ...]) -> None:
        """Capture a step with copies of a batch, and leave the training as it is."""
        inputs = tuple(tensor.clone() for tensor in given)
        rates = [float(group["lr"]) for group in self._step.optimizer.param_groups]
        self._rates = [torch.tensor(rate, dtype=torch.float32, device=given[0].device) for rate in rates]
        restore, buffers = _kept(self._step), list(self._step.network.buffers())
        undrawn = _draws(self._step.device)
        try:
            replay, loss = self._capture(lambda: self._with_rates(inputs))
            # A graph would go on with buffers that the network has replaced, and would repeat what layers have drawn.
            kept = [id(buffer) for buffer in self._step.network.buffers()] == [id(buffer) for buffer in buffers]
        except RuntimeError as error:
            self._failed = True
            why = str(error).partition("\n")[0]
            warnings.warn(f"steps are launched one by one, as a capture failed: {why}", CaptureWarning, stacklevel=4)
            return
        finally:
            restore()
            drew = undrawn()
        if kept and not drew:
            self._inputs, self._replay, self._loss = inputs, replay, loss
        else:
            self._failed = True

    def _with_rates(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Take a step with learning rates that lie in tensors: numbers would stay as they are when it is captured."""
        groups = self._step.optimizer.param_groups
        numbers = [group["lr"] for group in groups]
        # PyTorch warns of optimizers that are capturable and take a step that isn't captured.
        capturing = self._step.device.type == "cuda" and torch.cuda.is_current_stream_capturing()
        try:
            for group, rate in zip(groups, self._rates, strict=True):
                group |= {"lr": rate, "capturable": capturing}
            return self._step.taken(*inputs)
        finally:
            for group, number in zip(groups, numbers, strict=True):
                group |= {"lr": number, "capturable": False}


def _on(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Make a GPU the current one: streams and captures are of that one, and a capture of another would be empty."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


def _draws(device: torch.device) -> Callable[[], bool]:
    """Remember the generators that layers may draw from; returns what sets them back, and says if any has drawn."""
    generators = [torch.default_generator]
    if device.type == "cuda":
        generators.append(torch.cuda.default_generators[torch.cuda.current_device()])
    states = [generator.get_state() for generator in generators]
    python, arrays = random.getstate(), np.random.get_state()

    def undrawn() -> bool:
        same = [torch.equal(generator.get_state(), state) for generator, state in zip(generators, states, strict=True)]
        same += [random.getstate() == python, repr(np.random.get_state()) == repr(arrays)]
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
        random.setstate(python)
        np.random.set_state(arrays)
        return not all(same)

    return undrawn


def _kept(step: Step) -> Callable[[], None]:
    """Remember parameters, buffers and the optimizer's state; returns what writes them back to where they were.

    Buffers that the network has replaced are put back, too.
    """
    tensors = [*step.network.parameters(), *step.network.buffers()]
    buffers = [(module, dict(module.named_buffers(recurse=False))) for module in step.network.modules()]
    values = [tensor.detach().clone() for tensor in tensors]
    state = step.optimizer.state
    before = {
        parameter: {name: value.clone() for name, value in found.items() if isinstance(value, Tensor)}
        for parameter, found in state.items()
    }

    @torch.no_grad()
    def restore() -> None:
        for module, names in buffers:
            for name, buffer in names.items():
                setattr(module, name, buffer)
        for tensor, value in zip(tensors, values, strict=True):
            tensor.copy_(value)
        for parameter, found in state.items():
            for name, value in found.items():
                if not isinstance(value, Tensor):
                    continue
                if (known := before.get(parameter, {}).get(name)) is None:
                    value.zero_()  # as Adam begins
                else:
                    value.copy_(known)

    return restore


def on_gpu(step: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    """Capture in a CUDA graph, after `WARM_UP_STEPS` steps in a stream beside (PyTorch's documentation, CUDA graphs).

    Raises:
        RuntimeError: an operation waits for the GPU, or draws on the host.
    """
    current, beside = torch.cuda.current_stream(), _beside(torch.cuda.current_device())
    # A capture that fails leaves its stream as the current one: this context sets it back.
    with torch.cuda.stream(beside):
        beside.wait_stream(current)
        try:
            for _ in range(WARM_UP_STEPS - 1):
                step()
            with _waiting_raises():
                step()
        finally:  # what follows mustn't overtake steps that are under way
            current.wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=beside):
            loss = step()
    return graph.replay, loss


@cache
def _beside(device: int) -> torch.cuda.Stream:
    """The stream of all captures on a GPU: for each further one, cuBLAS would keep memory of its own."""
    return torch.cuda.Stream(device)


@contextlib.contextmanager
def _waiting_raises() -> Iterator[None]:
    """Let operations that wait for the GPU raise: in a capture, they would leave PyTorch's allocator capturing."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def build_step(step: Step, capture: Capture | None) -> Step | CapturedStep:
    """The step, to be captured where that gives the same training.

    That isn't so with several workers; nor in float16, whose scaler looks at gradients on the host; nor in networks
    that draw numbers, which get other seeds in each step; and a module of an unknown package may count steps in Python.

    Args:
        step: the usual one.
        capture: how; None for never.
    """
    if capture is None or (capture is on_gpu and step.device.type != "cuda"):
        return step
    known = all(type(module).__module__.partition(".")[0] in KNOWN_PACKAGES for module in step.network.modules())
    if World.current().size > 1 or step.scaler.is_enabled() or not known:
        return step
    return CapturedStep(step, capture)
