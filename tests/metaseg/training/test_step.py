"""Training steps that are captured once and replayed: the same training as steps that are launched one by one."""

import dataclasses
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from metaseg.config import EngineConfig, NetworkConfig, RunConfig, ScheduleConfig
from metaseg.device import Arithmetic
from metaseg.networks.unet import UNet
from metaseg.store.checkpoints import StoredCheckpoints
from metaseg.store.runs import Store
from metaseg.study.run_id import run_id
from metaseg.training.fit import fit
from metaseg.training.history import Epoch
from metaseg.training.step import WARM_UP_STEPS, CaptureWarning, Step, build_step, on_gpu

CPU = torch.device("cpu")
FULL_PRECISION = Arithmetic(torch.float32, channels_last=False)
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


class Recorder:
    """Captures as a GPU does, as far as Python can see: calls the step, then replays it into the same tensor."""

    def __init__(self) -> None:
        self.captures = self.replays = 0

    def __call__(self, step: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        self.captures += 1
        for _ in range(WARM_UP_STEPS):
            step()
        loss = step()

        def replay() -> None:
            self.replays += 1
            loss.copy_(step())

        return replay, loss


@pytest.fixture
def config(tiny_dataset) -> RunConfig:
    # 12 samples in batches of 5, 5 and 2; learning rates are powers of two, which are equal in single precision.
    schedule = ScheduleConfig(epochs=3, shape="constant", lr_max=2.0**-8, batch_size=5, crop=16)
    return RunConfig("sme", "true", 0, tiny_dataset.fingerprint, NetworkConfig(width=4, depth=1), schedule)


def trained(config: RunConfig, dataset, capture, **more) -> tuple[list[float], dict[str, Tensor], bool]:
    fitted = fit(config, dataset, CPU, arithmetic=FULL_PRECISION, capture=capture, **more)
    return [epoch.train_loss for epoch in fitted.history], fitted.model.state_dict(), fitted.captured


def test_replayed_steps_train_bit_for_bit_like_launched_ones(tiny_dataset, config):
    recorder = Recorder()
    expected, found = trained(config, tiny_dataset, None), trained(config, tiny_dataset, recorder)
    samples, batch = len(tiny_dataset.indices("train")), config.schedule.batch_size
    assert samples % batch, "an epoch's last batch must be a smaller one"
    assert recorder.captures == 1
    assert recorder.replays == 3 * (samples // batch)
    assert found[0] == expected[0]
    assert all(torch.equal(found[1][name], weights) for name, weights in expected[1].items())
    assert (expected[2], found[2]) == (False, True)


def test_each_replay_has_the_learning_rate_of_its_step(tiny_dataset, config):
    cyclic = dataclasses.replace(config.schedule, shape="cyclic", cycles=1, lr_min=1e-4, lr_max=1e-2)
    config = dataclasses.replace(config, schedule=cyclic)
    expected, found = trained(config, tiny_dataset, None)[0], trained(config, tiny_dataset, Recorder())[0]
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_training_goes_on_from_a_checkpoint_of_either_kind(tiny_dataset, config, tmp_path):
    class StoppedError(Exception):
        pass

    def stop(epoch: Epoch) -> None:
        if epoch.epoch == 2:
            raise StoppedError

    expected = trained(config, tiny_dataset, None)
    for number, (before, after) in enumerate([(None, Recorder()), (Recorder(), None), (Recorder(), Recorder())]):
        store = Store.at(tmp_path / str(number))
        checkpoints = StoredCheckpoints(store, run_id(config), EngineConfig(checkpoint_epochs=1))
        with pytest.raises(StoppedError):
            trained(config, tiny_dataset, before, on_epoch=stop, checkpoints=checkpoints)
        found = trained(config, tiny_dataset, after, checkpoints=checkpoints)
        assert found[0] == expected[0]
        assert all(torch.equal(found[1][name], weights) for name, weights in expected[1].items())


def test_a_step_that_cant_be_captured_is_launched_and_has_changed_nothing(tiny_dataset, config):
    def failing(step: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        step()
        raise RuntimeError("operation not permitted when stream is capturing")

    expected = trained(config, tiny_dataset, None)
    with pytest.warns(CaptureWarning, match="not permitted"):
        found = trained(config, tiny_dataset, failing)
    assert found[0] == expected[0]
    assert not found[2]


def steps() -> Iterator[tuple[str, nn.Module, torch.dtype]]:
    yield "dropout", nn.Sequential(nn.Conv2d(1, 1, 1), nn.Dropout(0.5)), torch.float32
    yield "float16", UNet(1, 1, "none", network=NetworkConfig(width=2, depth=1)), torch.float16


@pytest.mark.parametrize(("network", "dtype"), [case[1:] for case in steps()], ids=[case[0] for case in steps()])
def test_what_replays_would_train_otherwise_is_launched(network, dtype):
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    scaler = torch.amp.GradScaler("cpu", enabled=dtype == torch.float16)
    step = Step(
        network, optimizer, scaler, lambda logits, target: logits.mean(), Arithmetic(dtype, False), CPU, samples=4
    )
    assert build_step(step, Recorder()) is step


def test_only_gpus_capture_by_default(tiny_dataset, config):
    assert not trained(config, tiny_dataset, on_gpu)[2]


@CUDA
def test_a_gpu_replays_its_steps_and_learns_as_if_it_launched_them(tiny_dataset, config):
    gpu = torch.device("cuda")
    replayed, launched = (fit(config, tiny_dataset, gpu, capture=capture) for capture in (on_gpu, None))
    assert (replayed.captured, launched.captured) == (True, False)
    losses = [[epoch.train_loss for epoch in fitted.history] for fitted in (replayed, launched)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@CUDA
def test_a_gpus_replays_give_the_same_bits_each_time(tiny_dataset, config):
    first, second = (fit(config, tiny_dataset, torch.device("cuda")).model.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], weights) for name, weights in second.items())
