"""Execution of a run, from data to the store. Plain Python: the engine decides where it happens."""

import io
import platform
import subprocess
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import load, save

import metaseg
from metaseg.config import EngineConfig, RunConfig
from metaseg.data.dataset import Dataset
from metaseg.device import one_thread
from metaseg.networks.block_name import own_sources
from metaseg.networks.build import package_versions
from metaseg.schema import CONFIG, HISTORY, IMAGES, WEIGHTS
from metaseg.store.checkpoints import StoredCheckpoints
from metaseg.store.initial_weights import read_weights
from metaseg.store.runs import Store, to_json
from metaseg.study.evaluations import evaluate_test_images
from metaseg.study.run_id import run_id
from metaseg.training import TRAINING_VERSION
from metaseg.training.arithmetic import named
from metaseg.training.fit import Fitted, fit
from metaseg.training.history import Epoch
from metaseg.training.step import on_gpu
from metaseg.training.world import World


def execute(
    config: RunConfig,
    dataset: Dataset,
    store: Store,
    device: torch.device,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    engine: EngineConfig | None = None,
) -> None:
    """Train the run, evaluate it on the test images and commit it to the store.

    Training resumes from the run's newest checkpoint in the store, and saves further ones as `engine` says.

    Every worker of a process group must call this; the first one writes.

    Raises:
        Exception: whatever `metaseg.training.fit.fit` raises; the store then doesn't have the run.
    """
    dataset = dataset.of_fold(config.fold)
    checkpoints = StoredCheckpoints(store, run_id(config), engine or EngineConfig())
    with one_thread(device):
        chosen = named(engine.arithmetic, device) if engine else None
        capture = None if engine and not engine.cuda_graphs else on_gpu
        fitted = fit(config, dataset, device, on_epoch, checkpoints, initial_weights(config, store), chosen, capture)
        images = evaluate_test_images(config, fitted, dataset, device)
    if World.current().rank == 0:
        weights = {name: tensor.cpu().clone().contiguous() for name, tensor in fitted.model.state_dict().items()}
        store.commit_run(
            run_id(config),
            {
                CONFIG: to_json(describe(config, dataset, fitted, device)),
                HISTORY: to_parquet(pd.DataFrame([asdict(epoch) for epoch in fitted.history])),
                IMAGES: to_parquet(images),
                WEIGHTS: save(weights),
            },
        )


def initial_weights(config: RunConfig, store: Store) -> dict[str, torch.Tensor] | None:
    """Weights that a run starts from, if its configuration names some.

    Raises:
        DamagedRunError: the store's file isn't what was written.
    """
    if config.architecture is None or config.architecture.weights is None:
        return None
    return load(read_weights(store, config.architecture.weights))


def work(config: RunConfig) -> int:
    """The run's cost relative to others on its dataset: proportional to the multiplications of its training."""
    network, schedule = config.network, config.schedule
    return schedule.epochs * schedule.crop**2 * network.width**2 * (network.depth + 1)


def to_parquet(table: pd.DataFrame) -> bytes:
    """Encode a table as a Parquet file; equal tables give equal bytes."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()


def describe(config: RunConfig, dataset: Dataset, fitted: Fitted, device: torch.device) -> dict[str, Any]:
    """Content of `config.json`: the resolved configuration, how to use the weights, and where they were trained."""
    return {
        "run_id": run_id(config),
        "arm": {"block": config.block, "metadata_mode": config.metadata_mode},
        **_own_blocks(config),
        "seed": config.seed,
        **config.later,
        "network": asdict(config.network),
        "schedule": asdict(config.schedule),
        "subset": asdict(config.subset) if config.subset else None,
        "dataset": {
            "name": dataset.name,
            "about": dataset.about,
            "fingerprint": dataset.fingerprint,
            "classes": dataset.classes,
            "channels": dataset.channels,
            **({"reading": reading} if (reading := dataset.reading.to_json()) else {}),
            "metadata": fitted.encoder.to_json(),
            "subgroup_column": dataset.subgroup_column,
        },
        "parameters": sum(parameter.numel() for parameter in fitted.model.parameters()),
        "best_epoch": fitted.best_epoch,
        "seconds": round(sum(epoch.seconds for epoch in fitted.history), 1),
        "training_version": TRAINING_VERSION,
        "versions": {
            "metaseg": metaseg.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            **package_versions(config.architecture),
        },
        "git_commit": git_commit(),
        "hardware": {
            "host": platform.node(),
            "machine": platform.machine(),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "workers": World.current().size,
            "arithmetic": str(fitted.arithmetic),
            "cuda_graph": fitted.captured,
        },
    }


def _own_blocks(config: RunConfig) -> dict[str, list[dict[str, str]]]:
    """Where the run's block and network are defined, if metaseg doesn't define them."""
    sources = own_sources(config.names)
    described = [
        {"class": source.block.__qualname__, "file": source.file, "source": source.digest} for source in sources
    ]
    return {"own_blocks": described} if described else {}


@cache
def git_commit() -> str | None:
    """The git commit that this package runs from, with `+changes` if it isn't clean; None outside a checkout."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+changes", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return described.stdout.strip() or None
