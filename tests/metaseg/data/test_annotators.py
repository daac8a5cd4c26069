"""Several masks of one image: columns tell its rows apart, its pixels lie once, and it is one unit."""

import numpy as np
import pandas as pd
import pytest
import torch

from metaseg.config import ConfigError, DataConfig
from metaseg.data.crops import HostCutter, Placement, ResidentCutter
from metaseg.data.dataset import Dataset
from metaseg.data.manifest import ManifestError
from metaseg.data.preparation import prepare
from metaseg.datasets import layouts
from metaseg.datasets.source import Source
from metaseg.datasets.table import read_table
from table_files import write_dataset

SPLITS = ["train"] * 6 + ["val"] * 3 + ["test"] * 3
COLUMNS = ("annotator", "task", "style")


@pytest.fixture
def table(tmp_path):
    """Twelve images, each with a row for two annotators, which are also two tasks and two styles."""
    path = write_dataset(tmp_path / "d", split=SPLITS)
    frame = pd.read_csv(path)
    both = pd.concat([frame.assign(**dict.fromkeys(COLUMNS, "ah")), frame.assign(**dict.fromkeys(COLUMNS, "vk"))])
    both.loc[both["annotator"] == "vk", "mask"] = [f"m{(k + 1) % 12}.png" for k in range(12)]
    both.to_csv(path, index=False)
    return path


def prepared(path, metadata, per, *, config=DataConfig()) -> Dataset:
    return prepare(read_table(path, metadata, None, per), config, path.parent / "cache")


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("seen", [True, False], ids=["metadata", "not metadata"])
def test_a_column_tells_rows_of_an_image_apart(table, column, seen):
    dataset = prepared(table, [column] if seen else [], [column])
    assert len(dataset.table) == 24
    assert dataset.table["group"].equals(dataset.table["image"])
    assert dataset.values[column].tolist() == ["ah", "vk"] * 12
    names = ["i0.png", "i0.png"] if seen else ["i0.png (ah)", "i0.png (vk)"]
    assert dataset.names.tolist()[:2] == names
    assert not pd.DataFrame({"name": dataset.names, "subgroup": dataset.table["subgroup"]}).duplicated().any()


def test_rows_that_nothing_tells_apart_are_refused_with_the_option(table):
    with pytest.raises(ManifestError, match=r"row 13 \(line 14\): image 'i0\.png' is also row 1 .*\(--per\)"):
        read_table(table, ["annotator"])
    frame = pd.read_csv(table)
    pd.concat([frame, frame.head(1)]).to_csv(table, index=False)
    with pytest.raises(ManifestError, match=r"also row 1 \(line 2\) with the same annotator \(ah\)"):
        read_table(table, [], None, ["annotator"])
    with pytest.raises(ManifestError, match="has no column 'grader'"):
        read_table(table, [], None, ["grader"])


def test_an_image_in_two_groups_or_splits_is_refused(table):
    with pytest.raises(ManifestError, match=r"image 'i0.png' has group 'vk', but 'ah'"):
        read_table(table, [], "annotator", ["annotator"])


def test_pixels_of_an_image_are_stored_once(table):
    dataset = prepared(table, ["annotator"], ["annotator"])
    assert (dataset.path / "images.bin").stat().st_size == 12 * 48
    assert (dataset.path / "masks.bin").stat().st_size == 24 * 48
    alone = prepared(write_dataset(table.parent.parent / "alone", split=SPLITS), [], [])
    of_alone = {image: alone.image(row) for row, image in enumerate(alone.table["image"])}
    for row, image in enumerate(dataset.table["image"]):
        np.testing.assert_array_equal(dataset.image(row), of_alone[image])
    samples = np.arange(24)
    placement = Placement.draw(dataset, samples, 4, 0, 0)
    device = torch.device("cpu")
    for host, resident in zip(
        HostCutter(dataset, device)(placement, 4), ResidentCutter(dataset, device)(placement, 4), strict=True
    ):
        assert torch.equal(host, resident)


def test_the_order_of_rows_and_of_the_columns_changes_nothing(table):
    config = DataConfig(limit_per_group=12)
    first = prepared(table, [], ["annotator", "style"], config=config)
    pd.read_csv(table).sample(frac=1, random_state=1).to_csv(table, index=False)
    second = prepared(table, [], ["style", "annotator"], config=config)
    assert first.fingerprint == second.fingerprint
    assert first.names.tolist() == second.names.tolist()


def test_a_dataset_that_stored_an_image_for_each_row_is_still_read(table):
    dataset = prepared(table, ["annotator"], ["annotator"])
    images = [dataset.image(row).copy() for row in range(24)]
    (dataset.path / "images.bin").write_bytes(b"".join(image.tobytes() for image in images))
    record = dataset.path / "dataset.json"
    record.write_text(record.read_text().replace(', "images_once": true', ""))
    earlier = Dataset.open(dataset.path)
    for row in range(24):
        np.testing.assert_array_equal(earlier.image(row), images[row])


def test_layouts_that_know_their_rows_refuse_the_option(tmp_path):
    with pytest.raises(ConfigError, match="per is annotator, but layout 'dsb2018'"):
        layouts.read("dsb2018", Source(tmp_path, tmp_path, per=("annotator",)))
