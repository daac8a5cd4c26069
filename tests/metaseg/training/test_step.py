"""Training steps that are captured once and replayed: the same training as steps that are launched one by one."""

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from metaseg.config import EngineConfig, NetworkConfig, RunConfig, ScheduleConfig
from metaseg.data.batches import Batch
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


class Counting(nn.Module):
    """Does something else in each step, as only Python knows."""

    def forward(self, image: Tensor, metadata: Tensor) -> Tensor:
        return image


@pytest.mark.parametrize(("network", "dtype"), [(Counting(), torch.float32), (UNet(1, 1, "none"), torch.float16)])
def test_what_replays_would_train_otherwise_is_launched(network, dtype):
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], fused=True)
    scaler = torch.amp.GradScaler("cpu", enabled=dtype == torch.float16)
    arithmetic = Arithmetic(dtype, channels_last=False)
    step = Step(network, optimizer, scaler, lambda logits, target: logits.mean(), arithmetic, CPU, samples=4)
    assert build_step(step, Recorder()) is step


def test_a_network_that_draws_is_launched_and_draws_as_it_would(tiny_dataset, config, monkeypatch):
    forward = UNet.forward

    def dropping(network: UNet, image: Tensor, metadata: Tensor | None = None) -> Tensor:
        return forward(network, nn.functional.dropout(image, 0.3, network.training), metadata)

    monkeypatch.setattr(UNet, "forward", dropping)
    expected, found = trained(config, tiny_dataset, None), trained(config, tiny_dataset, Recorder())
    assert found[0] == expected[0]
    assert not found[2]


class Replacing(nn.Module):
    """Puts a new tensor in the place of a buffer in each step."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, image: Tensor, metadata: Tensor) -> Tensor:
        self.seen = self.seen + 1
        return image * self.weight - self.seen


def test_a_network_that_replaces_a_buffer_is_launched_and_has_the_buffer_of_its_own_steps(monkeypatch):
    monkeypatch.setattr("metaseg.training.step.KNOWN_PACKAGES", (__name__.partition(".")[0],))

    def losses(capture: Recorder | None) -> tuple[list[float], bool]:
        network = Replacing()
        optimizer, scaler = (
            torch.optim.AdamW(network.parameters(), fused=True),
            torch.amp.GradScaler("cpu", enabled=False),
        )
        step = Step(network, optimizer, scaler, squares, FULL_PRECISION, CPU, samples=2)
        take = build_step(step, capture)
        batch = Batch(torch.ones(2, 1, 4, 4), torch.zeros(2, 4, 4), torch.arange(2), torch.ones(2))
        return [float(take(batch, torch.zeros(2, 0))) for _ in range(3)], take.is_captured

    def squares(logits: Tensor, target: Tensor) -> Tensor:
        return logits.square().mean(dim=(1, 2, 3))

    recorder = Recorder()
    assert losses(recorder) == (losses(None)[0], False)
    assert recorder.captures == 1


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


@CUDA
def test_a_network_that_waits_for_its_gpu_is_launched_and_learns_as_it_would(tiny_dataset, config, monkeypatch):
    forward, gpu = UNet.forward, torch.device("cuda")

    def waiting(network: UNet, image: Tensor, metadata: Tensor | None = None) -> Tensor:
        return forward(network, image * float(image.isfinite().all()), metadata)

    monkeypatch.setattr(UNet, "forward", waiting)
    with pytest.warns(CaptureWarning, match="synchroniz"):
        found = fit(config, tiny_dataset, gpu)
    launched = fit(config, tiny_dataset, gpu, capture=None)
    assert not found.captured
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    assert torch.cuda.get_sync_debug_mode() == 0
    assert [epoch.train_loss for epoch in found.history] == [epoch.train_loss for epoch in launched.history]


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices")
def test_a_gpu_that_isnt_the_current_one_replays_its_steps(tiny_dataset, config):
    first, second = (fit(config, tiny_dataset, torch.device("cuda", index)) for index in (0, 1))
    assert second.captured
    losses = [[epoch.train_loss for epoch in fitted.history] for fitted in (first, second)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
