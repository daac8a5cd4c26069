"""The page of annotators: what it plans, what it refuses, and that it finds who draws how, where they differ."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.ndimage import binary_dilation

from analysis.probes.observers import human_scores
from analysis.results.observers import read_observers
from checkout import ROOT
from metaseg.config import ConfigError, DataConfig, NetworkConfig, ScheduleConfig
from metaseg.data.manifest import ManifestError
from metaseg.store.runs import Store
from metaseg.study.evaluations import evaluate_test_images
from metaseg.training.fit import fit
from metaseg.training.metrics import f1_score
from studies.annotators import MAJORITY, STUDY

WIDE = 3
"""Pixels by which the second annotator draws wider."""


def simulate(folder: Path, wider: int, count: int = 18) -> Path:
    """Bright squares drawn by two annotators: one exactly, the other wider by so many pixels."""
    folder.mkdir()
    rows = []
    for number in range(count):
        rng = np.random.default_rng(number)
        mask = np.zeros((32, 32), bool)
        top, left = rng.integers(5, 16, 2)
        mask[top : top + 10, left : left + 10] = True
        image = np.clip(60 + 120 * mask + rng.normal(0, 15, mask.shape), 0, 255)
        Image.fromarray(image.astype(np.uint8)).save(folder / f"i{number}.png")
        for who, drawn in (("exact", mask), ("wide", binary_dilation(mask, iterations=wider) if wider else mask)):
            Image.fromarray((255 * drawn).astype(np.uint8)).save(folder / f"{who}{number}.png")
            rows.append({"image": f"i{number}.png", "mask": f"{who}{number}.png", "who": who})
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


def options(table: Path, **settings: object):
    chosen = {"annotator": "who", "seeds": 1, "data": DataConfig(folds=3)} | settings
    return STUDY.options(manifest=table, storage=str(table.parent.parent / "store"), **chosen)


def test_masks_of_one_annotator_or_of_an_unknown_one_are_refused(tmp_path):
    table = simulate(tmp_path / "d", WIDE)
    with pytest.raises(ManifestError, match="has no column 'grader'"):
        STUDY.plan(options(table, annotator="grader"))
    with pytest.raises(ManifestError, match="has one mask; expected two or more"):
        STUDY.plan(options(table, only=("who=wide",)))
    with pytest.raises(ConfigError, match="ignore is 255; expected none: the majority vote is of masks above 0"):
        STUDY.plan(options(table, data=DataConfig(folds=3, ignore=255)))


def test_without_the_arm_of_the_vote_there_is_no_vote(tmp_path):
    table = simulate(tmp_path / "d", WIDE)
    study = STUDY.plan(options(table, arms=("baseline", "sme")))
    assert study.dataset.trained_only is None
    assert {run.config.subset for run in study.runs} == {None}


def trained(table: Path, arms: tuple[str, ...]) -> dict[str, pd.DataFrame]:
    """F1 of each arm on the first fold's test images, by evaluation and annotator; the store gets humans' counts."""
    network, schedule = (
        NetworkConfig(width=4, depth=2),
        ScheduleConfig(epochs=24, shape="one-cycle", lr_max=2e-2, batch_size=4, crop=32, validate_every=8),
    )
    study = STUDY.plan(options(table, arms=arms, network=network, schedule=schedule))
    found = {}
    for run in study.runs:
        if run.config.fold == "0":
            view = study.dataset_of(run)
            fitted = fit(run.config, view, torch.device("cpu"))
            rows = evaluate_test_images(run.config, fitted, view, torch.device("cpu"))
            rows["f1"] = f1_score(rows[["tp", "fp", "fn", "tn"]].to_numpy())
            found[run.arm.name] = rows.groupby(["evaluation", "subgroup"])["f1"].mean()
    store = Store.at(str(table.parent.parent / "store"))
    STUDY.page(options(table, arms=arms)).record(study, store)
    return found


@pytest.mark.slow
def test_an_annotator_who_draws_wider_is_told_from_one_who_does_not(tmp_path):
    table = simulate(tmp_path / "d", WIDE)
    found = trained(table, ("baseline", MAJORITY.name, "sme"))
    told, pooled, vote = found["sme"], found["baseline"], found[MAJORITY.name]
    assert told["as-trained"].mean() > pooled["as-trained"].mean() + 0.05
    assert told["as-trained"].min() > told[["who=exact", "who=wide"]].max() + 0.1
    assert vote["as-trained", "wide"] > vote["as-trained", "exact"] + 0.1  # of two masks, the vote is their union
    humans = human_scores(
        read_observers(Store.at(str(tmp_path / "store")).storage, "annotators-d-table-3_folds"),
        "foreground",
        "f1",
        "one",
    )
    assert len(humans) == 36
    assert told["as-trained"].min() > humans["human"].mean() + 0.05


@pytest.mark.slow
def test_annotators_who_draw_alike_are_not_told_apart(tmp_path):
    table = simulate(tmp_path / "d", 0)
    found = trained(table, ("baseline", "sme"))
    told, pooled = found["sme"], found["baseline"]
    assert abs(told["as-trained"].mean() - pooled["as-trained"].mean()) < 0.03
    assert (told[["who=exact", "who=wide"]].droplevel(0) - told["as-trained"]).abs().max() < 0.03
    humans = read_observers(Store.at(str(tmp_path / "store")).storage, "annotators-d-table-3_folds")
    assert not humans[["fp", "fn"]].to_numpy().any()


@pytest.mark.slow
def test_a_study_that_was_trained_before_gets_the_table_of_humans_without_training(tmp_path):
    table, store = simulate(tmp_path / "d", WIDE), tmp_path / "store"
    tiny = ["--folds", "2", "--seeds", "2", "--epochs", "1", "--width", "2", "--depth", "1", "--crop", "16"]
    arms = ["--arms", "baseline", "baseline-stratified", MAJORITY.name, "sme"]

    def run() -> str:
        command = [sys.executable, ROOT / "studies" / "annotators.py", "--manifest", table, "--annotator", "who"]
        return subprocess.run(
            [*map(str, command), *tiny, *arms, "--storage", str(store)],
            capture_output=True, text=True, timeout=300, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
        ).stdout  # fmt: skip

    run()
    report, runs = store / "reports" / "annotators-d-table-2_folds", sorted((store / "runs").iterdir())
    humans = pd.read_csv(report / "humans.csv")
    assert len(humans) == 4 * 3
    assert {"overlays.png", "swapped.csv", "distribution.csv"} <= {path.name for path in report.iterdir()}
    shutil.rmtree(store / "observers")
    shutil.rmtree(report)
    assert "20 runs, 20 already done" in run()
    pd.testing.assert_frame_equal(pd.read_csv(report / "humans.csv"), humans)
    assert sorted((store / "runs").iterdir()) == runs
