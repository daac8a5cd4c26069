"""Fit one run in the current process group, of any size: a configuration and data in, best weights and history out."""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from metaseg.config import LEFT_OUT, ConfigError, RunConfig
from metaseg.data.batches import epoch_batches
from metaseg.data.counter_random import generator_seeds
from metaseg.data.crops import open_cutter
from metaseg.data.dataset import Dataset
from metaseg.data.metadata import MetadataEncoder
from metaseg.data.metadata_modes import apply_mode, dropped
from metaseg.device import Arithmetic
from metaseg.networks.blocks import block_class
from metaseg.networks.build import build, start_from
from metaseg.networks.initialisation import initialise_by_name
from metaseg.networks.segmenter import Segmenter
from metaseg.schema import UNKNOWN
from metaseg.training.arithmetic import caches, choose, continued
from metaseg.training.checkpoint import Checkpoints, Parts, State, pack, resume
from metaseg.training.compilation import compiled
from metaseg.training.early_stopping import has_stalled
from metaseg.training.evaluate import evaluate
from metaseg.training.history import Epoch
from metaseg.training.losses import build_loss
from metaseg.training.metrics import f1_score
from metaseg.training.schedule import build_optimizer, build_scheduler
from metaseg.training.step import Capture, Step, build_step, on_gpu
from metaseg.training.world import World


class DivergedError(RuntimeError):
    """The training loss stopped being a finite number."""


@dataclass(frozen=True)
class Fitted:
    """A trained network with the weights of its best validation, and everything needed to use it."""

    model: nn.Module
    encoder: MetadataEncoder
    vectors: Tensor
    """`(samples, M)` metadata of all samples of the dataset, as the run sees it."""
    best_epoch: int
    history: tuple[Epoch, ...]
    arithmetic: Arithmetic | None = None
    """The arithmetic of its training; None where it wasn't trained here."""
    captured: bool = False
    """True if steps were replayed from a CUDA graph."""


