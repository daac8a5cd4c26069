"""Networks are compiled where that saves clearly more time than it takes, and never in short trainings."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from metaseg.config import NetworkConfig, RunConfig, ScheduleConfig
from metaseg.data.dataset import Dataset
from metaseg.device import Arithmetic, usual_arithmetic
from metaseg.training import arithmetic
from metaseg.training.arithmetic import LEAST_SAMPLES, choose, named
from metaseg.training.compilation import LONG_SECONDS, Compilation, measure
from metaseg.training.fit import fit

CPU = torch.device("cpu")
CONFIG = RunConfig(
    "sme", "true", 0, "0", NetworkConfig(width=2, depth=1), ScheduleConfig(epochs=2, batch_size=5, crop=16)
)
STEP = 0.01
"""Seconds of a step, as far as is told here."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("METASEG_CACHE", str(tmp_path))
    return tmp_path


def chosen(monkeypatch: pytest.MonkeyPatch, found: Compilation, steps: int) -> tuple[Arithmetic, int]:
    """The choice for so many steps, and how often compiling was measured."""
    measured = []

    def measuring(*_: object) -> Compilation:
        measured.append(found)
        return found

    monkeypatch.setattr(arithmetic, "_trial", lambda *_: lambda: None)
    monkeypatch.setattr(arithmetic, "_measure", lambda trials: [[STEP] * 3 for _ in trials])
    monkeypatch.setattr(arithmetic, "measure", measuring)
    make = torch.nn.Identity
    both = [choose(CONFIG, make, (5, 1, 16, 16), 3, 1, CPU, LEAST_SAMPLES, steps) for _ in range(2)]
    assert both[0] == both[1]
    return both[0], len(measured)


LONG = int(LONG_SECONDS / STEP) + 1


@pytest.mark.parametrize(
    ("found", "steps", "expected", "measured"),
    [
        (Compilation(STEP, STEP / 2, 40.0), LONG, True, 1),
        (Compilation(STEP, STEP / 2, 400.0), LONG, False, 1),
        (Compilation(STEP, STEP * 1.2, 1.0), LONG, False, 1),
        (Compilation(STEP, float("inf"), 1.0), LONG, False, 1),
        (Compilation(STEP, STEP / 2, 0.0), LONG // 2, False, 0),
    ],
    ids=["pays", "takes longer than it saves", "slower", "fails", "short"],
)
def test_it_is_measured_once_and_chosen_where_it_pays(monkeypatch, found, steps, expected, measured):
    assert chosen(monkeypatch, found, steps) == (replace(usual_arithmetic(CPU), compiled=expected), measured)


def test_a_network_that_cant_be_compiled_is_never_faster():
    def failing() -> None:
        raise RuntimeError("no C++ compiler")

    assert not measure(lambda: None, failing).pays(10**9)


def test_full_batches_are_the_compiled_networks_and_weights_are_shared(
    tiny_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiler's own backend isn't tried: it takes long, and needs a C++ compiler."""
    sizes: list[int] = []

    def compiled(network: torch.nn.Module, caches: Path) -> torch.nn.Module:
        class Fast(torch.nn.Module):
            def forward(self, image: torch.Tensor, metadata: torch.Tensor) -> torch.Tensor:
                sizes.append(len(image))
                return network(image, metadata)

        return Fast()

    monkeypatch.setattr("metaseg.training.fit.compiled", compiled)
    config = replace(CONFIG, dataset=tiny_dataset.fingerprint)
    fast = named("float32 channels-first compiled", CPU)
    assert fast is not None
    found = fit(config, tiny_dataset, CPU, arithmetic=fast)
    samples = len(tiny_dataset.indices("train"))
    assert samples % 5
    assert sizes == [5] * (2 * (samples // 5))
    expected = fit(config, tiny_dataset, CPU, arithmetic=replace(fast, compiled=False))
    for name, weights in expected.model.state_dict().items():
        assert torch.equal(found.model.state_dict()[name], weights)


@pytest.mark.slow
def test_a_compiled_network_learns_as_the_network_does(tiny_dataset: Dataset) -> None:
    config = replace(CONFIG, dataset=tiny_dataset.fingerprint)
    losses = [
        [epoch.train_loss for epoch in fit(config, tiny_dataset, CPU, arithmetic=each).history]
        for each in (Arithmetic(torch.float32, False), Arithmetic(torch.float32, False, compiled=True))
    ]
    np.testing.assert_allclose(*losses, rtol=1e-4)
