"""What is written for nnU-Net is in its format, and reads back as the same dataset."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from metaseg.config import ConfigError, DataConfig
from metaseg.data.manifest import ManifestError
from metaseg.data.metadata import MetadataColumn
from metaseg.data.preparation import prepare
from metaseg.datasets.nnunet import read_nnunet
from metaseg.datasets.nnunet_export import export_nnunet
from metaseg.datasets.source import Source
from metaseg.datasets.table import read_table
from table_files import write_dataset


@pytest.fixture
def dataset(tmp_path):
    """Prepared from a table: two classes, one image in colour, two named alike, a code that looks like a number."""
    path = write_dataset(
        tmp_path / "mine",
        batch=["007", "7", "007"] * 4,
        dose=(np.arange(12) / 7 + 1e-9).tolist(),
        bmi=[None, *range(20, 31)],
        group=["p 0"] * 2 + [f"p {number}" for number in range(1, 11)],
        split=["train"] * 6 + ["val"] * 3 + ["test"] * 3,
    )
    for number in range(12):
        mask = np.zeros((6, 8), np.uint8)
        mask[:, :2], mask[number % 6, 5] = 1, 2
        Image.fromarray(mask).save(path.parent / f"m{number}.png")
    colour = np.random.default_rng(1).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(colour).save(path.parent / "i3.png")
    for number, name in enumerate(("con/ä b.png", "CON/Ä B.png")):
        (path.parent / name).parent.mkdir()
        (path.parent / f"i{number}.png").rename(path.parent / name)
        path.write_text(path.read_text().replace(f"i{number}.png", name, 1))
    manifest = read_table(path, ["batch:categorical", "dose"])
    columns = (*manifest.metadata, MetadataColumn("bmi", "continuous", "mean"))
    manifest = replace(manifest, metadata=columns, about="SIMULATED images, of noise")
    return prepare(manifest, DataConfig(classes=("left", "dot")), tmp_path / "cache")


def test_what_is_written_reads_back_as_the_same_dataset(dataset, tmp_path):
    folder = export_nnunet(dataset, tmp_path / "raw", 7)
    assert folder == tmp_path / "raw" / "Dataset007_mine"
    manifest = read_nnunet(Source(folder, tmp_path))
    again = prepare(manifest, DataConfig(), tmp_path / "cache")
    assert (again.classes, again.metadata, again.about) == (dataset.classes, dataset.metadata, dataset.about)
    assert again.channels == dataset.channels == 3

    numbers = [int(image.split("/")[1].split("-")[0]) for image in again.table["image"]]
    assert sorted(numbers) == list(range(12))
    columns = ["split", "group", "subgroup", "height", "width", "mean", "std", "batch", "dose", "bmi"]
    ours = dataset.table.loc[numbers, columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(again.table[columns], ours, check_exact=True)
    for i, number in enumerate(numbers):
        np.testing.assert_array_equal(again.image(i), dataset.image(number))
        np.testing.assert_array_equal(again.mask(i), dataset.mask(number))

    (folder / "metadata.csv").write_text(
        pd.read_csv(folder / "metadata.csv", dtype=str).drop(columns="split").to_csv(index=False)
    )
    test = read_nnunet(Source(folder, tmp_path)).table["split"] == "test"
    assert test.tolist() == (manifest.table["split"] == "test").tolist()


def test_what_is_written_is_what_nnunet_expects(dataset, tmp_path):
    folder = export_nnunet(dataset, tmp_path, 7)
    content = json.loads((folder / "dataset.json").read_text())
    assert content["channel_names"] == {"0": "R", "1": "G", "2": "B"}
    assert content["labels"] == {"background": 0, "left": 1, "dot": 2}
    assert (content["numTraining"], content["file_ending"]) == (9, ".png")
    (fold,) = json.loads((folder / "splits_final.json").read_text())
    assert (len(fold["train"]), len(fold["val"])) == (6, 3)
    training = sorted(fold["train"] + fold["val"])
    assert sorted(path.stem for path in (folder / "labelsTr").iterdir()) == training
    assert sorted(path.name for path in (folder / "imagesTr").iterdir()) == [f"{case}_0000.png" for case in training]
    assert len(list((folder / "imagesTs").iterdir())) == len(list((folder / "labelsTs").iterdir())) == 3
    for path in folder.glob("images*/*"):
        assert re.fullmatch(r"\d{5}-[A-Za-z0-9-]*_0000\.png", path.name)
        assert Image.open(path).mode == "RGB"
    assert set(np.unique(Image.open(folder / "labelsTr" / f"{training[0]}.png"))) == {0, 1, 2}
    assert set(pd.read_csv(folder / "metadata.csv")) == {"case", "split", "group", "batch", "dose", "bmi"}


def test_it_is_written_once_and_never_over_something_else(dataset, tmp_path):
    folder = export_nnunet(dataset, tmp_path, 7)
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert export_nnunet(dataset, tmp_path, 7) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == stamps
    with pytest.raises(ConfigError, match=r"expected .* or a folder that doesn't exist yet"):
        export_nnunet(replace(dataset, fingerprint="other"), tmp_path, 7)
    with pytest.raises(ConfigError, match=r"dataset_id is 7, which Dataset007_mine in .* has; expected an unused one"):
        export_nnunet(replace(dataset, name="yours"), tmp_path, 7)


@pytest.mark.parametrize(
    ("changes", "number", "message"),
    [
        ({}, 0, "dataset_id is 0; expected 1 to 999"),
        ({}, 1000, "dataset_id is 1000; expected 1 to 999"),
        ({"classes": ("left", "ignore")}, 1, "a class is called 'ignore'"),
        ({"metadata": (MetadataColumn("case", "categorical"),)}, 1, "a metadata column is called 'case'"),
    ],
)
def test_what_the_format_has_no_room_for_is_an_error(dataset, tmp_path, changes, number, message):
    with pytest.raises(ConfigError, match=message):
        export_nnunet(replace(dataset, **changes), tmp_path / "raw", number)
    assert not (tmp_path / "raw").exists()


def test_real_slices_read_back_as_the_same_dataset(real_data, tmp_path):
    manifest = read_table(real_data / "kits_ct_slices" / "manifest.csv", ["radiographic_size_cm", "gender"], "case_id")
    dataset = prepare(manifest, DataConfig(classes=("kidney", "tumour")), tmp_path / "cache")
    folder = export_nnunet(dataset, tmp_path, 12)
    again = prepare(read_nnunet(Source(folder, tmp_path)), DataConfig(), tmp_path / "cache")
    numbers = [int(image.split("/")[1].split("-")[0]) for image in again.table["image"]]
    columns = ["split", "group", "mean", "radiographic_size_cm", "gender"]
    pd.testing.assert_frame_equal(
        again.table[columns], dataset.table.loc[numbers, columns].reset_index(drop=True), check_exact=True
    )
    for i, number in enumerate(numbers):
        np.testing.assert_array_equal(again.mask(i), dataset.mask(number))


def test_pixels_that_dont_count_have_nnunets_own_label(tmp_path):
    path = write_dataset(tmp_path / "holed", split=["train"] * 6 + ["val"] * 3 + ["test"] * 3)
    values = np.zeros((6, 8), np.uint8)
    values[:, :2], values[2, :] = 1, 255
    for number in range(12):
        Image.fromarray(values).save(path.parent / f"m{number}.png")
    holed = prepare(read_table(path, ()), DataConfig(ignore=255), tmp_path / "cache")
    folder = export_nnunet(holed, tmp_path / "raw", 7)
    assert json.loads((folder / "dataset.json").read_text())["labels"] == {
        "background": 0,
        "foreground": 1,
        "ignore": 2,
    }
    for mask in folder.glob("labels*/*.png"):
        np.testing.assert_array_equal(np.asarray(Image.open(mask)), np.where(values == 255, 2, values))
    with pytest.raises(ManifestError, match="ignore"):
        read_nnunet(Source(folder, tmp_path))