def build_network(
    config: RunConfig, channels: int, classes: int, metadata_size: int, weights: Mapping[str, Tensor] | None = None
) -> nn.Module:
    """The run's network as it is before training: a function of the configuration (its seed included) and `weights`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.stream)
        network = build(
            channels,
            classes,
            config.block,
            metadata_size,
            config.network,
            heads=config.metadata_mode == "heads",
            architecture=config.architecture,
        )
        # A network from elsewhere is made before its blocks: its own weights are the same in all arms anyway.
        if config.init == "shared" and not isinstance(network, Segmenter):
            initialise_by_name(network, config.stream)
        if weights is not None and config.architecture is not None:
            start_from(network, weights, config.architecture)
        return network


def encode_metadata(config: RunConfig, dataset: Dataset) -> tuple[MetadataEncoder, Tensor]:
    """The encoder, and `(samples, M)` metadata of all samples of the dataset as the run sees it.

    The encoder is fitted on all training samples, whatever the run's subset, so that a value means the same to all
    arms. Values that a fold leaves out by design, one group after the other, are unknown to the network.
    """
    own = ~dataset.is_trained_only
    left_out = dataset.values[own]
    if not dataset.folds or dataset.folds.kind == "drawn":
        declared = [column.name for column in dataset.metadata if column.missing == "unknown"]
        left_out = left_out[declared].where(left_out[declared] == UNKNOWN)
    training, robust = dataset.indices("train"), config.metadata_dropout > 0
    encoder = MetadataEncoder.fit(dataset.metadata, dataset.values.iloc[training[own[training]]], left_out, robust)
    vectors = np.zeros((len(own), encoder.size), np.float32)  # a mask made of others has metadata of none of them
    vectors[own] = encoder.encode(dataset.values[own])
    splits = dataset.table["split"].where(own, LEFT_OUT).to_numpy(object)
    seen = apply_mode(vectors, config.metadata_mode, splits, config.stream)
    return encoder, torch.from_numpy(seen)


def told(config: RunConfig, encoder: MetadataEncoder, vectors: Tensor, epoch: int) -> Tensor:
    """`(samples, M)` metadata that the network is told in a training epoch: `vectors`, with dropout."""
    if not config.metadata_dropout:
        return vectors
    unknown = torch.from_numpy(encoder.withhold(np.zeros((1, encoder.size), np.float32))).to(vectors.device)
    withheld = torch.from_numpy(dropped(len(vectors), config.metadata_dropout, config.stream, epoch))
    return torch.where(withheld.to(vectors.device)[:, None], unknown, vectors)


CHECK_STEPS = 16
"""Steps between checks whether a checkpoint is due; in each, all workers wait for the first one."""


@torch.random.fork_rng(devices=[])  # layers that draw are seeded in each step
def fit(
    config: RunConfig,
    dataset: Dataset,
    device: torch.device,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    checkpoints: Checkpoints | None = None,
    weights: Mapping[str, Tensor] | None = None,
    arithmetic: Arithmetic | None = None,
    capture: Capture | None = on_gpu,
) -> Fitted:
    """Train the run's network and return it with the weights of its best validation.

    With `config.early_stopping`, it ends when validation hasn't become better for so long; the learning rate's course
    is that of all `config.schedule.epochs` even so, of which the rest is left out.

    Training resumes from the newest checkpoint. With as many workers as before, the result is bit for bit that of a
    training that was never interrupted.

    Args:
        config: the resolved run; `config.dataset` must be the dataset's fingerprint.
        dataset: the decoded samples, whole or as the run's fold sees them, the same on every worker of the current
            process group.
        device: this worker's.
        on_epoch: called after each epoch that is trained here, on every worker.
        checkpoints: where checkpoints are saved; None to save none.
        weights: those that the run's network starts from, where `config.architecture` names a file of them.
        arithmetic: number format and memory format; by default what is fastest here (`metaseg.training.arithmetic`).
        capture: on GPUs, how steps are captured to be replayed (`metaseg.training.step`); None to launch each.

    Raises:
        ConfigError: another dataset or fold, an unknown block, or a block that needs metadata the dataset doesn't have.
        UnknownMetadataError: a sample's metadata has a value that no training sample has.
        DivergedError: the loss became NaN or infinite.

    Example:
        >>> from pathlib import Path
        >>> import torch
        >>> from metaseg import NetworkConfig, RunConfig, ScheduleConfig, fit
        >>> from metaseg import DataConfig, SyntheticConfig, make_seven_cells, prepare
        >>> cells = make_seven_cells(Path("cells"), SyntheticConfig(size=64, images_per_line=3, wells_per_line=3))
        >>> dataset = prepare(cells, DataConfig(), Path("cache"))
        >>> network, schedule = NetworkConfig(width=2, depth=1), ScheduleConfig(epochs=1, crop=32)
        >>> run = RunConfig("sme", "true", 0, dataset.fingerprint, network, schedule)
        >>> fitted = fit(run, dataset, torch.device("cpu"))
        >>> fitted.best_epoch, 0 <= fitted.history[0].val_f1 <= 1
        (1, True)
    """
    if config.dataset != dataset.fingerprint:
        raise ConfigError(
            f"dataset {dataset.path} has fingerprint {dataset.fingerprint}; the run expects {config.dataset}"
        )
    dataset = dataset.of_fold(config.fold)
    if block_class(config.block).needs_metadata and not dataset.metadata:
        raise ConfigError(f"block {config.block!r} needs metadata, but dataset {dataset.name!r} has no metadata column")

    if config.architecture and config.architecture.weights and weights is None:
        raise ConfigError(f"the run starts from weights {config.architecture.weights[:12]}, which weren't given")
    loss_of = build_loss(config.loss, len(dataset.classes), dataset.has_ignored, device)

    world, schedule = World.current(), config.schedule
    training, validation = dataset.indices("train", config.subset), dataset.indices("val", config.subset)
    encoder, vectors = encode_metadata(config, dataset)
    vectors = vectors.to(device)

    torch.backends.cudnn.deterministic = True
    steps = math.ceil(len(training) / schedule.batch_size)
    make = partial(build_network, config, dataset.channels, len(dataset.classes), vectors.shape[1], weights)
    if arithmetic is None:
        share = (math.ceil(schedule.batch_size / world.size), dataset.channels, schedule.crop, schedule.crop)
        planned = schedule.epochs * math.ceil(len(dataset.indices("train")) / schedule.batch_size)
        sizes = (vectors.shape[1], len(dataset.classes))
        arithmetic = choose(config, make, share, *sizes, device, len(dataset.table), planned)
    model = make().to(device, memory_format=arithmetic.memory_format)  # type: ignore[call-overload]
    cutter = open_cutter(dataset, device)
    parallel: nn.Module = model
    if world.size > 1:  # a network from elsewhere may have parts that its logits don't depend on
        parallel = DistributedDataParallel(model, find_unused_parameters=isinstance(model, Segmenter))
    optimizer = build_optimizer(model, schedule)
    scheduler = build_scheduler(optimizer, schedule, steps * schedule.epochs)
    scaler = torch.amp.GradScaler(device.type, enabled=arithmetic.dtype == torch.float16)

    parts: Parts = {"network": model, "optimizer": optimizer, "scheduler": scheduler, "scaler": scaler}
    run = json.dumps(config.resolved(), sort_keys=True)
    state = State(run) if checkpoints is None else resume(checkpoints, parts, run)
    arithmetic = continued(state.arithmetic, arithmetic, device)
    arithmetic = replace(arithmetic, compiled=arithmetic.compiled and world.size == 1)  # it is recorded
    model.to(memory_format=arithmetic.memory_format)
    state.arithmetic = str(arithmetic)
    full = min(schedule.batch_size, len(training))
    fast = compiled(model, caches()) if arithmetic.compiled else None
    take = build_step(Step(parallel, optimizer, scaler, loss_of, arithmetic, device, fast, full), capture)
    for epoch in range(state.epoch, schedule.epochs + 1):
        if has_stalled(state.history, config.early_stopping):
            break
        state.epoch = epoch
        started = time.perf_counter() - state.seconds
        model.train()
        loss_sum = torch.tensor(own_share(state.loss_sums, world), dtype=torch.float32, device=device)
        rate = 0.0
        seen, seeds = told(config, encoder, vectors, epoch), generator_seeds(config.stream, epoch, steps, world.rank)
        batches = epoch_batches(
            dataset,
            training,
            batch_size=schedule.batch_size,
            crop=schedule.crop,
            seed=config.stream,
            epoch=epoch,
            device=device,
            cutter=cutter,
            intensity=schedule.intensity,
            rank=world.rank,
            world_size=world.size,
            first_step=state.step,
            memory_format=arithmetic.memory_format,
        )
        for step, batch in enumerate(batches, start=state.step + 1):
            seed_generators(int(seeds[step - 1]), device)
            loss_sum += take(batch, seen[batch.samples])
            rate = optimizer.param_groups[0]["lr"]
            scheduler.step()
            if checkpoints and step % CHECK_STEPS == 0 and step < steps and is_due(checkpoints, world, epoch, False):
                state.step, state.loss_sums = step, world.gather(float(loss_sum))
                state.seconds = time.perf_counter() - started
                save(checkpoints, world, state, parts)
        state.step, state.loss_sums, state.seconds = 0, [], 0.0
        train_loss = float(world.sum(loss_sum)) / len(training)
        if not math.isfinite(train_loss):
            raise DivergedError(
                f"training loss is {train_loss} in epoch {epoch} of {schedule.epochs} (block {config.block!r}, seed "
                f"{config.seed}, learning rate up to {schedule.lr_max}); expected a finite number: try a lower lr_max"
            )
        trained = time.perf_counter()

        val_f1 = None
        if epoch % schedule.validate_every == 0 or epoch == schedule.epochs:
            world.share(model.buffers())  # running averages, which each worker has of its own samples
            val_f1 = float(f1_score(evaluate(model, dataset, validation, vectors, device)).mean())
            if val_f1 > state.best_f1:
                state.best_f1, state.best_epoch = val_f1, epoch
                state.best_weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        state.history.append(
            Epoch(
                epoch=epoch,
                train_loss=train_loss,
                val_f1=val_f1,
                learning_rate=rate,
                images_per_second=len(training) / (trained - started),
                seconds=time.perf_counter() - started,
            )
        )
        on_epoch(state.history[-1])
        state.epoch = epoch + 1
        if checkpoints and is_due(checkpoints, world, epoch, True):
            save(checkpoints, world, state, parts)

    model.load_state_dict(state.best_weights)
    return Fitted(model, encoder, vectors, state.best_epoch, tuple(state.history), arithmetic, take.is_captured)


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed PyTorch's generators; `torch.manual_seed` does the same, but takes long where there are no GPUs."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(seed)


def own_share(sums: list[float], world: World) -> float:
    """This worker's entry of `sums`; if they are of another number of workers, the first worker gets the total."""
    if len(sums) == world.size:
        return sums[world.rank]
    return sum(sums) if world.rank == 0 else 0.0


def is_due(checkpoints: Checkpoints, world: World, epoch: int, epoch_ended: bool) -> bool:
    """Return True if the first worker says that a checkpoint is due; every worker must call it."""
    return world.agree(world.rank == 0 and checkpoints.is_due(epoch, epoch_ended))


def save(checkpoints: Checkpoints, world: World, state: State, parts: Parts) -> None:
    """Let the first worker save a checkpoint."""
    if world.rank == 0:
        checkpoints.save(state.position, pack(state, parts))
