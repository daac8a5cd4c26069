"""The majority vote of several masks: what it is, and that no network is tested on it, nor sees it unasked."""

from dataclasses import replace
from pathlib import Path

import hypothesis.extra.numpy as arrays
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from metaseg.cli.study_summary import distribution
from metaseg.config import LEFT_OUT, DataConfig, NetworkConfig, RunConfig, ScheduleConfig, Subset
from metaseg.data.dataset import Dataset
from metaseg.data.manifest import Manifest, ManifestError
from metaseg.data.preparation import prepare
from metaseg.datasets.majority_vote import IS_VOTE, VOTE, majority_vote, with_majority_vote
from metaseg.datasets.table import read_table
from metaseg.study.arms import ARMS
from metaseg.study.evaluations import evaluate_test_images
from metaseg.study.plan import plan
from metaseg.training.fit import encode_metadata, fit
from studies.annotators import MAJORITY, SEEN
from table_files import write_dataset

ANNOTATORS = ("ah", "mk", "vk")
SMALL = NetworkConfig(width=2, depth=1), ScheduleConfig(epochs=1, crop=8)
CONFIGS = {"folds": DataConfig(folds=3), "split": DataConfig()}


@pytest.fixture
def table(tmp_path) -> Path:
    """Twelve images, each with masks by three annotators, which differ in how many columns they fill."""
    path = write_dataset(tmp_path / "d")
    frame = pd.read_csv(path).assign(dose=np.arange(12) / 4)
    tables = []
    for columns, name in enumerate(ANNOTATORS, start=2):
        own = frame.assign(annotator=name, mask=[f"{name}{k}.png" for k in range(12)])
        for k, mask in enumerate(own["mask"]):
            pixels = np.zeros((6, 8), np.uint8)
            pixels[: 1 + k % 3, :columns] = 255
            Image.fromarray(pixels).save(path.parent / mask)
        tables.append(own)
    pd.concat(tables).to_csv(path, index=False)
    return path


def voted(path: Path, metadata: tuple[str, ...] = ("annotator",)) -> Manifest:
    return with_majority_vote(read_table(path, metadata, None, ["annotator"]), path.parent.parent / "scratch")


def prepared(path: Path, config: DataConfig, metadata: tuple[str, ...] = ("annotator",)) -> Dataset:
    return prepare(voted(path, metadata), config, path.parent.parent / "cache")


@given(st.integers(1, 7).flatmap(lambda count: arrays.arrays(np.bool_, (count, 3, 4))))
def test_the_vote_is_what_at_least_half_of_the_masks_have(masks):
    found = majority_vote(list(masks))
    for row in range(3):
        for column in range(4):
            ballots = [bool(mask[row, column]) for mask in masks]
            assert found[row, column] == (ballots.count(True) >= ballots.count(False))


def test_each_row_is_repeated_with_the_vote_as_its_mask(table):
    manifest = voted(table, ("annotator", "dose"))
    own, votes = manifest.table[:36], manifest.table[36:].reset_index(drop=True)
    assert set(own[IS_VOTE]) == {"no"}
    assert set(votes[IS_VOTE]) == {"yes"}
    assert votes["annotator"].tolist() == [f"{VOTE}, {name}" for name in own["annotator"]]
    assert votes["dose"].equals(own["dose"])
    read = {mask: np.asarray(Image.open(manifest.mask_file(mask))) for mask in manifest.table["mask"]}
    first = pd.read_csv(table)
    for row in range(36):
        assert (read[own["mask"][row]] == np.asarray(Image.open(table.parent / first["mask"][row]))).all()
        assert (read[votes["mask"][row]] == read[own["mask"][12 + row % 12]]).all()  # the second of three nested masks
    assert manifest.where(36) == "row 37 (line 2)"


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_the_vote_is_trained_on_where_its_image_is_and_never_tested(table, config):
    dataset = prepared(table, config)
    assert len(dataset.table) == (72 if config.folds else 66)  # six of the vote are of images that are tested
    for view in dataset.views:
        is_vote = (view.values[IS_VOTE] == "yes").to_numpy()
        assert (view.is_trained_only == is_vote).all()
        assert not is_vote[view.indices("test")].any()
        for _, rows in view.table.assign(is_vote=is_vote).groupby("image"):
            (split,) = set(rows.loc[~rows["is_vote"], "split"])
            of_vote = set(rows.loc[rows["is_vote"], "split"])
            assert of_vote == ({split} if split != "test" else {LEFT_OUT} if config.folds else set())
    if config.folds:
        assert not dataset.is_trained_only[dataset.tested].any()
        assert len(dataset.tested) == 36
        assert distribution(dataset)["all"].sum() == 36
    assert dataset.open(dataset.path).trained_only == IS_VOTE


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_only_the_arm_of_the_vote_sees_it(table, config):
    dataset = prepared(table, config)
    names = ["baseline", "baseline-stratified", MAJORITY.name, "sme", "sme-dummy", "sme-shuffled", "heads"]
    study = plan("s", dataset, names, 1, more_arms=(*SEEN, MAJORITY))
    assert {run.part for run in study.runs if run.arm.stratified} == set(ANNOTATORS)
    sizes = set()
    for run in study.runs:
        view = study.dataset_of(run)
        for split in ("train", "val"):
            rows = view.indices(split, run.config.subset)
            assert set(view.is_trained_only[rows]) == {run.arm is MAJORITY}
        tested = view.indices("test", run.config.subset)
        assert not view.is_trained_only[tested].any()
        if not run.arm.stratified:
            sizes.add((run.config.fold, study.sample_count(run), len(tested)))
    assert len(sizes) == len(dataset.views)  # the vote's arm takes as many steps, and is tested on the same rows
    assert ("sme", "sme-dummy") in {(each.arm, each.reference) for each in study.comparisons}


