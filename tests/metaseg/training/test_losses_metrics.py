"""Losses and counts against closed forms and references written out by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from metaseg.config import IGNORED
from metaseg.training.losses import segmentation_loss
from metaseg.training.metrics import confusion_counts, f1_score


def test_binary_loss_equals_its_formula():
    torch.manual_seed(0)
    logits, target = torch.randn(2, 1, 4, 5), torch.randint(0, 2, (2, 4, 5))
    p, t = torch.sigmoid(logits[:, 0]), target.float()
    for n, loss in enumerate(segmentation_loss(logits, target)):
        entropy = -(t[n] * torch.log(p[n]) + (1 - t[n]) * torch.log(1 - p[n])).mean()
        dice = (2 * (p[n] * t[n]).sum() + 1) / (p[n].sum() + t[n].sum() + 1)
        torch.testing.assert_close(loss, entropy + 1 - dice)


def test_several_classes_average_dice_without_background():
    torch.manual_seed(0)
    logits, target = torch.randn(1, 3, 4, 5), torch.randint(0, 3, (1, 4, 5))
    p = torch.softmax(logits[0], dim=0)
    entropy = -torch.log(p.gather(0, target)).mean()
    dice = [(2 * p[k][target[0] == k].sum() + 1) / (p[k].sum() + (target == k).sum() + 1) for k in (1, 2)]
    torch.testing.assert_close(segmentation_loss(logits, target)[0], entropy + 1 - sum(dice) / 2)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_confident_right_answer_costs_nothing_and_a_wrong_one_much(channels):
    target = torch.randint(0, max(2, channels), (2, 8, 8))
    right = torch.nn.functional.one_hot(target, max(2, channels)).movedim(-1, 1).float() * 40 - 20
    right = right[:, 1:] if channels == 1 else right
    assert (segmentation_loss(right, target) < 1e-4).all()
    assert (segmentation_loss(-right, target) > 5).all()


def test_a_samples_loss_doesnt_depend_on_its_batch():
    torch.manual_seed(0)
    logits, target = torch.randn(4, 1, 6, 6), torch.randint(0, 2, (4, 6, 6))
    alone = torch.cat([segmentation_loss(logits[i : i + 1], target[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(segmentation_loss(logits, target), alone)


masks = hnp.arrays(np.int64, (5, 6), elements=st.integers(0, 2))


@given(predicted=masks, actual=masks)
def test_counts_of_each_class_equal_a_direct_count(predicted, actual):
    logits = torch.nn.functional.one_hot(torch.from_numpy(predicted), 3).movedim(-1, 0)[None].float()
    counts = confusion_counts(logits, torch.from_numpy(actual)[None])[0].numpy()
    for k in (1, 2):
        p, a = predicted == k, actual == k
        expected = [int((p & a).sum()), int((p & ~a).sum()), int((~p & a).sum()), int((~p & ~a).sum())]
        assert counts[k - 1].tolist() == expected
        assert counts[k - 1].sum() == actual.size


def test_binary_counts_threshold_at_probability_one_half():
    logits = torch.tensor([[[[-1e-3, 1e-3], [5.0, -5.0]]]])
    target = torch.tensor([[[1, 1], [0, 0]]], dtype=torch.uint8)
    assert confusion_counts(logits, target).tolist() == [[[1, 1, 1, 1]]]


def test_f1_is_dice_and_empty_against_empty_is_one():
    assert f1_score(np.array([[3, 1, 2, 10], [0, 0, 0, 9], [0, 4, 0, 5]])).tolist() == [6 / 9, 1.0, 0.0]


@pytest.mark.parametrize("classes", [1, 3])
def test_what_is_ignored_has_no_part_in_the_loss(classes: int) -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 1 if classes == 1 else 1 + classes, 8, 12, requires_grad=True)
    target = torch.randint(0, classes + 1, (2, 8, 12))
    holed = target.clone()
    holed[..., 8:] = IGNORED
    loss = segmentation_loss(logits, holed, has_ignored=True)
    torch.testing.assert_close(loss, segmentation_loss(logits[..., :8], target[..., :8]))
    loss.sum().backward()
    assert logits.grad is not None
    assert not logits.grad[..., 8:].any()
    assert logits.grad[..., :8].any()
    torch.testing.assert_close(segmentation_loss(logits, target, has_ignored=True), segmentation_loss(logits, target))


def test_a_sample_of_which_nothing_counts_has_no_gradient() -> None:
    logits = torch.randn(1, 1, 4, 4, requires_grad=True)
    loss = segmentation_loss(logits, torch.full((1, 4, 4), IGNORED), has_ignored=True)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert logits.grad is not None
    assert not logits.grad.any()
