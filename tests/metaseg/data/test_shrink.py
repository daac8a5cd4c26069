"""Smaller images: squares of pixels become one, in training and in prediction alike."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from skimage.transform import downscale_local_mean

from metaseg.config import ConfigError, DataConfig, NetworkConfig, RunConfig, ScheduleConfig
from metaseg.data.dataset import Dataset
from metaseg.data.decode import decode_image
from metaseg.data.manifest import ManifestError
from metaseg.data.preparation import prepare
from metaseg.data.reading import Reading
from metaseg.data.shrink import shrink_image, shrink_mask
from metaseg.datasets.table import read_table
from metaseg.study.predict import Predictor
from metaseg.training.fit import fit
from table_files import write_dataset

shapes = st.tuples(st.integers(1, 9), st.integers(1, 9))
masks = shapes.flatmap(lambda shape: arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, 255])))


@given(
    shapes.flatmap(lambda shape: arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, 255]))), st.integers(1, 5)
)
@settings(deadline=None)
def test_a_square_of_a_mask_becomes_its_most_frequent_value(mask, factor):
    small = shrink_mask(mask, factor)
    assert small.shape == tuple(-(-side // factor) for side in mask.shape)
    assert small.dtype == mask.dtype
    padded = np.pad(mask, [(0, -side % factor) for side in mask.shape], mode="edge")
    for row, column in np.ndindex(small.shape):
        square = padded[row * factor : (row + 1) * factor, column * factor : (column + 1) * factor]
        assert small[row, column] == np.bincount(square.ravel()).argmax()


@given(arrays(np.uint8, (6, 12, 3)), st.sampled_from([1, 2, 3]))
@settings(deadline=None)
def test_a_square_of_an_image_becomes_its_mean_as_scikit_image_has_it(image, factor):
    expected = downscale_local_mean(image.astype(float), (factor, factor, 1))
    np.testing.assert_array_equal(shrink_image(image, factor), np.rint(expected).astype(np.uint8))
    kept = shrink_image(image.astype(np.float32), factor)
    np.testing.assert_allclose(kept, expected, rtol=1e-6)
    assert kept.dtype == np.float32


def test_an_edge_that_cuts_squares_off_is_repeated():
    image = np.array([[0, 10, 40]], dtype=np.uint16)[..., None]
    np.testing.assert_array_equal(shrink_image(image, 2)[..., 0], [[5, 40]])


@pytest.fixture
def prepared(tmp_path):
    table = write_dataset(tmp_path / "cells", 12, line=["a", "b"] * 6)
    manifest = read_table(table, ["line"])
    return tuple(prepare(manifest, DataConfig(shrink=factor), tmp_path / "cache") for factor in (1, 2))


def test_a_dataset_is_decoded_smaller_under_a_fingerprint_of_its_own(prepared):
    whole, small = prepared
    assert whole.fingerprint != small.fingerprint
    assert (whole.image(0).shape, small.image(0).shape, small.mask(0).shape) == ((6, 8, 1), (3, 4, 1), (3, 4))
    np.testing.assert_array_equal(small.image(3), shrink_image(whole.image(3), 2))
    np.testing.assert_allclose(small.statistics[3], [small.image(3).mean(), small.image(3).std()], rtol=1e-5)
    assert small.about == "at 1/2 of their size"
    assert Dataset.open(small.path).reading == Reading(shrink=2)
    assert "reading" not in json.loads((whole.path / "dataset.json").read_text())


def test_a_prediction_is_as_large_as_the_file_and_made_at_the_size_of_training(prepared, tmp_path):
    small = prepared[1]
    network, schedule = NetworkConfig(width=2, depth=1), ScheduleConfig(epochs=1, crop=8)
    fitted = fit(RunConfig("se", "absent", 0, small.fingerprint, network, schedule), small, torch.device("cpu"))
    predictor = Predictor(fitted.model.eval(), fitted.encoder, "absent", small.classes, 1, small.reading)
    file = tmp_path / "cells" / small.table["image"][0]
    pixels = decode_image(file, predictor.reading)
    probability = predictor.probabilities(pixels, {})
    assert probability.shape == (1, 6, 8)
    assert predictor.predict(pixels, {}).shape == (6, 8)
    coarse = Predictor(fitted.model, fitted.encoder, "absent", small.classes, 1).probabilities(small.image(0), {})
    assert abs(probability.mean() - coarse.mean()) < 0.05
    assert probability[0, 0, 0] == pytest.approx(coarse[0, 0, 0], abs=1e-3), "a corner is its square's"


@pytest.mark.parametrize("factor", [0, -2, 65])
def test_factors_that_cant_be_are_refused(factor):
    with pytest.raises(ConfigError, match="expected from 1 to 64"):
        DataConfig(shrink=factor)


def test_a_reading_is_read_back_and_a_wrong_one_refused():
    reading = Reading(kept=True, shrink=4)
    assert Reading.from_json(json.loads(json.dumps(reading.to_json()))) == reading
    assert Reading().to_json() == {}
    for wrong in (True, 0, 10**9, "2"):
        with pytest.raises(ValueError, match="expected a whole number from 1 to 64"):
            Reading.from_json({"shrink": wrong})


def test_a_mask_of_which_shrinking_leaves_only_ignored_pixels_is_refused(tmp_path):
    table = write_dataset(tmp_path / "cells", 12, line=["a", "b"] * 6)
    mask = np.full((6, 8), 255, np.uint8)
    mask[::2, ::2] = 1
    Image.fromarray(mask).save(table.parent / "m3.png")
    manifest = read_table(table, ["line"])
    with pytest.raises(ManifestError, match=r"m3\.png: all pixels have the ignored value 255"):
        prepare(manifest, DataConfig(shrink=2, ignore=255, foreground=("1",)), tmp_path / "cache")
