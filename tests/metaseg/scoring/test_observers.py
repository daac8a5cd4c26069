"""Annotators' masks counted against each other, as a study's store keeps them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis.results.declaration import ResultsError
from analysis.results.observers import read_observers
from metaseg.config import ConfigError, DataConfig
from metaseg.data.dataset import Dataset
from metaseg.data.preparation import prepare
from metaseg.datasets.table import read_table
from metaseg.schema import observers_file
from metaseg.scoring.observers import observer_counts, write_observers
from metaseg.store.runs import Store
from table_files import write_dataset

WIDTHS = {("ah", "pen"): 2, ("ah", "mouse"): 3, ("vk", "pen"): 5}
"""Columns of 6 pixels that each annotator fills, with each tool, of 8."""


def prepared(folder: Path, config: DataConfig = DataConfig(folds=3)) -> Dataset:
    path = write_dataset(folder / "d")
    frame, tables = pd.read_csv(path), []
    for (annotator, tool), width in WIDTHS.items():
        pixels = np.zeros((6, 8), np.uint8)
        pixels[:, :width] = 255
        Image.fromarray(pixels).save(path.parent / f"{annotator}-{tool}.png")
        tables.append(frame.assign(mask=f"{annotator}-{tool}.png", annotator=annotator, tool=tool))
    pd.concat(tables).to_csv(path, index=False)
    return prepare(read_table(path, ["annotator", "tool"], None, ["annotator", "tool"]), config, folder / "cache")


def test_every_mask_is_counted_against_those_of_other_annotators(tmp_path):
    dataset = prepared(tmp_path)
    found = observer_counts(dataset, "annotator")
    assert len(found) == 12 * 4  # ah's two against vk's one, and vk's one against ah's two; never ah's own two
    assert set(found["other"][found["subgroup"] == "ah"]) == {"vk"}
    assert set(found["other"][found["subgroup"] == "vk"]) == {"ah"}
    own = found[(found["image"] == "i0.png (ah, mouse)") & (found["subgroup"] == "ah")]
    assert own[["tp", "fp", "fn", "tn"]].to_numpy().tolist() == [[18, 12, 0, 18]]
    against = found[(found["image"] == "i0.png") & (found["subgroup"] == "vk")]
    assert sorted(against[["tp", "fp", "fn", "tn"]].to_numpy().tolist()) == [[12, 0, 18, 18], [18, 0, 12, 18]]


def test_only_tested_images_are_counted(tmp_path):
    dataset = prepared(tmp_path, DataConfig())
    images = {name.split(" ")[0] for name in observer_counts(dataset, "annotator")["image"]}
    assert images == set(dataset.table["image"].iloc[dataset.indices("test")])


def test_a_store_has_them_and_refuses_damaged_ones(tmp_path):
    dataset, store = prepared(tmp_path), Store.at(str(tmp_path / "store"))
    assert read_observers(store.storage, "cells") is None
    write_observers(store, "cells", dataset, "annotator")
    found = read_observers(store.storage, "cells")
    pd.testing.assert_frame_equal(found, observer_counts(dataset, "annotator"), check_dtype=False)

    path = tmp_path / "store" / observers_file("cells")
    for changed, expected in (
        (found.drop(columns="other"), "no column 'other'"),
        (found.assign(tp="many"), "column 'tp' holds"),
        (found.assign(tp=-1), "column 'tp' has a number below 0"),
        (found.assign(image=None), "column 'image' has missing values"),
    ):
        changed.to_parquet(path)
        with pytest.raises(ResultsError, match=expected):
            read_observers(store.storage, "cells")
    path.write_bytes(b"PAR1")
    with pytest.raises(ResultsError, match=r"not Parquet.*the study's command writes it anew"):
        read_observers(store.storage, "cells")


def test_annotators_that_cannot_be_compared_are_refused(tmp_path):
    dataset = prepared(tmp_path)
    with pytest.raises(ConfigError, match="annotator is 'grader'; expected one of annotator, tool"):
        observer_counts(dataset, "grader")
    path = write_dataset(tmp_path / "alone", annotator=["ah"] * 12)
    alone = prepare(read_table(path, ["annotator"]), DataConfig(folds=3), tmp_path / "cache")
    with pytest.raises(ConfigError, match="no image has masks of two values of 'annotator'"):
        observer_counts(alone, "annotator")
