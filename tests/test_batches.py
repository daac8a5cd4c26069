"""Batches: random crops that depend on nothing but (seed, epoch, sample)."""

import numpy as np
import pytest
import torch

from metaseg.data.batches import epoch_batches, random_crops, reflect_up_to, symmetry

CPU = torch.device("cpu")


def collect(dataset, world_size, batch_size=4, epoch=1):
    """Crops by sample, over all workers."""
    crops, weights = {}, []
    for rank in range(world_size):
        for batch in epoch_batches(
            dataset, dataset.indices("train"), batch_size=batch_size, crop=16, seed=0, epoch=epoch, device=CPU,
            rank=rank, world_size=world_size,
        ):  # fmt: skip
            weights += batch.weight.tolist()
            for sample, weight, image, target in zip(
                batch.samples.tolist(), batch.weight, batch.image, batch.target, strict=True
            ):
                if weight > 0:
                    assert sample not in crops, "each sample once an epoch"
                    crops[sample] = (image, target)
    return crops, weights


@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_workers_share_the_same_crops_and_weights_add_up(tiny_dataset, world_size):
    alone, weights = collect(tiny_dataset, 1)
    shared, shared_weights = collect(tiny_dataset, world_size)
    assert alone.keys() == shared.keys() == set(tiny_dataset.indices("train").tolist())
    for sample, (image, target) in alone.items():
        torch.testing.assert_close(shared[sample], (image, target), rtol=0, atol=0)
    assert sum(shared_weights) / world_size == pytest.approx(sum(weights))


def test_epochs_differ_and_repeat(tiny_dataset):
    first, _ = collect(tiny_dataset, 1, epoch=1)
    again, _ = collect(tiny_dataset, 1, epoch=1, batch_size=3)
    second, _ = collect(tiny_dataset, 1, epoch=2)
    assert all(torch.equal(first[sample][0], again[sample][0]) for sample in first)
    assert not all(torch.equal(first[sample][0], second[sample][0]) for sample in first)


def test_image_and_mask_share_square_and_orientation(tiny_dataset):
    """The tiny dataset's masks are a threshold of its images, so any mismatch of geometry shows."""
    images, masks = random_crops(tiny_dataset, tiny_dataset.indices("train"), 16, seed=1, epoch=1)
    np.testing.assert_array_equal(masks, (images[..., 0] > 127).astype(np.uint8))


def test_all_eight_symmetries_are_distinct():
    square = np.arange(9, dtype=np.uint8).reshape(3, 3)
    assert len({symmetry(square, index).tobytes() for index in range(8)}) == 8


def test_small_images_are_mirrored_up_to_the_crop():
    small = np.arange(6, dtype=np.uint8).reshape(2, 3)
    grown = reflect_up_to(small, 5)
    assert grown.shape == (5, 5)
    np.testing.assert_array_equal(grown[:4, :3], np.concatenate([small, small[::-1]]))
    assert reflect_up_to(small, 2) is small


def test_inputs_are_standardised_by_the_whole_images_statistics(tiny_dataset):
    (batch, *_) = epoch_batches(
        tiny_dataset, tiny_dataset.indices("train"), batch_size=2, crop=16, seed=0, epoch=1, device=CPU
    )
    row = tiny_dataset.table.iloc[int(batch.samples[0])]
    pixels = batch.image[0] * row["std"] + row["mean"]
    torch.testing.assert_close(pixels, pixels.round(), atol=1e-3, rtol=0)
    assert pixels.min() >= -1e-3
    assert pixels.max() <= 255 + 1e-3
