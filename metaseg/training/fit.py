"""Fit one run in the current process group, of any size: a configuration and data in, best weights and history out."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import CyclicLR, LRScheduler

from metaseg.blocks import block_class
from metaseg.config import ConfigError, RunConfig, ScheduleConfig
from metaseg.data.batches import epoch_batches
from metaseg.data.dataset import Dataset
from metaseg.losses import segmentation_loss
from metaseg.metadata import MetadataEncoder, apply_mode
from metaseg.metrics import f1_score
from metaseg.training.evaluate import evaluate
from metaseg.training.world import World, autocast, half_precision
from metaseg.unet import UNet


class DivergedError(RuntimeError):
    """The training loss stopped being a finite number."""


@dataclass(frozen=True)
class Epoch:
    """A row of a run's history."""

    epoch: int
    """Epochs finished, from 1."""
    train_loss: float
    """Mean loss of the epoch's crops, each as it was met."""
    val_f1: float | None
    """Mean F1 over validation images and classes, at full resolution; None in epochs that weren't validated."""
    learning_rate: float
    """Of the epoch's last step."""
    images_per_second: float
    """Training crops a second, validation not counted."""
    seconds: float
    """Duration of the epoch, validation counted."""


@dataclass(frozen=True)
class Fitted:
    """What training leaves: the network with the weights of its best validation, and what is needed to use it."""

    model: UNet
    encoder: MetadataEncoder
    vectors: Tensor
    """`(samples, M)` metadata of all samples of the dataset, as the run sees it."""
    best_epoch: int
    history: tuple[Epoch, ...]


def build_network(config: RunConfig, channels: int, classes: int, metadata_size: int) -> UNet:
    """The run's network with freshly initialised weights, a function of the configuration (its seed included) alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return UNet(channels, 1 if classes == 1 else 1 + classes, config.block, metadata_size, **asdict(config.network))


def triangular_schedule(optimizer: torch.optim.Optimizer, schedule: ScheduleConfig, steps: int) -> LRScheduler:
    """Linear from `lr_min` to `lr_max` and back, `cycles` times in `steps` steps (Smith 2017; paper, section 2.2)."""
    half_cycle = steps / (2 * schedule.cycles)
    return CyclicLR(optimizer, schedule.lr_min, schedule.lr_max, step_size_up=half_cycle, cycle_momentum=False)  # type: ignore[arg-type]


def fit(
    config: RunConfig, dataset: Dataset, device: torch.device, on_epoch: Callable[[Epoch], None] = lambda epoch: None
) -> Fitted:
    """Train the run's network and return it with the weights that validated best.

    Args:
        config: the resolved run; `config.dataset` must be the dataset's fingerprint.
        dataset: the decoded samples, the same on every worker of the current process group.
        device: this worker's.
        on_epoch: called after each epoch, on every worker.

    Raises:
        ConfigError: another dataset, an unknown block, or a block that needs metadata the dataset doesn't have.
        UnknownMetadataError: a sample's metadata has a value that no training sample has.
        DivergedError: the loss became NaN or infinite.
    """
    if config.dataset != dataset.fingerprint:
        raise ConfigError(
            f"dataset {dataset.path} has fingerprint {dataset.fingerprint}; the run expects {config.dataset}"
        )
    if block_class(config.block).needs_metadata and not dataset.metadata:
        raise ConfigError(f"block {config.block!r} needs metadata, but dataset {dataset.name!r} has no metadata column")

    world, schedule = World.current(), config.schedule
    training, validation = dataset.indices("train"), dataset.indices("val")
    encoder = MetadataEncoder.fit(dataset.metadata, dataset.table.iloc[training])
    seen = apply_mode(
        encoder.encode(dataset.table), config.metadata_mode, dataset.table["split"].to_numpy(object), config.seed
    )
    vectors = torch.from_numpy(seen).to(device)

    torch.backends.cudnn.deterministic = True
    model = build_network(config, dataset.channels, len(dataset.classes), vectors.shape[1]).to(device)
    parallel: nn.Module = DistributedDataParallel(model) if world.size > 1 else model
    optimizer = torch.optim.Adam(model.parameters(), lr=schedule.lr_min)
    steps = math.ceil(len(training) / schedule.batch_size)
    scheduler = triangular_schedule(optimizer, schedule, steps * schedule.epochs)
    scaler = torch.amp.GradScaler(device.type, enabled=half_precision(device) == torch.float16)

    history: list[Epoch] = []
    best_f1, best_epoch, best_weights = -1.0, 0, model.state_dict()
    for epoch in range(1, schedule.epochs + 1):
        started = time.perf_counter()
        model.train()
        loss_sum = torch.zeros((), device=device)
        rate = 0.0
        for batch in epoch_batches(
            dataset,
            training,
            batch_size=schedule.batch_size,
            crop=schedule.crop,
            seed=config.seed,
            epoch=epoch,
            device=device,
            rank=world.rank,
            world_size=world.size,
        ):
            with autocast(device):
                logits = parallel(batch.image, vectors[batch.samples])
            losses = segmentation_loss(logits, batch.target)
            optimizer.zero_grad(set_to_none=True)
            scaler.scale((losses * batch.weight).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
            rate = optimizer.param_groups[0]["lr"]
            scheduler.step()
            loss_sum += (losses.detach() * (batch.weight > 0)).sum()
        train_loss = float(world.sum(loss_sum)) / len(training)
        if not math.isfinite(train_loss):
            raise DivergedError(
                f"training loss is {train_loss} in epoch {epoch} of {schedule.epochs} (block {config.block!r}, seed "
                f"{config.seed}, learning rate up to {schedule.lr_max}); expected a finite number: try a lower lr_max"
            )
        trained = time.perf_counter()

        val_f1 = None
        if epoch % schedule.validate_every == 0 or epoch == schedule.epochs:
            val_f1 = float(f1_score(evaluate(model, dataset, validation, vectors, device)).mean())
            if val_f1 > best_f1:
                best_f1, best_epoch = val_f1, epoch
                best_weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        history.append(
            Epoch(
                epoch=epoch,
                train_loss=train_loss,
                val_f1=val_f1,
                learning_rate=rate,
                images_per_second=len(training) / (trained - started),
                seconds=time.perf_counter() - started,
            )
        )
        on_epoch(history[-1])

    model.load_state_dict(best_weights)
    return Fitted(model, encoder, vectors, best_epoch, tuple(history))
