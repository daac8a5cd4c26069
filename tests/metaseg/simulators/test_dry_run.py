"""Dry runs of large simulations: few images are drawn, and say which share of the whole they are."""

from dataclasses import replace

import pytest

from metaseg.config import SPLITS, DataConfig
from metaseg.data.preparation import prepare
from metaseg.simulators import dry_run as sketch
from metaseg.simulators.annotation_styles import with_styles
from metaseg.simulators.anomalies import make_anomalies
from metaseg.simulators.dry_run import simulate
from metaseg.simulators.kidney_tumours import make_renal
from metaseg.simulators.settings import RENAL_CLASSES, AnomalyConfig, RenalConfig, StyleConfig, SyntheticConfig
from metaseg.simulators.seven_cells import make_seven_cells

SIMULATIONS = {
    "seven cells": (make_seven_cells, SyntheticConfig(images_per_line=200), DataConfig()),
    "anomalies": (make_anomalies, AnomalyConfig(images=2000), DataConfig()),
    "renal": (make_renal, RenalConfig(cases=300, slices_per_case=6), DataConfig(classes=RENAL_CLASSES)),
}


def quiet(done: int, total: int) -> None:
    """No progress."""


@pytest.mark.parametrize("name", SIMULATIONS)
def test_a_dry_run_draws_few_images_of_every_kind_at_full_size(name, tmp_path):
    make, config, data = SIMULATIONS[name]
    manifest = simulate(make, tmp_path, config, quiet, dry_run=True)
    assert not (tmp_path / config.name).exists()
    assert len(manifest.table["image"].unique()) == config.sketch().count <= 28
    assert manifest.share == config.sketch().count / config.count
    dataset = prepare(manifest, data, tmp_path / "cache")
    assert dataset.share == manifest.share
    assert (dataset.table["height"] == config.size).all()
    assert all(len(dataset.indices(split)) for split in SPLITS)
    assert dataset.table.groupby("subgroup")["split"].nunique().eq(3).all(), "stratified arms can be planned"


def test_what_is_small_or_there_already_is_whole(tmp_path, monkeypatch):
    small = RenalConfig(size=64, cases=10)
    assert simulate(make_renal, tmp_path, small, quiet, dry_run=True).share == 1
    assert (tmp_path / small.name).exists()
    monkeypatch.setattr(sketch, "SOON", 0)
    assert simulate(make_renal, tmp_path, small, quiet, dry_run=True).share == 1, "there already"
    other = replace(small, seed=1)
    assert simulate(make_renal, tmp_path, other, quiet, dry_run=True).share < 1
    assert simulate(make_renal, tmp_path, other, quiet, dry_run=False).share == 1


def test_styles_keep_the_share_and_how_results_are_broken_down(tmp_path):
    few = simulate(make_seven_cells, tmp_path, SyntheticConfig(images_per_line=200), quiet, dry_run=True)
    styled = with_styles(few, tmp_path, StyleConfig())
    assert (styled.share, styled.subgroup_column) == (few.share, "cell_line")
    dataset = prepare(styled, DataConfig(), tmp_path / "cache")
    assert dataset.subgroup_column == "cell_line"
    assert dataset.table["subgroup"].equals(dataset.table["cell_line"])
