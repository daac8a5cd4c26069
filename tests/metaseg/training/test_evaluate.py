"""Evaluation at full resolution: batches of images of one size, and tiles that agree with the whole image."""

import numpy as np
import torch

from metaseg.config import NetworkConfig
from metaseg.networks.unet import UNet
from metaseg.training import evaluate as evaluation
from metaseg.training.evaluate import evaluation_batches, predict_logits


def test_batches_of_evaluation_hold_images_of_one_size(tiny_dataset):
    samples = np.arange(len(tiny_dataset.table))
    batches = evaluation_batches(tiny_dataset, samples)
    assert sorted(np.concatenate(batches)) == samples.tolist()
    sizes = tiny_dataset.table[["height", "width"]]
    assert all(len(sizes.iloc[batch].drop_duplicates()) == 1 for batch in batches)


def test_tiles_cover_the_image_and_agree_with_the_whole(monkeypatch):
    """A purely local network (no normalisation over the image, no squeeze) must not see the tiling at all."""
    torch.manual_seed(0)
    local = torch.nn.Conv2d(1, 1, 3, padding=1)
    image = torch.randn(1, 1, 50, 75)

    class Local(UNet):
        def forward(self, image, metadata=None):
            return local(image)

    model = Local(1, 1, "none", network=NetworkConfig(width=2, depth=1))
    monkeypatch.setattr(evaluation, "TILED_ABOVE", 100)
    monkeypatch.setattr(evaluation, "TILE", 16)
    monkeypatch.setattr(evaluation, "MARGIN", 8)
    torch.testing.assert_close(predict_logits(model, image, torch.zeros(1, 0)), local(image))
