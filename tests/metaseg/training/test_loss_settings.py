"""Losses that a run can choose, against torch, MONAI and formulas written out by hand."""

import dataclasses
import importlib.util

import monai.losses
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from metaseg.config import IGNORED, ConfigError, LossConfig, NetworkConfig, RunConfig, ScheduleConfig
from metaseg.study.plan import plan
from metaseg.study.run_id import run_id
from metaseg.training import losses as module
from metaseg.training.fit import fit
from metaseg.training.losses import SampleLoss, build_loss, check_loss, segmentation_loss, soft_dice

CPU = torch.device("cpu")
LOSSES = ("bce-dice", "cross-entropy", "focal", "tversky")


def loss_of(config: LossConfig, classes: int, has_ignored: bool = True) -> SampleLoss:
    return build_loss(config, classes, has_ignored, CPU)


def drawn(classes: int, seed: int = 0, shape: tuple[int, ...] = (3, 6, 8)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape[0], 1 if classes == 1 else 1 + classes, *shape[1:], generator=generator) * 3
    return logits, torch.randint(0, classes + 1, shape, generator=generator, dtype=torch.uint8)


def weights_of(classes: int) -> tuple[float, ...]:
    return (0.5, 4, 1.5, 2)[: 1 + classes]


@pytest.mark.parametrize("has_ignored", [False, True])
@pytest.mark.parametrize("classes", [1, 3])
def test_the_default_is_the_loss_of_earlier_versions_to_the_bit(classes: int, has_ignored: bool) -> None:
    logits, target = drawn(classes)
    found = loss_of(LossConfig(), classes, has_ignored)(logits, target)
    assert torch.equal(found, segmentation_loss(logits, target, has_ignored))


@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_is_torchs_mean_of_each_sample(weighted: bool) -> None:
    logits, target = drawn(3)
    weights = weights_of(3) if weighted else ()
    found = loss_of(LossConfig("cross-entropy", class_weights=weights), 3)(logits, target)
    for n, loss in enumerate(found):
        expected = functional.cross_entropy(
            logits[n : n + 1], target[n : n + 1].long(), torch.tensor(weights) if weights else None
        )
        torch.testing.assert_close(loss, expected)


def test_binary_cross_entropy_weighs_foreground_and_background() -> None:
    logits, target = drawn(1)
    found = loss_of(LossConfig("cross-entropy", class_weights=(0.5, 4)), 1)(logits, target)
    p, t = torch.sigmoid(logits[:, 0]).double(), target.double()
    terms, weights = -(t * p.log() + (1 - t) * (1 - p).log()), 0.5 + 3.5 * t
    expected = (terms * weights).sum(dim=(1, 2)) / weights.sum(dim=(1, 2))
    torch.testing.assert_close(found, expected.float())


@pytest.mark.parametrize("classes", [1, 3])
def test_focal_loss_is_its_formula_and_monais_mean(classes: int) -> None:
    logits, target = drawn(classes)
    found = loss_of(LossConfig("focal", focal_gamma=1.5), classes)(logits, target)
    every = torch.cat([torch.zeros_like(logits), logits], dim=1) if classes == 1 else logits
    of_truth = torch.softmax(every.double(), dim=1).gather(1, target[:, None].long())[:, 0]
    expected = (-((1 - of_truth) ** 1.5) * of_truth.log()).mean(dim=(1, 2))
    torch.testing.assert_close(found, expected.float())
    library = monai.losses.FocalLoss(gamma=1.5, to_onehot_y=classes > 1, use_softmax=classes > 1, reduction="none")
    of_library = library(logits, target[:, None].float()).sum(dim=1).mean(dim=(1, 2))
    torch.testing.assert_close(found, of_library)


@pytest.mark.parametrize("classes", [1, 3])
def test_focal_loss_without_focus_is_cross_entropy(classes: int) -> None:
    logits, target = drawn(classes)
    weights = weights_of(classes)
    focal, entropy = (
        loss_of(LossConfig(name, focal_gamma=gamma, class_weights=weights), classes)(logits, target)
        for name, gamma in (("focal", 0.0), ("cross-entropy", 2.0))
    )
    torch.testing.assert_close(focal, entropy)


