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
        dataclasses.replace(config, init="shared"),
        dataclasses.replace(config, metadata_dropout=0.2),
        dataclasses.replace(config, metadata_dropout=0.3),
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


def test_ids_of_runs_that_share_nothing_are_those_of_versions_before_initial_weights_could_be_shared():
    run = RunConfig("sme", "true", 3, "a3f1", NetworkConfig(width=4, depth=2), ScheduleConfig(epochs=3))
    assert run_id(run) == "87b6ee13ce6cdc27"
