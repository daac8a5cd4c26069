"""The arithmetic of a training: what is fastest is chosen, once on a machine, for all arms alike."""

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from memory_checkpoints import MemoryCheckpoints, PowerError
from metaseg.config import ConfigError, EngineConfig, NetworkConfig, RunConfig, ScheduleConfig
from metaseg.data.dataset import Dataset
from metaseg.device import Arithmetic, possible_arithmetic, usual_arithmetic
from metaseg.store.runs import Store
from metaseg.study.execution import execute
from metaseg.study.run_id import run_id
from metaseg.training import arithmetic
from metaseg.training.arithmetic import LEAST_SAMPLES, choose, named
from metaseg.training.checkpoint import CheckpointWarning
from metaseg.training.fit import build_network, fit

CPU = torch.device("cpu")
CONFIG = RunConfig(
    "sme", "true", 0, "0", NetworkConfig(width=2, depth=1), ScheduleConfig(epochs=1, batch_size=2, crop=16)
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which choices are kept."""
    monkeypatch.setenv("METASEG_CACHE", str(tmp_path))
    return tmp_path / "arithmetic"


def slow(monkeypatch: pytest.MonkeyPatch, *, where: Arithmetic, seconds: float) -> list[Arithmetic]:
    """Let steps take a time of their own, longer for one arithmetic; the list grows by each that is tried."""
    tried: list[Arithmetic] = []

    def trial(make: object, each: Arithmetic, *_: object) -> object:
        tried.append(each)
        return lambda: time.sleep(seconds if each == where else 0.002)

    monkeypatch.setattr(arithmetic, "_trial", trial)
    monkeypatch.setattr(arithmetic, "SECONDS", 0.03)
    return tried


def chosen(config: RunConfig = CONFIG, samples: int = LEAST_SAMPLES) -> Arithmetic:
    return choose(config, lambda: torch.nn.Identity(), (2, 1, 16, 16), 3, 1, CPU, samples)


def test_the_fastest_is_chosen_and_kept_for_the_machine(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    usual = usual_arithmetic(CPU)
    tried = slow(monkeypatch, where=usual, seconds=0.006)
    first = chosen()
    assert first != usual
    assert set(tried) == set(possible_arithmetic(CPU))
    (file,) = cache.glob("*.json")
    seconds = json.loads(file.read_text())["seconds_per_step"]
    assert seconds[str(usual)] == max(seconds.values())
    slow(monkeypatch, where=first, seconds=0.006)
    assert chosen() == first  # whatever is fastest now


def test_one_that_is_hardly_faster_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "_trial", lambda *_: lambda: None)
    names = possible_arithmetic(CPU)
    monkeypatch.setattr(arithmetic, "_measure", lambda trials: [[1.0] * 3, *[[0.98] * 3] * (len(names) - 1)])
    assert chosen() == usual_arithmetic(CPU)


def test_all_arms_of_a_study_have_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = slow(monkeypatch, where=usual_arithmetic(CPU), seconds=0.006)
    first, count = chosen(), len(tried)
    assert chosen(replace(CONFIG, block="se", metadata_mode="absent", seed=7)) == first
    assert len(tried) == count
    chosen(replace(CONFIG, network=NetworkConfig(width=3, depth=1)))
    assert len(tried) == 2 * count


def test_on_a_small_dataset_nothing_is_measured(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    tried = slow(monkeypatch, where=usual_arithmetic(CPU), seconds=0.006)
    assert chosen(samples=LEAST_SAMPLES - 1) == usual_arithmetic(CPU)
    assert not tried
    assert not cache.exists()


def test_where_nothing_can_be_kept_the_usual_one_is_taken(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    cache.write_text("a file in the way")
    slow(monkeypatch, where=usual_arithmetic(CPU), seconds=0.006)
    assert chosen() == usual_arithmetic(CPU)


def test_a_damaged_choice_is_measured_again(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    slow(monkeypatch, where=usual_arithmetic(CPU), seconds=0.006)
    chosen()
    (file,) = cache.glob("*.json")
    file.write_text('{"chosen": "half')
    again = chosen()
    assert again != usual_arithmetic(CPU)
    assert json.loads(file.read_text())["chosen"] == str(again)


def test_real_steps_are_measured(tiny_dataset: Dataset) -> None:
    config = replace(CONFIG, dataset=tiny_dataset.fingerprint)
    found = choose(config, lambda: build_network(config, 1, 1, 4), (2, 1, 16, 16), 4, 1, CPU, LEAST_SAMPLES)
    assert found in possible_arithmetic(CPU)


@pytest.mark.parametrize("each", possible_arithmetic(CPU), ids=str)
def test_every_arithmetic_trains_to_nearly_the_same(tiny_dataset: Dataset, each: Arithmetic) -> None:
    config = replace(CONFIG, dataset=tiny_dataset.fingerprint, schedule=replace(CONFIG.schedule, epochs=2))
    expected = fit(config, tiny_dataset, CPU, arithmetic=Arithmetic(torch.float32, False))
    found = fit(config, tiny_dataset, CPU, arithmetic=each)
    assert found.arithmetic == each
    np.testing.assert_allclose(
        [epoch.train_loss for epoch in found.history], [epoch.train_loss for epoch in expected.history], rtol=0.02
    )


def test_a_setting_overrides_the_choice_and_a_run_says_what_it_had(tiny_dataset: Dataset, tmp_path: Path) -> None:
    config, store = replace(CONFIG, dataset=tiny_dataset.fingerprint), Store.at(tmp_path / "store")
    execute(config, tiny_dataset, store, CPU, engine=EngineConfig(arithmetic="float32 channels-last"))
    assert store.open_run(run_id(config)).description()["hardware"]["arithmetic"] == "float32 channels-last"


def test_arithmetic_that_a_device_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert named("auto", CPU) is None
    monkeypatch.setattr("metaseg.device.half_precision", lambda device: None)
    with pytest.raises(ConfigError, match="'bfloat16 channels-last', which cpu here doesn't have; expected float32"):
        named("bfloat16 channels-last", CPU)


def test_an_arithmetic_that_fails_is_not_chosen_and_slow_networks_are_not_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual, *others = possible_arithmetic(CPU)

    def trial(make: object, each: Arithmetic, *_: object) -> object:
        if each != others[0]:
            raise RuntimeError("out of memory")
        return lambda: None

    monkeypatch.setattr(arithmetic, "_trial", trial)
    monkeypatch.setattr(arithmetic, "SECONDS", 0.0)
    assert chosen() == others[0]
    tried = slow(monkeypatch, where=usual, seconds=0.006)
    monkeypatch.setattr(arithmetic, "SLOW_SECONDS", 0.005)
    assert chosen(replace(CONFIG, network=NetworkConfig(width=3, depth=1))) == usual
    assert tried == [usual]


def test_a_training_goes_on_in_the_arithmetic_that_it_began_in(tiny_dataset: Dataset) -> None:
    config = replace(CONFIG, dataset=tiny_dataset.fingerprint, schedule=replace(CONFIG.schedule, epochs=4))
    began, other = Arithmetic(torch.float32, channels_last=False), Arithmetic(torch.float32, channels_last=True)
    whole, checkpoints = fit(config, tiny_dataset, CPU, arithmetic=began), MemoryCheckpoints(2, epochs_alone=True)
    with pytest.raises(PowerError):
        fit(config, tiny_dataset, CPU, checkpoints=checkpoints, arithmetic=began)
    with pytest.warns(CheckpointWarning, match="began in float32 channels-first and goes on in float32 channels-first"):
        resumed = fit(config, tiny_dataset, CPU, checkpoints=checkpoints, arithmetic=other)
    assert resumed.arithmetic == began
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name])


def test_one_that_was_slower_in_a_round_is_not_chosen_since_the_others_may_have_been_disturbed() -> None:
    assert arithmetic._fastest([[2.0, 2.0, 2.0], [1.0, 1.0, 1.0]]) == 1
    assert arithmetic._fastest([[2.0, 0.9, 2.0], [1.0, 1.0, 0.5]]) == 0
    assert arithmetic._fastest([[float("inf")], [1.0, 1.0, 1.0]]) == 1
    assert arithmetic._fastest([[float("inf")], [float("inf")]]) == 0
