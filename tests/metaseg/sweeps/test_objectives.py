"""Objectives and constraints of sweeps: what a network costs, and what wasn't reported."""

import math
from dataclasses import replace

import pytest
import torch

from metaseg.config import ConfigError, NetworkConfig, RunConfig, ScheduleConfig
from metaseg.data.dataset import Dataset
from metaseg.sweeps.objectives import MEASURES, OBJECTIVES, Constraint, find_objective, measure, objective_values
from metaseg.training.fit import build_network

CPU = torch.device("cpu")
REPORTED = {"val_f1": 0.8, "parameters": 1000.0, "flops": None}


def config(dataset: Dataset, **network: int) -> RunConfig:
    small = NetworkConfig(**{"width": 4, "depth": 2, **network})
    return RunConfig("sme", "true", 0, dataset.fingerprint, small, ScheduleConfig(crop=32))


def test_an_objective_that_wasnt_reported_is_an_error_that_says_what_was():
    assert objective_values(["parameters", "val_f1"], REPORTED, "trial 3") == [1000.0, 0.8]
    for name in ("flops", "seconds_an_image"):
        with pytest.raises(ConfigError, match=f"'{name}' of trial 3 wasn't reported; .* ones: val_f1, parameters"):
            objective_values(["val_f1", name], REPORTED, "trial 3")
    with pytest.raises(ConfigError, match=r"'val_f1' of trial 3 wasn't reported; .* the reported ones: nothing"):
        objective_values(["val_f1"], {}, "trial 3")
    with pytest.raises(ConfigError, match="'val_f1' of trial 3 is nan; expected a finite number"):
        objective_values(["val_f1"], {"val_f1": math.nan}, "trial 3")


def test_an_unknown_objective_is_an_error_that_lists_the_known_ones():
    assert find_objective("val_f1").direction == "maximize"
    assert {objective.direction for name, objective in OBJECTIVES.items() if name in MEASURES} == {"minimize"}
    with pytest.raises(ConfigError, match="unknown objective 'f1'; known: val_f1, parameters, flops, seconds_an_image"):
        find_objective("f1")


@pytest.mark.parametrize(
    ("text", "quantity", "limit"),
    [
        ("parameters<=500000", "parameters", 5e5),
        ("flops <= 1e9", "flops", 1e9),
        ("seconds_an_image<=0.05", "seconds_an_image", 0.05),
    ],
)
def test_constraints_are_read(text: str, quantity: str, limit: float):
    constraint = Constraint.parse(text)
    assert constraint == Constraint(quantity, limit)
    assert Constraint.parse(str(constraint)) == constraint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("parameters", "expected a number after <="),
        ("parameters<=", "'parameters<='; expected a number after <="),
        ("parameters<=many", "expected a number after <="),
        ("parameters<5", "expected NAME<=NUMBER for one of parameters, flops, seconds_an_image"),
        ("parameters>=5", "expected NAME<=NUMBER"),
        ("val_f1<=0.5", "'val_f1<=0.5'; expected NAME<=NUMBER for one of parameters"),
        ("flops<=0", "expected a limit above 0"),
        ("flops<=nan", "expected a limit above 0"),
        ("flops<=inf", "expected a limit above 0"),
        ("", "expected NAME<=NUMBER"),
    ],
)
def test_a_constraint_that_cant_be_is_refused(text: str, message: str):
    with pytest.raises(ConfigError, match=message):
        Constraint.parse(text)


def test_a_violation_is_the_share_of_the_limit_that_a_trial_is_above_it():
    assert Constraint("parameters", 1000).violation(REPORTED) == 0, "at the limit is within it"
    assert Constraint("parameters", 500).violation(REPORTED) == pytest.approx(1)
    assert Constraint("parameters", 2000).violation(REPORTED) == pytest.approx(-0.5)
    with pytest.raises(ConfigError, match=r"constrained quantity 'flops' wasn't reported; .* val_f1, parameters"):
        Constraint("flops", 1e9).violation(REPORTED)


def test_parameters_are_those_of_the_network_that_is_trained(tiny_dataset: Dataset):
    run = config(tiny_dataset)
    network = build_network(run, tiny_dataset.channels, len(tiny_dataset.classes), 4)  # three lines and a dose
    assert measure("parameters", run, tiny_dataset, CPU) == sum(one.numel() for one in network.parameters())
    assert measure("parameters", config(tiny_dataset, width=8), tiny_dataset, CPU) > 3 * sum(
        one.numel() for one in network.parameters()
    )


def test_flops_are_two_for_each_multiplication(tiny_dataset: Dataset):
    """Counted by hand: U-Net of depth 1, width 4, without blocks, on a grey image of 32 x 32 pixels."""
    run = replace(config(tiny_dataset, depth=1), block="none", metadata_mode="absent")
    channels = tiny_dataset.channels
    full, half = 32 * 32, 16 * 16
    encoder = full * 9 * (channels * 4 + 4 * 4)
    bottleneck = half * 9 * (4 * 8 + 8 * 8)
    upsample = half * 8 * 4 * 4
    decoder = full * 9 * (8 * 4 + 4 * 4)
    head = full * 4
    assert measure("flops", run, tiny_dataset, CPU) == 2 * (encoder + bottleneck + upsample + decoder + head)


def test_flops_grow_with_the_crops_area(tiny_dataset: Dataset):
    run = replace(config(tiny_dataset), block="none", metadata_mode="absent")
    larger = replace(run, schedule=ScheduleConfig(crop=64))
    assert measure("flops", larger, tiny_dataset, CPU) == 4 * measure("flops", run, tiny_dataset, CPU)


def test_time_is_measured_with_one_thread_and_nothing_is_left_changed(
    tiny_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
):
    threads = torch.get_num_threads()
    seen: list[int] = []
    monkeypatch.setattr(
        "metaseg.networks.unet.UNet.forward",
        lambda self, image, metadata: seen.append(torch.get_num_threads()) or image,
    )
    before = torch.random.get_rng_state()
    assert measure("seconds_an_image", config(tiny_dataset), tiny_dataset, CPU) > 0
    assert set(seen) == {1}
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_larger_network_takes_longer(tiny_dataset: Dataset):
    small = measure("seconds_an_image", config(tiny_dataset), tiny_dataset, CPU)
    large = measure("seconds_an_image", config(tiny_dataset, width=64, depth=3), tiny_dataset, CPU)
    assert large > 2 * small


def test_metadata_and_heads_are_part_of_what_is_measured(tiny_dataset: Dataset):
    run = config(tiny_dataset)
    for name in MEASURES:
        assert measure(name, replace(run, block="se", metadata_mode="heads"), tiny_dataset, CPU) > 0
    assert measure("parameters", run, tiny_dataset, CPU) > measure(
        "parameters", replace(run, block="se", metadata_mode="absent"), tiny_dataset, CPU
    )


def test_an_unknown_quantity_is_an_error_that_lists_the_known_ones(tiny_dataset: Dataset):
    with pytest.raises(ConfigError, match="unknown quantity 'val_f1'; known: parameters, flops, seconds_an_image"):
        measure("val_f1", config(tiny_dataset), tiny_dataset, CPU)
