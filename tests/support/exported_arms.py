"""Tiny trained runs of several arms, to be exported."""

from pathlib import Path

import torch

from metaseg.config import MetadataMode, NetworkConfig, RunConfig, ScheduleConfig
from metaseg.data.dataset import Dataset
from metaseg.store.runs import Store
from metaseg.study.execution import execute
from metaseg.study.run_id import run_id

ARMS: dict[str, tuple[str, MetadataMode]] = {
    "baseline": ("se", "absent"),
    "me": ("me", "true"),
    "sme": ("sme", "true"),
    "film": ("film", "true"),
    "heads": ("se", "heads"),
    "sme-dummy": ("sme", "zeros"),
}
"""Block and metadata mode of each arm."""


def train(arm: str, dataset: Dataset, store: Store) -> Path:
    """Folder of a finished run of an arm."""
    block, mode = ARMS[arm]
    network, schedule = NetworkConfig(width=4, depth=1), ScheduleConfig(epochs=1, batch_size=8, crop=16)
    config = RunConfig(block, mode, 0, dataset.fingerprint, network, schedule)
    execute(config, dataset, store, torch.device("cpu"))
    return Path(store.run_folder(run_id(config)))
