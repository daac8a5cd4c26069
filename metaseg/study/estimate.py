"""The cost of a run in time and memory, estimated from a few of its own steps on this machine."""

import math
import os
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import nn

from metaseg.config import EngineConfig, RunConfig
from metaseg.data.batches import epoch_batches, to_input
from metaseg.data.crops import HostCutter
from metaseg.data.dataset import Dataset
from metaseg.device import autocast, one_thread, usual_arithmetic
from metaseg.store.runs import Store
from metaseg.study.plan import Study
from metaseg.terminal import Terminal
from metaseg.training.deep_supervision import supervised_loss
from metaseg.training.evaluate import predict_logits
from metaseg.training.fit import build_network, encode_metadata
from metaseg.training.losses import build_loss
from metaseg.training.schedule import build_optimizer

STEPS = 3
"""Number of steps that are timed, after a first one that isn't."""

_HEADINGS = ("run id", "arm", "seed", "fold", "block, metadata", "samples", "parameters", "memory", "time", "state")
_SPARED = ("samples", "parameters", "memory")
"""Columns that a narrow terminal has no room for."""

_NUMBERS = ("seed", "samples", "parameters", "memory", "time")

LOG_WIDTH = 132
"""Width of the listing in columns, if it goes to a file."""

PROBE_PIXELS = 4 * 128 * 128
"""Pixels in the largest step that is measured on a CPU; the cost of larger steps is extrapolated in proportion."""


@dataclass(frozen=True)
class Cost:
    """The cost of a network on one worker."""

    parameters: int
    memory: float
    """Bytes that training holds: weights, gradients, Adam's two moments and the activations kept for the backward pass.
    The measured peak on a GPU; elsewhere an estimate for a GPU in full precision, without its libraries' own memory."""
    a_sample: float
    """Seconds of training per sample."""
    a_pixel: float
    """Seconds of validation per pixel."""
    scaled: bool
    """True if a smaller step than the run's was measured."""

    def seconds(self, config: RunConfig, dataset: Dataset) -> float:
        """Estimated seconds of training and validating a run with this network, without its test images.

        They are those of all epochs, of which early stopping may leave some out.
        """
        schedule, validation = config.schedule, dataset.table.iloc[dataset.indices("val", config.subset)]
        validations = math.ceil(schedule.epochs / schedule.validate_every)
        trained = schedule.epochs * len(dataset.indices("train", config.subset)) * self.a_sample
        validated = validations * (validation["height"] * validation["width"]).sum() * self.a_pixel
        return float(trained + validated) / dataset.share


