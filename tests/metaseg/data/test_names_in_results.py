"""A run whose metadata are called as our own columns: its results have both, apart."""

import io

import pandas as pd
import pytest
import torch

from metaseg.config import DataConfig, NetworkConfig, RunConfig, ScheduleConfig
from metaseg.data.preparation import prepare
from metaseg.datasets.table import read_table
from metaseg.store.runs import Store
from metaseg.study.execution import execute
from metaseg.study.run_id import run_id
from table_files import write_dataset

SPLITS = ["train"] * 6 + ["val"] * 3 + ["test"] * 3
VALUES = list("ab") * 12


@pytest.mark.parametrize("per", ["subgroup", "annotator"])
def test_results_keep_metadata_and_our_own_columns_apart(tmp_path, per):
    path = write_dataset(tmp_path / "d", split=SPLITS)
    frame = pd.read_csv(path)
    twice = frame.loc[frame.index.repeat(2)].assign(annotator=VALUES, subgroup=VALUES, row=VALUES, mean=range(24))
    twice.to_csv(path, index=False)
    told = ["row", "mean"] if per == "annotator" else ["subgroup", "row", "mean"]
    dataset = prepare(read_table(path, told, None, [per]), DataConfig(), tmp_path / "cache")
    config = RunConfig(
        "me",
        "true",
        0,
        dataset.fingerprint,
        NetworkConfig(width=4, depth=1),
        ScheduleConfig(epochs=1, cycles=1, crop=8, batch_size=4, validate_every=1),
    )
    store = Store.at(str(tmp_path / "store"))
    execute(config, dataset, store, torch.device("cpu"))
    images = pd.read_parquet(io.BytesIO(store.storage.read(f"runs/{run_id(config)}/images.parquet")))
    assert [name for name in images if name.startswith("meta_")] == [f"meta_{name}" for name in told]
    assert not images.duplicated(["image", "subgroup", "class", "evaluation"]).any()
    trained = images[images["evaluation"] == "as-trained"]
    order = ["i10.png", "i11.png", "i9.png"]  # as text is sorted
    assert trained["meta_mean"].tolist() == [2.0 * int(name[1:-4]) + k for name in order for k in range(2)]
    assert trained["meta_row"].tolist() == ["a", "b"] * 3
    assert (trained["group"].nunique(), len(trained)) == (3, 6)
    told_otherwise = images["evaluation"].str.partition("=")[0].unique()
    assert set(told_otherwise) == {"as-trained", "zeros", *told}
