"""Arms that learn to do without metadata: planned, trained, told that nothing is known, used and scored again."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from metaseg.config import ConfigError, DataConfig, NetworkConfig, RunConfig, ScheduleConfig
from metaseg.data.metadata import UnknownMetadataError
from metaseg.data.preparation import prepare
from metaseg.datasets.table import read_table
from metaseg.device import one_thread
from metaseg.schema import UNKNOWN
from metaseg.scoring.run import _run_config, score_run
from metaseg.store.runs import Store
from metaseg.study.arms import ARMS, Arm, find_arm
from metaseg.study.evaluations import evaluations
from metaseg.study.execution import execute
from metaseg.study.plan import plan
from metaseg.study.predict import Predictor
from metaseg.study.run_id import run_id
from metaseg.sweeps.search import SearchConfig
from metaseg.sweeps.sweep import Sweep
from metaseg.training.fit import Fitted, build_network, encode_metadata
from small_sweep import SPACE

CPU = torch.device("cpu")
NETWORK, SCHEDULE = NetworkConfig(width=4, depth=1), ScheduleConfig(epochs=1, batch_size=8, crop=16)


def run_of(dataset, **settings) -> RunConfig:
    return RunConfig("sme", "true", 0, dataset.fingerprint, NETWORK, SCHEDULE, **settings)


def told(config, dataset) -> dict[str, tuple[np.ndarray, torch.Tensor]]:
    """Samples and vectors of each evaluation of an untrained network."""
    encoder, vectors = encode_metadata(config, dataset)
    model = build_network(config, dataset.channels, len(dataset.classes), vectors.shape[1])
    fitted = Fitted(model, encoder, vectors, 1, ())
    return {name: (samples, seen) for name, samples, seen in evaluations(config, fitted, dataset)}


@pytest.fixture(scope="module")
def with_gaps(tiny_manifest):
    """The tiny manifest in which some lines, in every split, and one dose aren't known; both columns are declared."""
    table = pd.read_csv(tiny_manifest)
    table.loc[table.index[::4], "line"] = None
    table.loc[3, "dose"] = None
    path = tiny_manifest.parent / "gaps.csv"
    table.to_csv(path, index=False)
    return prepare(read_table(path, ["line:unknown", "dose:unknown"]), DataConfig(), path.parent / "gaps")


@pytest.fixture(scope="module")
def trained(tiny_manifest, tmp_path_factory) -> tuple[Store, RunConfig]:
    """A store with a robust run, and its configuration."""
    store = Store.at(tmp_path_factory.mktemp("store"))
    dataset = prepare(read_table(tiny_manifest, ["line", "dose"]), DataConfig(), store.cache)
    config = run_of(dataset, metadata_dropout=0.25)
    execute(config, dataset, store, CPU)
    return store, config


@pytest.fixture(autouse=True)
def on_one_thread():
    """As runs are trained; a network this small is slower on several."""
    with one_thread(CPU):
        yield


