"""Pictures of trained networks: the rule that chooses images, and what is drawn for what a study has."""

import io

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from metaseg.config import NetworkConfig, ScheduleConfig
from metaseg.pictures.choose import both, chosen, overlays, probabilities, sweep
from metaseg.store.runs import Store
from metaseg.study.execution import execute
from metaseg.study.plan import plan


@pytest.fixture(scope="module")
def trained(tiny_dataset, tmp_path_factory):
    """A study of which all runs are done."""
    store = Store.at(tmp_path_factory.mktemp("store"))
    schedule = ScheduleConfig(epochs=1, batch_size=8, crop=16)
    arms = ["baseline", "baseline-stratified", "sme"]
    study = plan("tiny", tiny_dataset, arms, 1, NetworkConfig(width=4, depth=1), schedule)
    for run in study.runs:
        execute(run.config, tiny_dataset, store, torch.device("cpu"))
    return study, store


@pytest.mark.parametrize(
    "draw",
    [
        overlays(("baseline", "sme")),
        overlays(("baseline-stratified", "sme")),
        probabilities(("baseline", "sme"), column="line"),
        sweep("sme", "foreground"),
    ],
)
def test_pictures_are_whole_png_files(trained, draw):
    ((name, content),) = draw(*trained).items()
    assert name in ("overlays.png", "probabilities.png", "sweep.png")
    with Image.open(io.BytesIO(content)) as picture:
        assert min(picture.size) > 100


def test_a_study_without_the_arms_gets_no_picture(trained):
    assert both(overlays(("baseline", "film")), sweep("me", "foreground"))(*trained) == {}


def test_the_median_image_of_each_subgroup_is_chosen_never_the_best(tiny_dataset):
    test = tiny_dataset.table.iloc[tiny_dataset.indices("test")]
    gain = pd.Series(np.arange(len(test)) / 10, pd.MultiIndex.from_frame(test[["image", "subgroup"]]))
    samples = chosen(tiny_dataset, gain, 1)
    assert tiny_dataset.table["subgroup"].iloc[samples].tolist() == ["a", "b", "c"]
    for sample in samples:
        line = tiny_dataset.table["subgroup"].iloc[sample]
        of_line = gain[gain.index.get_level_values("subgroup") == line].sort_values()
        assert of_line.index[round(0.5 * (len(of_line) - 1))][0] == tiny_dataset.table["image"].iloc[sample]