def measure(config: RunConfig, dataset: Dataset, device: torch.device) -> Cost:
    """Measure a few real training steps and one validation image of a run, with as many threads as a worker has."""
    training, validation = dataset.indices("train", config.subset), dataset.indices("val", config.subset)
    schedule = config.schedule
    full_batch = min(schedule.batch_size, round(len(training) / dataset.share))
    crop, batch_size = schedule.crop, min(full_batch, len(training))
    if device.type != "cuda":
        crop = min(crop, math.isqrt(PROBE_PIXELS))
        batch_size = min(batch_size, max(1, PROBE_PIXELS // crop**2))
    factor = full_batch * schedule.crop**2 / (batch_size * crop**2)

    vectors = encode_metadata(config, dataset)[1].to(device)
    model = build_network(config, dataset.channels, len(dataset.classes), vectors.shape[1])
    arithmetic = usual_arithmetic(device)
    model = model.to(device, memory_format=arithmetic.memory_format)  # type: ignore[call-overload]
    optimizer = build_optimizer(model, schedule)
    loss_of = build_loss(config.loss, len(dataset.classes), dataset.has_ignored, device)
    batches = epoch_batches(
        dataset,
        training[:batch_size],
        batch_size=batch_size,
        crop=crop,
        seed=config.stream,
        epoch=1,
        device=device,
        cutter=HostCutter(dataset, device),
        memory_format=arithmetic.memory_format,
    )
    batch = next(iter(batches))
    saved: dict[int, int] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    def step() -> None:
        with arithmetic.autocast(device):
            outputs = model(batch.image, vectors[batch.samples])
        loss = (supervised_loss(outputs, batch.target, loss_of) * batch.weight).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    with one_thread(device):
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            step()
        synchronise(device)
        started = time.perf_counter()
        for _ in range(STEPS):
            step()
        synchronise(device)
        a_sample = (time.perf_counter() - started) / STEPS * factor / full_batch
        a_pixel = validation_seconds(model, dataset, validation, vectors, device)

    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    memory = 4 * weights + factor * sum(saved.values())
    if device.type == "cuda":
        memory = torch.cuda.max_memory_allocated(device)
    return Cost(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        memory=memory,
        a_sample=a_sample,
        a_pixel=a_pixel,
        scaled=factor != 1,
    )


def print_estimate(study: Study, store: Store, engine: EngineConfig, console: Console) -> None:
    """Print every run of a study, and the estimated cost of the missing ones on this machine."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    missing = {run.run_id for run in study.missing(store)}
    costs: dict[str, Cost] = {}
    narrow = console.is_terminal and console.width < LOG_WIDTH
    spared = (*(_SPARED if narrow else ()), *(() if study.dataset.folds else ("fold",)))
    headings = [heading for heading in _HEADINGS if heading not in spared]
    listing = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        wraps = heading in ("fold", "block, metadata")  # they may be long; ids are there to be copied
        listing.add_column(
            heading, justify="right" if heading in _NUMBERS else "left", no_wrap=not wraps, overflow="fold"
        )
    seconds = 0.0
    for run in track(study.runs, "Timing a few steps", console=console, transient=True):
        if run.arm.name not in costs:
            costs[run.arm.name] = measure(run.config, study.dataset_of(run), device)
        cost = costs[run.arm.name]
        needed = cost.seconds(run.config, study.dataset_of(run))
        seconds += needed if run.run_id in missing else 0
        cells = (
            run.run_id if study.dataset.share == 1 else "-",
            f"{run.arm.name} {run.part}".strip(),
            str(run.config.seed),
            run.config.fold or "",
            f"{run.config.block}, {_metadata(run.config)}",
            str(study.sample_count(run)),
            f"{cost.parameters:,}",
            gibibytes(cost.memory),
            readable(needed),
            "missing" if run.run_id in missing else "done",
        )
        listing.add_row(*(cell for heading, cell in zip(_HEADINGS, cells, strict=True) if heading in headings))
    wide = console if console.is_terminal else Terminal(file=console.file, width=LOG_WIDTH)
    wide.print(listing, highlight=False)
    if not missing:
        console.print(f"All {len(study.runs)} runs are done: nothing is left to train.", highlight=False)
        return
    at_once = torch.cuda.device_count() or int((os.cpu_count() or 1) / max(engine.cpus_per_worker, 0.01))
    at_once = max(1, min(at_once, engine.max_concurrent or at_once, len(missing)))
    what = torch.cuda.get_device_name() if device.type == "cuda" else "one core"
    smaller = (
        ", on smaller steps, extrapolated in proportion to their pixels"
        if any(cost.scaled for cost in costs.values())
        else ""
    )
    most = "at most " if any(run.config.early_stopping for run in study.runs) else ""
    console.print(
        f"{len(missing)} runs are missing: {most}about {readable(seconds / at_once)} on this machine, {at_once} at "
        f"once (measured on {what}{smaller}; start-up, test images and the competition of runs at once not included). "
        f"GPU memory: at most about {gibibytes(max(cost.memory for cost in costs.values()))} a run.",
        soft_wrap=True,
        highlight=False,
    )


def _metadata(config: RunConfig) -> str:
    """Metadata that a run sees, in words."""
    withheld = f", {100 * config.metadata_dropout:g} % withheld" if config.metadata_dropout else ""
    return f"{config.metadata_mode}{withheld}"


def gibibytes(size: float) -> str:
    """Format a number of bytes: `120 MiB`, `3.4 GiB`."""
    return f"{size / 2**20:.0f} MiB" if size < 2**30 else f"{size / 2**30:.1f} GiB"


def readable(seconds: float) -> str:
    """Format a duration to two digits: `45 s`, `12 min`, `3.4 h`, `2.1 d`."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= (2 if unit == "min" else 1) * size:
            return f"{seconds / size:.{0 if seconds / size >= 10 else 1}f} {unit}"
    return f"{seconds:.0f} s"


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has finished computing."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@torch.no_grad()
def validation_seconds(
    model: nn.Module, dataset: Dataset, validation: npt.NDArray[np.int64], vectors: torch.Tensor, device: torch.device
) -> float:
    """Seconds per pixel of validation images, measured on a piece of the first one."""
    first = validation[:1]
    pixels = dataset.image(int(first[0]))[None]
    side = math.isqrt(PROBE_PIXELS) if device.type != "cuda" else max(pixels.shape)
    piece = pixels[:, :side, :side]
    image = to_input(dataset, first, piece.copy(), device)
    model.eval()
    started = time.perf_counter()
    with autocast(device):
        predict_logits(model, image, vectors[first])
    synchronise(device)
    seconds = time.perf_counter() - started
    model.train()
    return float(seconds / (piece.shape[1] * piece.shape[2]))
