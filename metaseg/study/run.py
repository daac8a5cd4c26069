"""A run, the unit of work: its id, and its execution from data to the store. Plain Python; the engine decides where."""

import hashlib
import io
import json
import platform
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from safetensors.torch import save
from torch import Tensor

import metaseg
from metaseg.config import EngineConfig, RunConfig
from metaseg.data.dataset import Dataset
from metaseg.data.metadata import CategoricalCode
from metaseg.device import one_thread
from metaseg.schema import AS_TRAINED, CONFIG, COUNTS, HISTORY, IMAGES, META, WEIGHTS, ZEROS
from metaseg.store.checkpoints import StoredCheckpoints
from metaseg.store.runs import Store, to_json
from metaseg.training import TRAINING_VERSION
from metaseg.training.evaluate import evaluate
from metaseg.training.fit import Fitted, fit
from metaseg.training.history import Epoch
from metaseg.training.world import World


def run_id(config: RunConfig) -> str:
    """16 hex digits: a hash of the whole resolved configuration and the training code's declared version.

    The configuration holds the dataset's fingerprint. Where a run is computed, by how many workers, is no part of it.
    """
    canonical = json.dumps({"config": asdict(config), "training_version": TRAINING_VERSION}, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def execute(
    config: RunConfig,
    dataset: Dataset,
    store: Store,
    device: torch.device,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    engine: EngineConfig | None = None,
) -> None:
    """Train the run, evaluate it on the test images and commit it to the store.

    Training goes on from the run's newest checkpoint in the store, and keeps others as `engine` says.

    In a process group every worker calls this; the first one writes.

    Raises:
        Exception: whatever `metaseg.training.fit.fit` raises; the store then doesn't have the run.
    """
    checkpoints = StoredCheckpoints(store, run_id(config), engine or EngineConfig())
    with one_thread(device):
        fitted = fit(config, dataset, device, on_epoch, checkpoints)
        images = evaluate_test_images(config, fitted, dataset, device)
    if World.current().rank == 0:
        weights = {name: tensor.cpu().contiguous() for name, tensor in fitted.model.state_dict().items()}
        store.commit_run(
            run_id(config),
            {
                CONFIG: to_json(describe(config, dataset, fitted, device)),
                HISTORY: to_parquet(pd.DataFrame([asdict(epoch) for epoch in fitted.history])),
                IMAGES: to_parquet(images),
                WEIGHTS: save(weights),
            },
        )


def work(config: RunConfig) -> int:
    """How long the run takes compared with others on its dataset: multiplications of its training, up to a factor."""
    network, schedule = config.network, config.schedule
    return schedule.epochs * schedule.crop**2 * network.width**2 * (network.depth + 1)


def evaluate_test_images(config: RunConfig, fitted: Fitted, dataset: Dataset, device: torch.device) -> pd.DataFrame:
    """A row per test image, class and evaluation: integer counts in pixels, and what is known of the image."""
    classes = len(dataset.classes)
    tables = []
    for name, samples, vectors in evaluations(config, fitted, dataset):
        counts = evaluate(fitted.model, dataset, samples, vectors.to(device), device)
        rows_of = samples.repeat(classes)
        rows = dataset.table.iloc[rows_of].reset_index(drop=True)
        table = pd.DataFrame(
            {"image": dataset.names.iloc[rows_of].array, "class": list(dataset.classes) * len(samples)}
        )
        table["evaluation"] = name
        table[["group", "subgroup"]] = rows[["group", "subgroup"]]
        table[COUNTS] = counts.reshape(-1, 4)
        for column in dataset.metadata:
            table[META + column.name] = dataset.values[column.name].iloc[rows_of].array
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


SWAPPED_UP_TO = 16
"""Values of a categorical column up to which networks are evaluated with each in place of the true one."""

SWEPT_VALUES = 7
"""Values of a continuous column that networks are evaluated with in place of the true one."""


def evaluations(
    config: RunConfig, fitted: Fitted, dataset: Dataset
) -> Iterator[tuple[str, npt.NDArray[np.int64], Tensor]]:
    """How the network is evaluated: a name, `(n,)` test samples, and the metadata `(all samples, M)` that it is told.

    - `as-trained`: as in training.
    - Where the network was told true metadata: `zeros`; and `COLUMN=VALUE`, told that value instead of the true one:
      for each value of a categorical column, the samples that have another; for quantiles of a continuous column's
      values in training, all samples.
    """
    samples = dataset.indices("test", config.subset)
    yield AS_TRAINED, samples, fitted.vectors
    if config.metadata_mode not in ("true", "heads"):
        return
    if config.metadata_mode == "true":
        yield ZEROS, samples, torch.zeros_like(fitted.vectors)
    for code in fitted.encoder.codes:
        told: Sequence[str | float]
        if isinstance(code, CategoricalCode):
            told = code.vocabulary if len(code.vocabulary) <= SWAPPED_UP_TO else ()
        else:
            training = dataset.values[code.column].iloc[dataset.indices("train")].dropna()
            quantiles = np.quantile(training, np.linspace(0, 1, SWEPT_VALUES))
            told = sorted({float(f"{value:.3g}") for value in quantiles})
        true = dataset.values[code.column].iloc[samples]
        for value in told:
            others = samples[(true != value).to_numpy()]
            if len(others):
                vectors = fitted.encoder.encode(dataset.values.assign(**{code.column: value}))
                name = f"{code.column}={value if isinstance(value, str) else format(value, 'g')}"
                yield name, others, torch.from_numpy(vectors)


def to_parquet(table: pd.DataFrame) -> bytes:
    """The table as a Parquet file; equal tables give equal bytes."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()


def describe(config: RunConfig, dataset: Dataset, fitted: Fitted, device: torch.device) -> dict[str, Any]:
    """What `config.json` says: the resolved configuration, how to use the weights, and where they were made."""
    return {
        "run_id": run_id(config),
        "arm": {"block": config.block, "metadata_mode": config.metadata_mode},
        "seed": config.seed,
        "network": asdict(config.network),
        "schedule": asdict(config.schedule),
        "subset": asdict(config.subset) if config.subset else None,
        "dataset": {
            "name": dataset.name,
            "about": dataset.about,
            "fingerprint": dataset.fingerprint,
            "classes": dataset.classes,
            "channels": dataset.channels,
            "metadata": fitted.encoder.to_json(),
            "subgroup_column": dataset.subgroup_column,
        },
        "parameters": sum(parameter.numel() for parameter in fitted.model.parameters()),
        "best_epoch": fitted.best_epoch,
        "seconds": round(sum(epoch.seconds for epoch in fitted.history), 1),
        "training_version": TRAINING_VERSION,
        "versions": {"metaseg": metaseg.__version__, "python": platform.python_version(), "torch": torch.__version__},
        "git_commit": git_commit(),
        "hardware": {
            "host": platform.node(),
            "machine": platform.machine(),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "workers": World.current().size,
        },
    }


@cache
def git_commit() -> str | None:
    """The commit that this package was run from, with `+changes` where it wasn't clean; None outside a checkout."""
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