def test_networks_are_told_annotators_and_nothing_of_the_vote(table):
    dataset = prepared(table, CONFIGS["folds"]).of_fold("0")
    alone = prepare(read_table(table, ["annotator"], None, ["annotator"]), CONFIGS["folds"], table.parent / "cache")
    for name in ("sme", "sme-shuffled"):
        run = RunConfig("sme", ARMS[name].metadata_mode, 0, dataset.fingerprint, *SMALL, fold="0")
        encoder, vectors = encode_metadata(run, dataset)
        assert encoder.codes[0].vocabulary == ANNOTATORS
        votes, told = dataset.is_trained_only, vectors.numpy()
        assert not told[votes].any()
        assert (told[~votes].sum(axis=1) == 1).all()
        if name == "sme":
            without, own = encode_metadata(replace(run, dataset=alone.fingerprint), alone.of_fold("0"))
            assert encoder.to_json() == without.to_json()
            assert (told[~votes] == own.numpy()).all()


def test_networks_that_are_told_several_columns_are_tested_with_each_value_of_each(table):
    """The vote's annotator isn't one that an encoder knows, and stays out of it when another column is changed."""
    frame = pd.read_csv(table).assign(tool=lambda rows: np.where(rows.index % 2, "pen", "mouse"))
    frame.to_csv(table, index=False)
    dataset = prepared(table, CONFIGS["folds"], ("annotator", "tool"))
    run = RunConfig("sme", "true", 0, dataset.fingerprint, *SMALL, subset=SEEN[0].subset, fold="0")
    fitted = fit(run, dataset, torch.device("cpu"))
    tested = evaluate_test_images(run, fitted, dataset.of_fold("0"), torch.device("cpu"))
    assert {"tool=pen", "tool=mouse", *(f"annotator={name}" for name in ANNOTATORS)} <= set(tested["evaluation"])
    assert set(tested["meta_annotator"]) == set(ANNOTATORS)


def test_left_out_groups_leave_votes_out_too(table):
    frame = pd.read_csv(table)
    frame["group"] = frame["image"]
    frame.to_csv(table, index=False)
    dataset = prepared(table, DataConfig(folds="groups"))
    view = dataset.of_fold("i0.png")
    assert sorted(view.table.loc[view.table["image"] == "i0.png", "split"]) == [LEFT_OUT] * 3 + ["test"] * 3
    encode_metadata(RunConfig("sme", "true", 0, dataset.fingerprint, *SMALL, fold="i0.png"), view)


def test_errors_name_the_place_and_what_was_expected(table):
    frame = pd.read_csv(table)

    def refused(changed: pd.DataFrame) -> str:
        changed.to_csv(table, index=False)
        with pytest.raises(ManifestError) as error:
            voted(table)
        return str(error.value)

    alone = frame[(frame["image"] != "i3.png") | (frame["annotator"] == "ah")]
    assert "row 4 (line 5): image 'i3.png' has one mask; expected two or more" in refused(alone)
    assert "12 problems" in refused(frame[frame["annotator"] == "ah"])
    assert f"has a column '{IS_VOTE}' of its own" in refused(frame.assign(**{IS_VOTE: "x"}))
    assert f"'annotator' is '{VOTE}'" in refused(frame.replace({"annotator": {"vk": VOTE}}))
    Image.fromarray(np.ones((6, 9), np.uint8)).save(table.parent / "vk1.png")
    assert "row 26 (line 27): its mask and the image's first one are 9x6 and 8x6" in refused(frame)


def test_trained_only_must_be_a_stratum(table):
    with pytest.raises(ManifestError, match="trained_only is 'annotator'; expected one of the strata"):
        replace(read_table(table, ["annotator"], None, ["annotator"]), trained_only="annotator")


def test_arms_of_the_page_are_those_of_all_studies(table):
    assert {arm.name for arm in SEEN} == set(ARMS)
    assert {arm.subset for arm in SEEN} == {None, Subset(IS_VOTE, "no", ("train", "val"))}
