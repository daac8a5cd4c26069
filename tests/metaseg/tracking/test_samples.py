"""Pictures of validation samples, as trackers get them."""

import io
from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from metaseg.config import IGNORED, NetworkConfig, ScheduleConfig
from metaseg.data.display import to_display
from metaseg.store.runs import Store
from metaseg.study.execution import execute
from metaseg.study.plan import plan
from metaseg.study.predict import Predictor
from metaseg.tracking.existing import Drawer
from metaseg.tracking.samples import MOST_SAMPLES, coloured, sample_pictures


def test_a_picture_is_image_mask_and_prediction_of_a_validation_sample(tiny_dataset, tmp_path):
    store = Store.at(tmp_path)
    schedule = ScheduleConfig(epochs=1, cycles=1, batch_size=8, crop=16)
    study = plan("cells", tiny_dataset, ["sme", "baseline"], 1, NetworkConfig(width=2, depth=1), schedule)
    run = study.runs[0]
    execute(run.config, tiny_dataset, store, torch.device("cpu"))
    finished = store.open_run(run.run_id)
    pictures = sample_pictures(tiny_dataset, finished)
    validation = tiny_dataset.indices("val")
    assert len(pictures) == MOST_SAMPLES < len(validation)
    sample = int(validation[0])
    name = tiny_dataset.names.iloc[sample].replace("/", "-")
    shown = np.asarray(Image.open(io.BytesIO(pictures[name])))
    height, width = tiny_dataset.mask(sample).shape
    assert shown.shape == (height, 3 * width, 3)
    image, mask, predicted = np.split(shown, 3, axis=1)
    np.testing.assert_array_equal(image, np.broadcast_to(to_display(tiny_dataset.image(sample)), image.shape))
    np.testing.assert_array_equal(mask[..., 0] == 255, tiny_dataset.mask(sample) == 1)
    row = tiny_dataset.values.iloc[sample]
    told = {column.name: row[column.name] for column in tiny_dataset.metadata}
    expected = Predictor.open(finished).predict(tiny_dataset.image(sample), told)
    np.testing.assert_array_equal(predicted[..., 0] == 255, expected == 1)
    assert Drawer(store, ())(finished) == {}, "the store's cache hasn't these images"
    large = replace(tiny_dataset, table=tiny_dataset.table.assign(height=4000, width=4000))
    assert sample_pictures(large, finished) == {}, "too large for the driver"


def test_classes_have_colours_and_ignored_pixels_are_grey():
    one = coloured(np.array([[0, 1, IGNORED]], np.uint8))
    assert one.tolist() == [[[0, 0, 0], [255, 255, 255], [110, 110, 110]]]
    several = coloured(np.array([[0, 1, 2, 3]], np.uint8))
    assert len({tuple(pixel) for pixel in several[0].tolist()}) == 4