@pytest.mark.parametrize("classes", [1, 3])
def test_tversky_loss_is_its_formula_and_monais(classes: int) -> None:
    logits, target = drawn(classes)
    found = loss_of(LossConfig("tversky", tversky_alpha=0.2, tversky_beta=0.9), classes)(logits, target)
    probability = torch.sigmoid(logits) if classes == 1 else torch.softmax(logits, dim=1)[:, 1:]
    for n in range(len(logits)):
        scores = []
        for k in range(classes):
            p, t = probability[n, k], (target[n] == k + 1).float()
            tp, fp, fn = (p * t).sum(), (p * (1 - t)).sum(), ((1 - p) * t).sum()
            scores.append((tp + 0.5) / (tp + 0.2 * fp + 0.9 * fn + 0.5))
        torch.testing.assert_close(found[n], 1 - torch.stack(scores).mean())
    library = monai.losses.TverskyLoss(
        include_background=classes == 1, to_onehot_y=classes > 1, sigmoid=classes == 1, softmax=classes > 1,
        alpha=0.2, beta=0.9, smooth_nr=0.5, smooth_dr=0.5, reduction="none",
    )  # fmt: skip
    torch.testing.assert_close(found, library(logits, target[:, None].float()).mean(dim=1))


def test_tversky_loss_with_equal_weights_is_dice() -> None:
    logits, target = drawn(1)
    found = loss_of(LossConfig("tversky", tversky_alpha=0.5, tversky_beta=0.5), 1)(logits, target)
    torch.testing.assert_close(found, 1 - soft_dice(torch.sigmoid(logits), target[:, None].float())[:, 0])


@pytest.mark.parametrize("name", ["bce-dice", "tversky"])
def test_class_weights_weigh_the_mean_over_classes(name: str) -> None:
    """A class that weighs nearly nothing has nearly no part: its Dice, or Tversky index, is left out."""
    logits, target = drawn(3)
    weighed = loss_of(LossConfig(name, class_weights=(1, 1, 1, 1e-7)), 3)(logits, target)  # type: ignore[arg-type]
    probability = torch.softmax(logits, dim=1)
    one_hot = functional.one_hot(target.long(), 4).movedim(-1, 1).float()
    if name == "bce-dice":
        dice = 1 - soft_dice(probability[:, 1:3], one_hot[:, 1:3]).mean(dim=1)
        entropy = functional.cross_entropy(logits, target.long(), torch.tensor([1, 1, 1, 1e-7]), reduction="none")
        counts = one_hot[:, :3].sum(dim=(1, 2, 3))
        torch.testing.assert_close(weighed, entropy.sum(dim=(1, 2)) / counts + dice, rtol=1e-4, atol=1e-5)
    else:
        alone = monai.losses.TverskyLoss(alpha=0.3, beta=0.7, smooth_nr=0.5, smooth_dr=0.5, reduction="none")
        expected = alone(probability[:, 1:3], one_hot[:, 1:3]).mean(dim=1)
        torch.testing.assert_close(weighed, expected, rtol=1e-4, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(
    name=st.sampled_from(LOSSES),
    classes=st.sampled_from([1, 3]),
    weighted=st.booleans(),
    seed=st.integers(0, 1000),
    known=st.integers(1, 8),
)
def test_a_loss_with_ignored_pixels_is_that_of_the_known_ones(
    name: str, classes: int, weighted: bool, seed: int, known: int
) -> None:
    weights = weights_of(classes) if weighted and (name, classes) != ("tversky", 1) else ()
    loss = loss_of(LossConfig(name, class_weights=weights), classes)  # type: ignore[arg-type]
    logits, target = drawn(classes, seed)
    holed = target.clone()
    holed[..., known:] = IGNORED
    logits.requires_grad_()
    found = loss(logits, holed)
    torch.testing.assert_close(found, loss(logits[..., :known], target[..., :known]))
    found.sum().backward()
    assert logits.grad is not None
    assert not logits.grad[..., known:].any()


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_per_sample_in_float32_under_autocast_and_of_any_sample(name: str, classes: int) -> None:
    weights = weights_of(classes) if (name, classes) != ("tversky", 1) else ()
    loss = loss_of(LossConfig(name, class_weights=weights), classes)  # type: ignore[arg-type]
    logits, target = drawn(classes)
    target[1] = IGNORED
    whole = loss(logits, target)
    assert whole.shape == (3,)
    assert whole[1].abs() < 1e-6
    torch.testing.assert_close(torch.cat([loss(logits[n : n + 1], target[n : n + 1]) for n in range(3)]), whole)
    half = logits.bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(half, target)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, loss(half.float(), target))
    found.sum().backward()
    assert half.grad is not None
    assert half.grad[0].any()
    assert not half.grad[1].any()


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("name", LOSSES)
def test_a_confident_right_answer_costs_nothing_and_has_a_finite_gradient(name: str, classes: int) -> None:
    _, target = drawn(classes)
    right = functional.one_hot(target.long(), max(2, classes + 1)).movedim(-1, 1).float() * 400 - 200
    right = (right[:, 1:] if classes == 1 else right).requires_grad_()
    loss = loss_of(LossConfig(name), classes)  # type: ignore[arg-type]
    found = loss(right, target)
    found.sum().backward()
    assert (found.abs() < 1e-4).all()
    assert right.grad is not None
    assert right.grad.isfinite().all()
    assert (loss(-right, target) > 0.5).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "hinge"}, "loss is 'hinge'; expected one of bce-dice, cross-entropy, focal, tversky"),
        ({"loss": "focal", "focal_gamma": 0.5}, r"focal_gamma is 0.5; expected 0, or from 1"),
        ({"loss": "focal", "focal_gamma": -1.0}, "focal_gamma is -1.0; expected 0"),
        ({"focal_gamma": 3.0}, r"focal_gamma is 3.0; expected 2.0 where the loss isn't focal"),
        ({"loss": "focal", "tversky_beta": 0.5}, "tversky_beta is 0.5; expected 0.7 where the loss isn't tversky"),
        ({"loss": "tversky", "tversky_alpha": -0.1}, "tversky_alpha is -0.1; expected at least 0"),
        ({"loss": "tversky", "tversky_alpha": 0.0, "tversky_beta": 0.0}, "expected above 0"),
        ({"class_weights": (1.0, 0.0)}, r"class_weights is \(1.0, 0.0\); expected numbers above 0"),
        ({"class_weights": (1.0, float("nan"))}, "expected numbers above 0"),
    ],
)
def test_settings_that_cant_be_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LossConfig(**settings)  # type: ignore[arg-type]


