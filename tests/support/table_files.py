"""Small datasets on disk, for tests of how they are read."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image


def write_dataset(folder: Path, count: int = 12, **columns: list[Any]) -> Path:
    """A CSV of distinct 8x6 grey images i0.png ... and masks m0.png ... (left half foreground), with `columns`."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for number in range(count):
        Image.fromarray(generator.integers(0, 256, (6, 8), dtype=np.uint8)).save(folder / f"i{number}.png")
        mask = np.zeros((6, 8), np.uint8)
        mask[:, :4] = 255
        Image.fromarray(mask).save(folder / f"m{number}.png")
    table = pd.DataFrame({"image": [f"i{n}.png" for n in range(count)], "mask": [f"m{n}.png" for n in range(count)]})
    table.assign(**columns).to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


def edit_csv(path: Path, row: int, column: str, value: object) -> None:
    """Change one cell; `row` counts from 0."""
    table = pd.read_csv(path, dtype=str)
    table.loc[row, column] = value
    table.to_csv(path, index=False)
