"""Images of 16 bits: a warning names those of which 8 bits leave hardly anything."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from metaseg.config import DataConfig
from metaseg.data.depth import to_8_bits
from metaseg.data.preparation import prepare
from metaseg.datasets.table import read_table


def write(folder: Path, outliers: float, top: int = 65535, kind: type[np.unsignedinteger] = np.uint16) -> Path:
    """Six images, a share of whose first two's pixels is at `top`."""
    rng, side = np.random.default_rng(0), 64
    for k in range(6):
        pixels = rng.integers(100, 200, (side, side)).astype(kind)
        if k < 2:
            pixels.ravel()[rng.permutation(side * side)[: round(outliers * side * side)]] = top
        tifffile.imwrite(folder / f"i{k}.tif", pixels)
        Image.fromarray(np.eye(side, dtype=np.uint8)).save(folder / f"m{k}.png")
    table = pd.DataFrame({"image": [f"i{k}.tif" for k in range(6)], "mask": [f"m{k}.png" for k in range(6)]})
    table["split"] = ["train", "train", "train", "val", "test", "test"]
    table.to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


def test_images_with_few_levels_left_are_named_each_time(tmp_path: Path) -> None:
    table = write(tmp_path, outliers=0.004)
    for _ in range(2):  # decoded, and found decoded
        with pytest.warns(
            UserWarning, match=r"2 images of 16 bits have hardly any .*: i0\.tif \(\d\), i1\.tif \(\d\)\."
        ):
            prepare(read_table(table, ()), DataConfig(), tmp_path / "cache")


@pytest.mark.parametrize(
    ("outliers", "top", "kind"),
    [
        (0.0, 0, np.uint16),
        (0.0005, 65535, np.uint16),
        (0.004, 400, np.uint16),
        (0.3, 65535, np.uint16),
        (0.004, 255, np.uint8),
    ],
    ids=["plain", "a hot pixel", "a bright spot", "bright objects", "8 bits"],
)
def test_images_that_keep_their_levels_are_no_matter_for_a_warning(
    tmp_path: Path, outliers: float, top: int, kind: type[np.unsignedinteger]
) -> None:
    table = write(tmp_path, outliers, top, kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepare(read_table(table, ()), DataConfig(), tmp_path / "cache")


def test_bright_spots_are_no_hot_pixels() -> None:
    """A spot of less than a thousandth of the image is what there is to see, however much it takes from the others."""
    stored = np.random.default_rng(0).integers(300, 305, (256, 256)).astype(np.uint16)
    stored[100:106, 50:56] = 5000
    pixels = to_8_bits(stored)
    assert (pixels == 255).sum() == 36
    stored[100:106, 50:56] = 302
    stored[::40, ::37] = 5000
    assert len(np.unique(to_8_bits(stored))) == 5