def test_weights_are_checked_against_the_classes_before_training(tiny_dataset) -> None:
    def planned(loss: LossConfig) -> None:
        plan("s", tiny_dataset, ["baseline"], 1, loss=loss)

    planned(LossConfig(class_weights=(1, 2)))
    with pytest.raises(ConfigError, match=r"class_weights is \(1.0, 2.0, 3.0\); expected 2 numbers: of background and"):
        planned(LossConfig(class_weights=(1, 2, 3)))
    with pytest.raises(ConfigError, match="expected none for the Tversky loss of one class"):
        planned(LossConfig("tversky", class_weights=(1, 2)))
    check_loss(LossConfig("tversky", class_weights=(1, 2, 3)), 2)


def test_a_missing_package_is_told_before_training_with_the_command_that_installs_it(tiny_dataset, monkeypatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "monai" else found(name))
    plan("s", tiny_dataset, ["baseline"], 1, loss=LossConfig("cross-entropy"))
    with pytest.raises(ConfigError, match=r"'focal' needs the package monai, .*: pip install 'monai>=1.5'"):
        plan("s", tiny_dataset, ["baseline"], 1, loss=LossConfig("focal"))


def test_a_run_with_the_default_loss_keeps_its_id_and_other_losses_have_their_own() -> None:
    config = RunConfig("sme", "true", 0, "a3f1", NetworkConfig(), ScheduleConfig())
    assert not {"loss", "early_stopping"} & config.resolved().keys()
    others = [
        LossConfig("cross-entropy"), LossConfig("focal"), LossConfig("focal", focal_gamma=1.0),
        LossConfig(class_weights=(1, 2)),
    ]  # fmt: skip
    ids = {run_id(dataclasses.replace(config, loss=loss)) for loss in others}
    assert len(ids - {run_id(config)}) == len(others)
    whole, decimal = (dataclasses.replace(config, loss=LossConfig(class_weights=each)) for each in ((1, 2), (1.0, 2.0)))
    assert run_id(whole) == run_id(decimal)


@pytest.mark.parametrize("loss", [LossConfig("focal", class_weights=(1, 3)), LossConfig("tversky")])
def test_a_network_learns_by_other_losses(tiny_dataset, loss: LossConfig) -> None:
    schedule = ScheduleConfig(epochs=8, cycles=1, lr_max=2e-2, batch_size=5, crop=16)
    config = RunConfig(
        "se", "absent", 0, tiny_dataset.fingerprint, NetworkConfig(width=4, depth=1), schedule, loss=loss
    )
    history = fit(config, tiny_dataset, CPU).history
    assert history[-1].train_loss < 0.7 * history[0].train_loss
    plain = fit(dataclasses.replace(config, loss=LossConfig()), tiny_dataset, CPU).history
    assert not np.isclose(plain[0].train_loss, history[0].train_loss)
