"""Deep supervision: losses of further outputs, weighted as nnU-Net weights them; one tensor is as before."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from metaseg.config import IGNORED, ConfigError, LossConfig, NetworkConfig, RunConfig, ScheduleConfig
from metaseg.study import estimate
from metaseg.training import fit as module
from metaseg.training.deep_supervision import nearest, supervised_loss
from metaseg.training.fit import fit
from metaseg.training.losses import build_loss, segmentation_loss

CPU = torch.device("cpu")


def loss(logits: Tensor, target: Tensor) -> Tensor:
    return segmentation_loss(logits, target, has_ignored=True)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def test_weights_halve_from_output_to_output_and_sum_to_one() -> None:
    target = (drawn(3, 16, 24) > 0).long()
    outputs = [drawn(3, 1, 16, 24), drawn(3, 1, 8, 12), drawn(3, 1, 5, 6)]
    each = [loss(logits, nearest(target, *logits.shape[2:])) for logits in outputs]
    expected = (4 * each[0] + 2 * each[1] + each[2]) / 7
    torch.testing.assert_close(supervised_loss(outputs, target, loss), expected)
    same = supervised_loss([outputs[0], outputs[0]], target, loss)
    torch.testing.assert_close(same, each[0])


def test_one_tensor_has_its_loss_to_the_bit() -> None:
    target, logits = (drawn(2, 8, 8) > 0).long(), drawn(2, 1, 8, 8)
    assert torch.equal(supervised_loss(logits, target, loss), loss(logits, target))
    assert torch.equal(supervised_loss((logits,), target, loss), loss(logits, target))


@given(size=st.integers(1, 20), new=st.integers(1, 20))
def test_a_mask_is_resized_to_the_pixel_at_each_centre(size: int, new: int) -> None:
    target = torch.arange(size)[None, :, None].expand(1, size, 3)
    resized = nearest(target, new, 3)[0, :, 0].numpy()
    centres = (np.arange(new) + 0.5) * size / new
    assert np.abs(resized + 0.5 - centres).max() <= 0.5 + 1e-9


def test_ignored_pixels_stay_ignored_in_smaller_outputs() -> None:
    target = (drawn(1, 16, 16) > 0).to(torch.uint8)
    target[:, :8] = IGNORED
    small = drawn(1, 1, 4, 4).requires_grad_()
    supervised_loss([drawn(1, 1, 16, 16), small], target, loss).sum().backward()
    assert small.grad is not None
    assert not small.grad[:, :, :2].any()
    assert small.grad[:, :, 2:].all()


@pytest.mark.parametrize("sizes", [[], [(8, 8), (16, 16)]])
def test_a_sequence_without_full_size_is_refused(sizes: list[tuple[int, int]]) -> None:
    with pytest.raises(ConfigError, match=r"logits of sizes \[.*; expected the first to be as large .*\(16, 16\)"):
        supervised_loss([drawn(1, 1, *size) for size in sizes], torch.zeros(1, 16, 16), loss)


class TwoScales(nn.Module):
    """Two convolutions; in training, the features at half the size have logits too."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.features = nn.Conv2d(channels, 4, 3, padding=1)
        self.head, self.lower_head = nn.Conv2d(4, 1, 1), nn.Conv2d(4, 1, 1)

    def forward(self, image: Tensor, metadata: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        features = torch.relu(self.features(image))
        logits: Tensor = self.head(features)
        return (logits, self.lower_head(nn.functional.avg_pool2d(features, 2))) if self.training else logits


@pytest.fixture
def config(tiny_dataset, monkeypatch) -> RunConfig:
    def build(config: RunConfig, channels: int, classes: int, metadata_size: int) -> nn.Module:
        torch.manual_seed(0)
        return TwoScales(channels)

    monkeypatch.setattr(module, "build_network", build)
    monkeypatch.setattr(estimate, "build_network", build)
    schedule = ScheduleConfig(epochs=8, cycles=1, lr_max=2e-2, batch_size=5, crop=16)
    return RunConfig("se", "absent", 0, tiny_dataset.fingerprint, NetworkConfig(), schedule)


@pytest.mark.parametrize("loss", [LossConfig(), LossConfig("cross-entropy", class_weights=(1, 2))])
def test_a_network_that_gives_more_outputs_in_training_is_trained_by_all(tiny_dataset, config, loss) -> None:
    before = TwoScales(1)
    torch.manual_seed(0)
    before = TwoScales(1)
    fitted = fit(dataclasses.replace(config, loss=loss), tiny_dataset, CPU)
    assert fitted.history[-1].train_loss < fitted.history[0].train_loss
    weights = dict(fitted.model.named_parameters())
    assert all((weights[name] != value).any() for name, value in before.named_parameters())


def test_its_steps_are_timed_and_its_first_loss_is_that_of_both_outputs(tiny_dataset, config) -> None:
    cost = estimate.measure(config, tiny_dataset, CPU)
    assert cost.parameters == sum(parameter.numel() for parameter in TwoScales(1).parameters())
    still = ScheduleConfig(epochs=1, shape="constant", lr_max=1e-12, lr_min=1e-12, batch_size=16, crop=16)
    fitted = fit(dataclasses.replace(config, schedule=still), tiny_dataset, CPU)
    network = fitted.model.train()
    cut = module.open_cutter(tiny_dataset, CPU)
    batches = module.epoch_batches(
        tiny_dataset, tiny_dataset.indices("train"), batch_size=16, crop=16, seed=config.stream, epoch=1, device=CPU,
        cutter=cut,
    )  # fmt: skip
    (batch,) = batches
    with torch.no_grad():
        full, half = network(batch.image, torch.zeros(16, 0))
    loss = build_loss(LossConfig(), 1, False, CPU)
    expected = (2 * loss(full, batch.target) + loss(half, nearest(batch.target, 8, 8))) / 3
    assert fitted.history[0].train_loss == pytest.approx(float(expected.mean()), rel=5e-3)