def test_robust_arms_get_the_probability_that_a_study_says(tiny_dataset):
    arms = ["baseline", "sme", "sme-dummy", "me-robust", "sme-robust", "film-robust"]
    study = plan("study", tiny_dataset, arms, 1, NETWORK, SCHEDULE)
    of_arm = {run.arm.name: run.config.metadata_dropout for run in study.runs}
    assert of_arm == dict.fromkeys(arms[:3], 0.0) | dict.fromkeys(arms[3:], 0.2)
    more = plan("study", tiny_dataset, arms, 1, NETWORK, SCHEDULE, metadata_dropout=0.5)
    assert {run.arm.name: run.config.metadata_dropout for run in more.runs} == dict.fromkeys(
        arms[:3], 0.0
    ) | dict.fromkeys(arms[3:], 0.5)
    same = [run.run_id == other.run_id for run, other in zip(study.runs, more.runs, strict=True)]
    assert same == [True] * 3 + [False] * 3
    asked = {(each.arm, each.reference, each.claim) for each in study.comparisons}
    assert ("sme-robust", "baseline", "differs") in asked
    assert ("sme-robust", "sme-dummy", "differs") not in asked, "which has fewer parameters"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Arm("x", "sme", "zeros", metadata_dropout=0.2), "'x' has metadata dropout and sees 'zeros' metadata"),
        (lambda: Arm("x", "sme", "true", metadata_dropout=1.0), "metadata_dropout is 1.0; expected a probability"),
        (lambda: find_arm("sme-robust", (), 1.5), "metadata_dropout is 1.5; expected a probability"),
        (lambda: find_arm("sme-robust", (), 0.0), "metadata_dropout is 0; expected .* for arm 'sme-robust'"),
    ],
)
def test_what_cant_be_dropped_is_said_at_once(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_probability_that_no_arm_has_is_refused(tiny_dataset):
    with pytest.raises(ConfigError, match=r"metadata_dropout is 0.3, which no arm here has; expected one of me-robust"):
        plan("study", tiny_dataset, ["baseline", "sme"], 1, NETWORK, SCHEDULE, metadata_dropout=0.3)


def test_an_arm_without_dropout_is_recorded_as_before_there_was_any():
    assert "metadata_dropout" not in ARMS["sme"].record()
    assert ARMS["sme-robust"].record()["metadata_dropout"] == 0.2
    assert find_arm("sme", (), 0.5) == ARMS["sme"]


def test_a_sweep_in_a_robust_arm_trains_robust_networks(tiny_dataset):
    sweep = Sweep("s", tiny_dataset, ARMS["sme-robust"], NETWORK, SCHEDULE, SPACE, SearchConfig(trials=2))
    assert sweep.config({"lr_max": 1e-2, "batch_size": 2}).metadata_dropout == 0.2
    assert sweep.record([])["arm_settings"]["metadata_dropout"] == 0.2


def test_a_column_is_withheld_where_there_are_several(tiny_dataset):
    found = told(run_of(tiny_dataset), tiny_dataset)
    test = tiny_dataset.indices("test").tolist()
    as_trained = found["as-trained"][1]
    without_line, without_dose = found["line=unknown"], found["dose=unknown"]
    assert without_line[0].tolist() == without_dose[0].tolist() == test
    assert not without_line[1][:, :3].any(), "zeros, where a network can't be told"
    assert torch.equal(without_line[1][:, 3], as_trained[:, 3])
    assert torch.equal(without_dose[1][:, :3], as_trained[:, :3])
    assert not without_dose[1][:, 3].any()
    assert UNKNOWN not in found


def test_a_robust_network_is_told_that_nothing_is_known(tiny_dataset):
    found = told(run_of(tiny_dataset, metadata_dropout=0.2), tiny_dataset)
    assert (found[UNKNOWN][1] == torch.tensor([0.0, 0, 0, 1, 0, 1])).all()
    assert (found["line=unknown"][1][:, :4] == torch.tensor([0.0, 0, 0, 1])).all()
    assert torch.equal(found["line=unknown"][1][:, 4:], found["as-trained"][1][:, 4:])
    assert not found["zeros"][1].any()


def test_declared_columns_are_withheld_from_what_has_a_value(with_gaps):
    found = told(run_of(with_gaps), with_gaps)
    values = with_gaps.values.iloc[with_gaps.indices("test")]
    known = set(values.index[values["line"] != UNKNOWN])
    assert 0 < len(known) < len(values)
    assert set(found["line=unknown"][0]) == known
    assert (found[UNKNOWN][1] == torch.tensor([0.0, 0, 0, 1, 0])).all(), "a dose that isn't known is the mean"
    assert set(found[UNKNOWN][0]) == set(values.index), "each has a dose"
    assert set(found["line=a"][0]) == set(values.index[values["line"] != "a"])


def test_a_head_is_for_unknown_values_too(with_gaps, tiny_manifest):
    manifest = read_table(tiny_manifest.parent / "gaps.csv", ["line:unknown"])
    dataset = prepare(manifest, DataConfig(), tiny_manifest.parent / "heads")
    study = plan("study", dataset, ["baseline", "heads", "baseline-stratified"], 1, NETWORK, SCHEDULE)
    assert {run.part for run in study.runs if run.part} == {"a", "b", "c", UNKNOWN}
    (heads,) = (run.config for run in study.runs if run.arm.name == "heads")
    found = told(heads, dataset)
    assert set(found) == {"as-trained", UNKNOWN, "line=a", "line=b", "line=c"}
    assert (found[UNKNOWN][1].argmax(dim=1) == 3).all()


def test_a_value_that_has_always_been_called_unknown_is_told_once(tiny_manifest):
    table = pd.read_csv(tiny_manifest).replace({"line": {"c": UNKNOWN}})
    path = tiny_manifest.parent / "called.csv"
    table.to_csv(path, index=False)
    for columns, names in ((["line"], ["line=a", "line=b", "line=unknown"]), (["line", "dose"], ["line=a", "line=b"])):
        dataset = prepare(read_table(path, columns), DataConfig(), path.parent / "called")
        found = told(run_of(dataset), dataset)
        assert [name for name in found if name.startswith("line=") and name != "line=unknown"] == ["line=a", "line=b"]
        assert (found["line=unknown"][1][:, :3] == torch.tensor([0.0, 0, 1])).all()
        assert set(names) <= set(found)


def test_a_robust_run_says_how_it_was_trained_and_can_be_used(trained, tiny_dataset):
    store, config = trained
    folder = Path(store.run_folder(run_id(config)))
    description = json.loads((folder / "config.json").read_text())
    assert description["metadata_dropout"] == 0.25
    assert _run_config(description, ()) == config
    del description["metadata_dropout"]
    assert _run_config(description, ()) == replace(config, metadata_dropout=0.0), "as an earlier version wrote it"
    rows = pd.read_parquet(folder / "images.parquet")
    unknown = rows[rows["evaluation"] == UNKNOWN].set_index("image")
    predictor = Predictor.load(folder)
    for sample in tiny_dataset.indices("test"):
        image = tiny_dataset.image(sample)
        masks = [
            predictor.predict(image, {"line": absent, "dose": absent}) for absent in (UNKNOWN, None, "", float("nan"))
        ]
        assert int(masks[0].sum()) == unknown.loc[tiny_dataset.table["image"][sample], ["tp", "fp"]].sum()
        assert all((mask == masks[0]).all() for mask in masks)
    with pytest.raises(ConfigError, match=r"columns are \['line'\].*\(what isn't known is given as dose=unknown\)"):
        predictor.encode({"line": "a"})
    with pytest.raises(UnknownMetadataError, match=r"'HeLa' not seen in training; known: 'a', 'b', 'c'$"):
        predictor.encode({"line": "HeLa", "dose": 1.0})


def test_a_robust_run_is_scored_again_by_its_weights(trained):
    store, config = trained
    assert score_run(store, run_id(config), ("objects",))["differing_images"] == 0
