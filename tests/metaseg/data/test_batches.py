"""Batches: random crops that depend on nothing but (seed, epoch, sample)."""

import numpy as np
import pytest
import torch
from PIL import Image

from metaseg.config import DataConfig
from metaseg.data import batches
from metaseg.data.crops import HostCutter, Placement, ResidentCutter, reflect_up_to, symmetry
from metaseg.data.preparation import prepare
from metaseg.datasets.table import read_table
from table_files import write_dataset

CPU = torch.device("cpu")


def mixed_dataset(folder):
    """Grey 8x6 images and one in colour."""
    table = write_dataset(folder / "cells")
    pixels = np.random.default_rng(1).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(table.parent / "i3.png")
    return prepare(read_table(table, []), DataConfig(), folder / "cache")


def epoch_batches(dataset, samples, **more):
    return batches.epoch_batches(dataset, samples, device=CPU, cutter=HostCutter(dataset, CPU), **more)


def collect(dataset, world_size, batch_size=4, epoch=1):
    """Crops by sample, over all workers."""
    crops, weights = {}, []
    for rank in range(world_size):
        for batch in epoch_batches(
            dataset, dataset.indices("train"), batch_size=batch_size, crop=16, seed=0, epoch=epoch,
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
    placement = Placement.draw(tiny_dataset, tiny_dataset.indices("train"), 16, seed=1, epoch=1)
    images, masks = HostCutter(tiny_dataset, CPU)(placement, 16)
    np.testing.assert_array_equal(masks.numpy(), (images.numpy()[:, 0] > 127).astype(np.uint8))


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
    (batch, *_) = epoch_batches(tiny_dataset, tiny_dataset.indices("train"), batch_size=2, crop=16, seed=0, epoch=1)
    row = tiny_dataset.table.iloc[int(batch.samples[0])]
    pixels = batch.image[0] * row["std"] + row["mean"]
    torch.testing.assert_close(pixels, pixels.round(), atol=1e-3, rtol=0)
    assert pixels.min() >= -1e-3
    assert pixels.max() <= 255 + 1e-3


@pytest.mark.parametrize("crop", [5, 16, 41, 100])
def test_crops_cut_on_the_device_are_those_cut_on_the_host(tiny_dataset, crop):
    """Also where an image is smaller than the crop and mirrored, more than once; in all eight orientations."""
    samples = np.tile(tiny_dataset.indices("train"), 8)
    drawn = Placement.draw(tiny_dataset, samples, crop, seed=3, epoch=2)
    placement = Placement(samples, drawn.top, drawn.left, np.arange(len(samples)) % 8)
    host, resident = (kind(tiny_dataset, CPU)(placement, crop) for kind in (HostCutter, ResidentCutter))
    for cut, expected in zip(resident, host, strict=True):
        torch.testing.assert_close(cut, expected, rtol=0, atol=0)


def test_grey_and_colour_images_are_cut_alike_on_device_and_host(tmp_path):
    """A grey image of a dataset in colour is stored once."""
    dataset = mixed_dataset(tmp_path)
    assert set(dataset.stored_channels) == {1, 3}
    placement = Placement.draw(dataset, np.arange(len(dataset.table)), 12, seed=0, epoch=1)
    host, resident = (kind(dataset, CPU)(placement, 12) for kind in (HostCutter, ResidentCutter))
    torch.testing.assert_close(resident[0], host[0], rtol=0, atol=0)


def test_intensity_changes_contrast_and_brightness_by_at_most_that_share(tiny_dataset):
    training = tiny_dataset.indices("train")
    options = {"batch_size": len(training), "crop": 16, "seed": 0, "epoch": 1}
    (plain,) = epoch_batches(tiny_dataset, training, **options)
    (changed,) = epoch_batches(tiny_dataset, training, intensity=0.3, **options)
    assert torch.equal(changed.target, plain.target)
    factors = []
    for before, after in zip(plain.image.flatten(1), changed.image.flatten(1), strict=True):
        factor = (after.max() - after.min()) / (before.max() - before.min())
        shift = after - factor * before
        assert shift.std() < 1e-4
        assert abs(shift.mean()) <= 0.3
        factors.append(float(factor))
    assert 0.7 <= min(factors) < max(factors) <= 1.3
