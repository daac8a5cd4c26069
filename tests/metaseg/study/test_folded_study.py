"""A study of a dataset with folds: a run for each arm, seed and fold, and every image is predicted out of fold."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image
from rich.console import Console

from metaseg.cli.status import study_statuses
from metaseg.cli.study_summary import distribution, print_data
from metaseg.config import ConfigError, EngineConfig, NetworkConfig, ScheduleConfig, Subset
from metaseg.pictures import choose
from metaseg.schema import AS_TRAINED, score_file
from metaseg.scoring.study import score_study
from metaseg.store.runs import Store
from metaseg.study.arm_data import check_arm
from metaseg.study.arms import Arm
from metaseg.study.estimate import print_estimate
from metaseg.study.execution import execute
from metaseg.study.plan import plan

NETWORK, SCHEDULE = NetworkConfig(width=2, depth=1), ScheduleConfig(epochs=1, batch_size=8, crop=16)


def make(dataset, arms=("baseline", "sme"), seeds=2, **settings):
    return plan("study", dataset, arms, seeds, NETWORK, SCHEDULE, **settings)


@pytest.fixture(scope="module")
def trained(folded_dataset, tmp_path_factory):
    """A study of which all runs are done, and its store."""
    study, store = make(folded_dataset, seeds=1), Store.at(tmp_path_factory.mktemp("store"))
    study.declare(store)
    for run in study.runs:
        execute(run.config, folded_dataset, store, torch.device("cpu"))
    store.cache.mkdir(parents=True)
    (store.cache / folded_dataset.fingerprint).symlink_to(folded_dataset.path)
    return study, store


def test_every_arm_and_seed_has_a_run_in_each_fold_one_seed_after_the_other(folded_dataset):
    study = make(folded_dataset)
    assert [run.label for run in study.runs] == [
        f"{arm} seed {seed} fold {fold}" for seed in (0, 1) for fold in "012" for arm in ("baseline", "sme")
    ]
    assert len({run.run_id for run in study.runs}) == 12
    assert {run.run_id for run in make(folded_dataset, seeds=1).runs} < {run.run_id for run in study.runs}
    record = json.loads(json.dumps(study.record([])))
    assert record["folds"] == {"kind": "drawn", "names": ["0", "1", "2"]}
    assert [run["fold"] for run in record["runs"]] == [run.config.fold for run in study.runs]
    sizes = {study.sample_count(run) for run in study.runs}
    assert sizes == {len(view.indices("train")) for view in folded_dataset.views}


def test_networks_on_fewer_images_may_train_for_as_many_steps(folded_dataset):
    arms = ("baseline", "baseline-stratified")
    plain, equal = (make(folded_dataset, arms, seeds=1, equal_steps=equal) for equal in (False, True))
    assert {run.config.schedule for run in plain.runs} == {SCHEDULE}
    assert equal.runs[0].run_id == plain.runs[0].run_id, "a network on all images is the same run"
    for run in equal.runs:
        whole = len(folded_dataset.of_fold(run.config.fold).indices("train"))
        crops = run.config.schedule.epochs * equal.sample_count(run)
        assert abs(crops - whole * SCHEDULE.epochs) <= equal.sample_count(run) / 2
        assert run.config.schedule.validate_every == run.config.schedule.epochs
    assert {run.config.schedule.epochs for run in equal.runs if run.part} != {1}


def test_a_study_without_folds_says_nothing_of_them(tiny_dataset):
    record = make(tiny_dataset).record([])
    assert "folds" not in record
    assert all("fold" not in run for run in record["runs"])


def test_a_stratified_arm_has_its_networks_in_each_fold(folded_dataset):
    study = make(folded_dataset, ["baseline", "baseline-stratified"], seeds=1)
    for view in folded_dataset.views:
        parts = {run.part for run in study.runs if run.arm.stratified and run.config.fold == view.fold}
        assert parts == {"a", "b", "c"}


def test_settings_can_be_a_folds_own(folded_dataset):
    wide = NetworkConfig(width=4, depth=1)
    study = make(folded_dataset, own_settings={("sme", "1"): (wide, SCHEDULE)})
    assert {(run.arm.name, run.config.fold) for run in study.runs if run.config.network == wide} == {("sme", "1")}


def test_an_arm_that_a_fold_isnt_fit_for_is_said_with_the_fold(folded_dataset):
    with pytest.raises(ConfigError, match=r"^fold '0': arm 'own' sees a part by column 'well'"):
        make(folded_dataset, ["baseline", "own"], more_arms=[Arm("own", "se", "absent", Subset("well", "A1"))])
    view = folded_dataset.of_fold("1")
    lines = view.table["line"].where(view.table["split"] != "train", "a")
    view = replace(view, table=view.table.assign(line=lines), metadata=view.metadata[:1])
    with pytest.raises(ConfigError, match=r"^fold '1': arm 'own' has a head for each value .* none for 'b'"):
        check_arm(Arm("own", "se", "heads"), view)


def test_every_image_is_counted_once_by_a_network_that_hasnt_seen_it(trained, folded_dataset):
    study, store = trained
    for arm in ("baseline", "sme"):
        rows, told = [], []
        for run in (run for run in study.runs if run.arm.name == arm):
            folder = Path(store.run_folder(run.run_id))
            assert json.loads((folder / "config.json").read_text())["fold"] == run.config.fold
            images = pd.read_parquet(folder / "images.parquet")
            rows.append(images[images["evaluation"] == AS_TRAINED].assign(fold=run.config.fold))
            told.append(set(images["evaluation"]))
        assert told[0] == told[1] == told[2], "every image is told the same values"
        table = pd.concat(rows).set_index("image")["fold"]
        assert sorted(table.index) == sorted(folded_dataset.table["image"])
        for row, image in enumerate(folded_dataset.table["image"]):
            assert table[image] == folded_dataset.fold_of(row)


def test_pictures_show_each_image_with_the_network_that_tests_it(trained):
    study, store = trained
    ((_, content),) = choose.overlays(("baseline", "sme"))(study, store).items()
    Image.open(io.BytesIO(content)).verify()
    for sample in range(len(study.dataset.table)):
        assert choose._run(study, store, "sme", sample).config.fold == study.dataset.fold_of(sample)
    assert list(choose.sweep("sme", "foreground")(study, store)) == ["sweep.png"]


def test_extra_scores_are_those_of_each_folds_test_images(trained):
    study, store = trained
    console = Console(file=io.StringIO(), width=200)
    assert score_study(store, study.name, ["objects"], jobs=1, console=console), console.file.getvalue()
    scored = [
        pd.read_parquet(Path(store.where) / score_file(run.run_id)) for run in study.runs if run.arm.name == "sme"
    ]
    assert sorted(pd.concat(scored)["image"]) == sorted(study.dataset.table["image"])


def test_lists_and_states_name_the_fold(trained, folded_dataset):
    study, store = trained
    console = Console(file=io.StringIO(), width=200)
    print_data("study", folded_dataset, console)
    print_estimate(study, store, EngineConfig(), console)
    output = console.file.getvalue()
    assert "26 samples (3 folds: every sample is tested once; " in output
    assert [line.split()[1:4] for line in output.splitlines() if " done" in line][:3] == [
        ["baseline", "0", "0"], ["sme", "0", "0"], ["baseline", "0", "1"],
    ]  # fmt: skip
    store.record_failure("f" * 16, "out of luck", "")
    failed = {"run_id": "f" * 16, "arm": "sme", "seed": 7, "part": "", "fold": "2"}
    store.write_study("failed", {**study.record([]), "runs": [failed]})
    statuses = {status.name: status for status in study_statuses(store, [])}
    assert statuses["failed"].failed == {"sme seed 7 fold 2": "out of luck"}


def test_the_distribution_has_a_row_a_fold(folded_dataset):
    table = distribution(folded_dataset)
    assert table["fold"].tolist() == ["0", "1", "2"]
    assert table["all"].tolist() == [len(view.indices("test")) for view in folded_dataset.views]
    assert (table[["a", "b", "c"]].sum(axis=1) == table["all"]).all()
