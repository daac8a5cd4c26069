"""Conditions that choose rows of a table."""

import numpy as np
import pandas as pd
import pytest

from metaseg.config import ConfigError
from metaseg.data.manifest import ManifestError
from metaseg.datasets.row_filter import keep_rows
from metaseg.datasets.table import read_table
from table_files import write_dataset


@pytest.fixture
def manifest(tmp_path):
    path = write_dataset(tmp_path / "d", source=["A", "B"] * 6, copy_of=["x", None, None] * 4, dice=np.arange(12) / 10)
    frame = pd.read_csv(path)
    frame.loc[11, "dice"] = np.nan
    frame.to_csv(path, index=False)
    return read_table(path, [])


@pytest.mark.parametrize(
    ("conditions", "kept"),
    [
        ([], list(range(12))),
        (["source=A"], [0, 2, 4, 6, 8, 10]),
        (["copy_of="], [1, 2, 4, 5, 7, 8, 10, 11]),
        (["dice>=0.8"], [8, 9, 10]),
        (["dice<=0.1"], [0, 1]),
        (["source=B", "copy_of=", "dice>=0.5"], [5, 7]),
    ],
)
def test_rows_that_meet_all_conditions_are_kept(manifest, conditions, kept):
    found = keep_rows(manifest, conditions)
    assert found.table["image"].tolist() == [f"i{row}.png" for row in kept]
    assert found.where(0) == f"row 1 (line {kept[0] + 2})"


def test_conditions_that_cannot_be_meant_are_refused(manifest):
    for condition in ("source", "=A", "source>A", "dice>=high"):
        with pytest.raises(ConfigError, match="only is '"):
            keep_rows(manifest, [condition])
    with pytest.raises(ManifestError, match="has no column 'sauce'; it has image, mask, source"):
        keep_rows(manifest, ["sauce=A"])
    with pytest.raises(ManifestError, match="no row meets source=A, dice>=2; expected some"):
        keep_rows(manifest, ["source=A", "dice>=2"])
