"""Images and masks that are shrunk when they are decoded, and predictions of the image's own size."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from skimage.measure import block_reduce

from metaseg.__main__ import predict
from metaseg.config import ConfigError, DataConfig, NetworkConfig, RunConfig, ScheduleConfig
from metaseg.data.dataset import Dataset
from metaseg.data.decode import decode_image
from metaseg.data.manifest import Manifest, ManifestError
from metaseg.data.preparation import prepare
from metaseg.data.reading import Reading
from metaseg.data.shrinking import enlarge_mask, shrink_image, shrink_mask
from metaseg.datasets.table import read_table
from metaseg.store.runs import Store
from metaseg.study.execution import execute
from metaseg.study.predict import Predictor
from metaseg.study.run_id import run_id


def drawn(*shape: int, dtype: str = "uint8") -> np.ndarray:
    return np.random.default_rng(0).integers(0, 250, shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_a_pixel_is_the_mean_of_its_square(dtype: str, factor: int) -> None:
    pixels = drawn(12, 18, 2, dtype=dtype)
    expected = block_reduce(pixels.astype(float), (factor, factor, 1), np.mean)
    shrunk = shrink_image(pixels, factor)
    assert shrunk.dtype == dtype
    np.testing.assert_allclose(shrunk, expected, atol=1e-4 if dtype == "float32" else 0.5)


def test_sides_that_arent_multiples_are_completed_by_their_last_pixels() -> None:
    pixels = drawn(7, 10, 1)
    expected = shrink_image(np.pad(pixels, [(0, 2), (0, 2), (0, 0)], mode="edge"), 3)
    np.testing.assert_array_equal(shrink_image(pixels, 3), expected)
    mask = pixels[..., 0]
    np.testing.assert_array_equal(shrink_mask(mask, 3), np.pad(mask, [(0, 2), (0, 2)], mode="edge")[1::3, 1::3])


@pytest.mark.parametrize(("factor", "height", "width"), [(2, 8, 6), (3, 7, 11), (4, 5, 4), (9, 4, 13)])
def test_an_enlarged_mask_covers_the_image_and_shrinks_to_itself(factor: int, height: int, width: int) -> None:
    small = shrink_mask(drawn(height, width), factor)
    enlarged = enlarge_mask(small, factor, height, width)
    assert enlarged.shape == (height, width)
    np.testing.assert_array_equal(shrink_mask(enlarged, factor), small)
    assert shrink_image(drawn(height, width, 1), factor).shape[:2] == small.shape


def test_a_shrunken_disc_keeps_its_place_and_share() -> None:
    rows, columns = np.mgrid[:240, :240]
    disc = ((rows - 100) ** 2 + (columns - 140) ** 2 < 50**2).astype(np.uint8)
    small = shrink_mask(disc, 4)
    means = shrink_image(disc[..., None] * np.uint8(200), 4)[..., 0]
    assert small.mean() == pytest.approx(disc.mean(), rel=0.03)
    assert ((means > 100) != (small == 1)).mean() < 0.01


def images(folder: Path) -> Manifest:
    """Nine images of 41 x 30 pixels with a bright square of 16 that is their mask."""
    folder.mkdir()
    rows = []
    for i in range(9):
        mask = np.zeros((41, 30), np.uint8)
        mask[4 + i : 20 + i, 6:22] = 1
        Image.fromarray(mask * 150 + drawn(41, 30) // 5).save(folder / f"{i}.png")
        Image.fromarray(mask * 255).save(folder / f"{i}_mask.png")
        rows.append({"image": f"{i}.png", "mask": f"{i}_mask.png", "line": "ab"[i % 2]})
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    return read_table(folder / "table.csv", ["line"])


def test_a_dataset_is_shrunk_and_is_another_one_only_if_asked_for(tmp_path: Path) -> None:
    manifest = images(tmp_path / "images")
    plain, shrunk = (prepare(manifest, config, tmp_path) for config in (DataConfig(), DataConfig(shrink=4)))
    assert plain.fingerprint != shrunk.fingerprint
    assert "reading" not in json.loads((plain.path / "dataset.json").read_text())
    assert Dataset.open(shrunk.path).reading == Reading(shrink=4)
    np.testing.assert_array_equal(shrunk.sizes, [[11, 8]] * 9)
    for i in range(9):
        np.testing.assert_array_equal(shrunk.image(i), shrink_image(plain.image(i), 4))
        np.testing.assert_array_equal(shrunk.mask(i), shrink_mask(plain.mask(i), 4))
    assert shrunk.statistics[0] == pytest.approx([shrunk.image(0).mean(), shrunk.image(0).std()])


def test_an_image_and_a_mask_of_unlike_sizes_are_refused_even_if_they_are_alike_when_shrunk(tmp_path: Path) -> None:
    manifest = images(tmp_path / "images")
    Image.fromarray(np.zeros((42, 30), np.uint8)).save(tmp_path / "images" / "3_mask.png")
    with pytest.raises(ManifestError, match="are 30x41 and 30x42"):
        prepare(manifest, DataConfig(shrink=4), tmp_path)


@pytest.mark.parametrize("factor", [0, 65])
def test_a_factor_that_is_no_shrinking_is_refused(factor: int) -> None:
    with pytest.raises(ConfigError, match=f"shrink is {factor}; expected from 1 to 64"):
        DataConfig(shrink=factor)
    with pytest.raises(ValueError, match=f"shrink is {factor}"):
        Reading.from_json({"shrink": factor})


def test_a_mask_that_is_predicted_from_a_file_has_the_files_size(tmp_path: Path) -> None:
    manifest = images(tmp_path / "images")
    dataset = prepare(manifest, DataConfig(shrink=2), tmp_path / "cache")
    schedule = ScheduleConfig(epochs=30, cycles=1, lr_max=3e-2, batch_size=4, crop=16, validate_every=10)
    config = RunConfig("se", "absent", 0, dataset.fingerprint, NetworkConfig(width=4, depth=1), schedule)
    store = Store.at(tmp_path / "store")
    execute(config, dataset, store, torch.device("cpu"))
    folder = Path(store.run_folder(run_id(config)))
    sample = int(dataset.indices("test")[0])
    path = tmp_path / "images" / dataset.table["image"][sample]
    predictor = Predictor.load(folder)
    np.testing.assert_array_equal(decode_image(path, predictor.reading), dataset.image(sample))
    predict(folder, path, tmp_path / "out.png")
    written = np.asarray(Image.open(tmp_path / "out.png")) // 255
    np.testing.assert_array_equal(shrink_mask(written, 2), predictor.predict(dataset.image(sample), {}))
    truth = np.asarray(Image.open(path.with_name(f"{path.stem}_mask.png"))) // 255
    assert written.shape == truth.shape == (41, 30)
    assert 2 * (written & truth).sum() / (written.sum() + truth.sum()) > 0.8
