"""Optimizer and learning rate: closed forms, what weight decay does, and the same steps after a resume."""

import dataclasses
import math
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from metaseg.config import ConfigError, NetworkConfig, RunConfig, ScheduleConfig, Shape
from metaseg.training.checkpoint import State, pack, unpack
from metaseg.training.fit import fit
from metaseg.training.schedule import build_optimizer, build_scheduler

CPU = torch.device("cpu")
SHAPES = get_args(Shape)


class Toy:
    """A linear network that learns from counted batches, with its optimizer and scheduler."""

    def __init__(self, schedule: ScheduleConfig, steps: int) -> None:
        torch.manual_seed(0)
        self.network = nn.Linear(3, 2)
        self.optimizer = build_optimizer(self.network, schedule)
        self.scheduler = build_scheduler(self.optimizer, schedule, steps)
        self.parts = {"network": self.network, "optimizer": self.optimizer, "scheduler": self.scheduler}

    def learn(self, first: int, end: int) -> list[float]:
        rates = []
        for step in range(first, end):
            batch = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
            self.optimizer.zero_grad()
            self.network(batch).square().sum().backward()
            rates.append(self.optimizer.param_groups[0]["lr"])
            self.optimizer.step()
            self.scheduler.step()
        return rates


def rates_of(shape: Shape, steps: int, **others) -> list[float]:
    return Toy(ScheduleConfig(shape=shape, **others), steps).learn(0, steps)


@pytest.mark.parametrize(("steps", "cycles"), [(40, 2), (30, 4), (100, 8)])
def test_a_cyclic_rate_is_the_closed_form_triangle(steps, cycles):
    phases = [(step * cycles / steps) % 1 for step in range(steps)]
    expected = [2e-4 + (8e-4 - 2e-4) * (1 - abs(2 * phase - 1)) for phase in phases]
    assert rates_of("cyclic", steps, cycles=cycles, lr_min=2e-4, lr_max=8e-4) == pytest.approx(expected, rel=1e-6)


def test_a_one_cycle_rate_rises_for_three_tenths_and_falls_for_the_rest():
    rates = rates_of("one-cycle", 200, lr_min=1e-3, lr_max=9e-3)
    assert [rates[step] for step in (0, 30, 60, 130)] == pytest.approx([1e-3, 5e-3, 9e-3, 5e-3])
    assert rates[20] == pytest.approx(1e-3 + 8e-3 * math.sin(math.pi / 6) ** 2)
    assert rates[:61] == sorted(rates[:61])
    assert rates[60:] == sorted(rates[60:], reverse=True)
    assert rates[-1] == pytest.approx(1e-3, abs=1e-5)


def test_a_cosine_rate_is_torchs_annealing():
    steps = 50
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=8e-4)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=2e-4)
    expected = []
    for _ in range(steps):
        expected += reference.get_last_lr()
        optimizer.step()
        reference.step()
    assert rates_of("cosine", steps, lr_min=2e-4, lr_max=8e-4) == pytest.approx(expected)


def test_a_constant_rate_is_the_highest():
    assert rates_of("constant", 7, lr_min=1e-4, lr_max=3e-3) == [3e-3] * 7


@settings(max_examples=40, deadline=None)
@given(shape=st.sampled_from(SHAPES), steps=st.integers(1, 30), ratio=st.floats(1e-3, 1))
def test_rates_stay_between_the_lowest_and_the_highest_however_few_steps_there_are(shape, steps, ratio):
    rates = rates_of(shape, steps, lr_min=ratio * 1e-2, lr_max=1e-2)
    assert all(ratio * 1e-2 * (1 - 1e-9) <= rate <= 1e-2 * (1 + 1e-9) for rate in rates)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("saved_after", [1, 7, 19])
def test_a_resumed_training_takes_the_same_steps(shape, saved_after):
    schedule = ScheduleConfig(shape=shape, cycles=2, lr_max=1e-2, weight_decay=0.1)
    whole = Toy(schedule, 20)
    rates = whole.learn(0, 20)

    interrupted = Toy(schedule, 20)
    interrupted.learn(0, saved_after)
    _, saved = unpack(pack(State(), interrupted.parts))
    resumed = Toy(schedule, 20)
    for name, part in resumed.parts.items():
        part.load_state_dict(saved[name])
    assert resumed.learn(saved_after, 20) == rates[saved_after:]
    for ours, theirs in zip(resumed.network.parameters(), whole.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_without_weight_decay_the_bits_are_adams():
    schedule = ScheduleConfig(cycles=2, lr_max=1e-2)
    toy, adam = Toy(schedule, 30), Toy(schedule, 30)
    adam.optimizer = torch.optim.Adam(adam.network.parameters(), fused=True)
    adam.scheduler = build_scheduler(adam.optimizer, schedule, 30)
    toy.learn(0, 30)
    adam.learn(0, 30)
    for ours, theirs in zip(toy.network.parameters(), adam.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_weight_decay_is_decoupled_from_the_gradient():
    """A step of it is one of Adam from parameters that shrank by rate x decay before."""
    decayed = Toy(ScheduleConfig(shape="constant", lr_max=1e-2, weight_decay=0.5), 1)
    shrunk = Toy(ScheduleConfig(shape="constant", lr_max=1e-2), 1)
    for toy in (decayed, shrunk):
        for parameter in toy.network.parameters():
            parameter.grad = torch.full_like(parameter, 3.0)
    with torch.no_grad():
        for parameter in shrunk.network.parameters():
            parameter.mul_(1 - 1e-2 * 0.5)
    decayed.optimizer.step()
    shrunk.optimizer.step()
    for ours, theirs in zip(decayed.network.parameters(), shrunk.network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_run_follows_its_schedule_from_batch_to_batch(tiny_dataset):
    schedule = ScheduleConfig(epochs=2, shape="cosine", lr_min=1e-4, lr_max=1e-2, batch_size=5, crop=16)
    config = RunConfig("se", "absent", 0, tiny_dataset.fingerprint, NetworkConfig(width=2, depth=1), schedule)
    cosine, decayed = (
        fit(dataclasses.replace(config, schedule=dataclasses.replace(schedule, weight_decay=decay)), tiny_dataset, CPU)
        for decay in (0.0, 10.0)
    )
    assert math.ceil(len(tiny_dataset.indices("train")) / 5) == 4
    expected = [1e-4 + (1e-2 - 1e-4) * (1 + math.cos(math.pi * last / 8)) / 2 for last in (3, 7)]
    assert [epoch.learning_rate for epoch in cosine.history] == pytest.approx(expected)
    norms = [sum(float(p.detach().square().sum()) for p in fitted.model.parameters()) for fitted in (cosine, decayed)]
    assert norms[1] < 0.8 * norms[0]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"shape": "linear"}, "shape is 'linear'; expected one of cyclic, one-cycle, cosine, constant"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1; expected at least 0"),
        ({"weight_decay": math.nan}, "weight_decay is nan; expected at least 0"),
    ],
)
def test_a_setting_that_cant_be_is_refused(setting, message):
    with pytest.raises(ConfigError, match=message):
        ScheduleConfig(**setting)
