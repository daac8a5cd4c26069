"""Run ids: a function of the whole configuration, and of nothing else."""

import dataclasses
import math

import pytest

from metaseg.config import NetworkConfig, RunConfig, ScheduleConfig
from metaseg.study.run_id import run_id


@pytest.fixture
def config(tiny_dataset) -> RunConfig:
    network = NetworkConfig(width=4, depth=2)
    schedule = ScheduleConfig(epochs=3, cycles=1, lr_max=3e-3, batch_size=5, crop=16)
    return RunConfig("sme", "true", 0, tiny_dataset.fingerprint, network, schedule)


def test_run_ids_change_with_every_setting_and_with_nothing_else(config):
    variants = [
        config,
        dataclasses.replace(config, seed=1),
        dataclasses.replace(config, block="me"),
        dataclasses.replace(config, metadata_mode="zeros"),
        dataclasses.replace(config, dataset="other"),
        dataclasses.replace(config, fold="0"),
        dataclasses.replace(config, fold="1"),
        *(
            dataclasses.replace(config, **{part: dataclasses.replace(getattr(config, part), **{name: value})})
            for part, name, value in (
                ("network", "width", 5), ("network", "depth", 3), ("network", "reduction", 2),
                ("network", "positions", ("decoder",)), ("network", "hidden_layers", 2),
                ("network", "activation", "silu"), ("network", "embedding", 2), ("network", "modulate", "normalised"),
                ("schedule", "epochs", 4), ("schedule", "cycles", 2), ("schedule", "shape", "cosine"),
                ("schedule", "weight_decay", 1e-2),
                ("schedule", "lr_min", 1e-4), ("schedule", "lr_max", 1e-2), ("schedule", "batch_size", 6),
                ("schedule", "crop", 32), ("schedule", "validate_every", 2),
            )
        ),
    ]  # fmt: skip
    assert len({run_id(variant) for variant in variants}) == len(variants)
    assert run_id(dataclasses.replace(config)) == run_id(config)
    assert math.log2(16 ** len(run_id(config))) == 64
