"""The page on rare tasks: a study for each number of masks, and one curve of them all."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis.figures.rarity import COLUMNS, build_rarity, rarity_curve
from checkout import ROOT
from metaseg.config import ConfigError, DataConfig
from metaseg.terminal import Terminal
from studies.anomalies import BASELINE
from studies.rarity import PRESETS, Rarity, run


def test_each_study_limits_the_rare_task_alone_and_keeps_the_other_options():
    options = Rarity(seeds=5, task="debris", data=DataConfig(folds=4, limit_training=("debris=99", "nuclei=30")))
    asked = options.at(8)
    assert asked.data == DataConfig(folds=4, limit_training=("nuclei=30", "debris=8"))
    assert (asked.seeds, asked.arms, asked.equal_steps) == (5, Rarity.arms, True)
    assert set(PRESETS) == {"quick", "small", "paper"}
    assert all(preset.equal_steps for preset in PRESETS.values())
    assert PRESETS["paper"].network.width > PRESETS["quick"].network.width


def report(difference: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A study's tables, in which sme differs from the baseline by `difference` on the rare task."""
    subgroups = ["Average", "rare", "common"]
    cells = pd.DataFrame(
        [(arm, subgroup, 40, 5, 2, 0.5 + difference * (arm == "sme"), 0.01)
         for arm in (BASELINE, "sme") for subgroup in subgroups],
        columns=["arm", "subgroup", "n_images", "n_folds", "n_seeds", "mean", "sd"],
    )  # fmt: skip
    tests = pd.DataFrame(
        [("sme", reference, subgroup, difference, difference - 0.02, difference + 0.02)
         for reference in (BASELINE, "sme-dummy") for subgroup in subgroups],
        columns=["arm", "reference", "subgroup", "difference", "ci_low", "ci_high"],
    )  # fmt: skip
    cells, tests = cells.assign(**{"class": "foreground"}), tests.assign(**{"class": "foreground"})
    return cells, tests.assign(difference=tests["difference"].where(tests["subgroup"] == "rare", 9.0))


def test_the_curve_holds_each_studys_scores_and_differences_of_the_rare_task():
    curve = rarity_curve({32: report(0.0), 8: report(0.1)}, "rare", BASELINE)
    assert list(curve) == list(COLUMNS)
    assert curve["samples"].tolist() == [8, 8, 32, 32]
    told = curve[curve["arm"] == "sme"]
    np.testing.assert_allclose(told["mean"], [0.6, 0.5])
    np.testing.assert_allclose(told[["difference", "ci_low", "ci_high"]], [[0.1, 0.08, 0.12], [0.0, -0.02, 0.02]])
    assert curve.loc[curve["arm"] == BASELINE, "difference"].isna().all()
    scores, differences = build_rarity(curve, "rare", BASELINE).axes
    assert [line.get_xdata()[0] for line in scores.lines] == pytest.approx([8, 8], rel=0.1)
    assert [label.get_text() for label in differences.get_xticklabels()] == ["8", "32"]


def test_of_several_classes_their_mean_is_drawn():
    cells, tests = report(0.1)
    classes = [pd.concat([table.assign(**{"class": name}) for name in ("a", "b")]) for table in (cells, tests)]
    mean = [table.assign(**{"class": "macro"}) for table in report(0.2)]
    both = tuple(pd.concat(pair, ignore_index=True) for pair in zip(classes, mean, strict=True))
    curve = rarity_curve({8: both}, "rare", BASELINE)
    assert curve["arm"].tolist() == [BASELINE, "sme"]
    assert curve["difference"].iloc[1] == pytest.approx(0.2)


def test_a_count_that_cant_be_is_refused_before_anything_trains(tmp_path):
    options = replace(PRESETS["quick"], counts=(8, 1), storage=str(tmp_path / "store"))
    with pytest.raises(ConfigError, match="limit_training is 'anomaly=1'"):
        run(options, Terminal())
    assert not (tmp_path / "store").exists()


@pytest.mark.slow
def test_the_page_trains_a_study_for_each_number_and_draws_the_curve(tmp_path):
    arguments = [
        "--counts", 6, 3, "--seeds", 1, "--epochs", 1, "--width", 2, "--depth", 1, "--crop", 32, "--folds", 2,
        "--synthetic.images", 60, "--synthetic.size", 64,
    ]  # fmt: skip
    environment = {**os.environ, "METASEG_STORE": str(tmp_path / "store")}
    page = [sys.executable, ROOT / "studies" / "rarity.py", *map(str, arguments)]
    done = subprocess.run(page, capture_output=True, text=True, timeout=300, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    reports = tmp_path / "store" / "reports"
    names = {path.name for path in reports.iterdir()}
    name, *studies = "rarity", "anomalies-anomaly_6", "anomalies-anomaly_3"
    assert names == {f"{each}-equal_steps-2_folds" for each in (name, *studies)}
    reports /= f"{name}-equal_steps-2_folds"
    curve = pd.read_csv(reports / "rarity.csv")
    assert sorted(curve["samples"].unique()) == [3, 6]
    with Image.open(reports / "rarity.png") as picture:
        assert picture.size[0] > 500
    assert "rarity.png" in done.stdout
