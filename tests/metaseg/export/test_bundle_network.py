"""Parts of a MONAI bundle, without MONAI: rows in, masks out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from metaseg.export.bundle_network import ReadImage, SaveMask, read_rows

PASSPORT: dict[str, Any] = {
    "metadata": {"is_input": False, "columns": []},
    "image": {"channels": 1, "reading": {"kept": False, "every_channel": False, "shrink": 1}},
    "classes": ["cell"],
}


def table_of(folder: Path, images: list[str]) -> str:
    table = folder / "images.csv"
    table.write_text("\n".join(["image", *images]) + "\n")
    return str(table)


def test_equal_names_in_different_folders_have_a_mask_each(tmp_path: Path) -> None:
    images = {"a/1.png": 0, "b/1.png": 255, "2.png": 255}
    for image, value in images.items():
        (tmp_path / image).parent.mkdir(exist_ok=True)
        Image.new("L", (6, 5), value).save(tmp_path / image)
    read, save = ReadImage(PASSPORT), SaveMask(str(tmp_path / "masks"), PASSPORT)
    for row in read_rows(table_of(tmp_path, list(images)), PASSPORT):
        item = read(row)
        save(item | {"pred": item["image"] / 255})
    masks = {file.relative_to(tmp_path / "masks").as_posix(): file for file in (tmp_path / "masks").rglob("*.png")}
    assert set(masks) == set(images)
    for image, value in images.items():
        np.testing.assert_array_equal(np.asarray(Image.open(masks[image])), np.full((5, 6), value))


def test_masks_stay_in_their_folder(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    images = ["../images/1.tif", "/data/2.tif", "a/../a/3.tif", f"{tmp_path}/tables/b/4.tif"]
    rows = read_rows(table_of(tmp_path / "tables", images), PASSPORT)
    assert [row["mask"] for row in rows] == ["1.png", "2.png", "a/3.png", "b/4.png"]
    assert [row["path"] for row in rows] == [str(tmp_path / "tables" / image) for image in images]


@pytest.mark.parametrize("images", [["a/1.tif", "a/1.png"], ["/x/1.tif", "../1.tif"], ["1.tif", "1.tif"]])
def test_two_images_of_one_mask_are_an_error(tmp_path: Path, images: list[str]) -> None:
    with pytest.raises(ValueError, match=f"images '{images[0]}' and '{images[1]}' would have the same mask"):
        read_rows(table_of(tmp_path, images), PASSPORT)
