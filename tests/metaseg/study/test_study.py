"""Studies: arms and seeds resolved into runs before anything is trained."""

from dataclasses import replace

import pytest

from metaseg.config import (
    SPLITS,
    ArchitectureConfig,
    ConfigError,
    NetworkConfig,
    Position,
    ScheduleConfig,
    Scoring,
    Subset,
)
from metaseg.networks.blocks import BLOCKS
from metaseg.store.runs import Store
from metaseg.study.arms import ARMS, Arm
from metaseg.study.plan import plan

NETWORK, SCHEDULE = NetworkConfig(width=4, depth=2), ScheduleConfig(epochs=1)


def make(dataset, arms=("baseline", "sme"), seeds=2):
    return plan("study", dataset, arms, seeds, NETWORK, SCHEDULE)


def test_every_arm_gets_every_seed_and_a_run_id_of_its_own(tiny_dataset):
    study = make(tiny_dataset, ["baseline", "me", "sme-dummy"], seeds=3)
    assert {(run.arm.name, run.config.seed) for run in study.runs} == {
        (arm, seed) for arm in ("baseline", "me", "sme-dummy") for seed in range(3)
    }
    assert len({run.run_id for run in study.runs}) == 9
    assert [run.config.seed for run in study.runs] == sorted(run.config.seed for run in study.runs)


def test_more_seeds_keep_the_runs_of_fewer(tiny_dataset):
    few, many = make(tiny_dataset, seeds=2), make(tiny_dataset, seeds=5)
    assert {run.run_id for run in few.runs} < {run.run_id for run in many.runs}


def test_only_what_the_store_lacks_is_missing(tiny_dataset, tmp_path):
    study, store = make(tiny_dataset), Store.at(tmp_path)
    assert study.missing(store) == study.runs
    store.commit_run(study.runs[1].run_id, {})
    assert study.missing(store) == (study.runs[0], *study.runs[2:])


def test_the_record_names_arms_runs_and_command(tiny_dataset):
    record = make(tiny_dataset).record(["python", "study.py", "--out", "my folder"])
    assert record["arms"] == ["baseline", "sme"]
    assert record["baseline"] == "baseline"
    assert record["command"] == "python study.py --out 'my folder'"
    assert {run["arm"] for run in record["runs"]} == {"baseline", "sme"}
    assert "seeds" not in record


def test_crossed_seeds_are_declared_and_are_other_runs(tiny_dataset):
    nested, crossed = (plan("study", tiny_dataset, ["baseline", "sme"], 2, NETWORK, SCHEDULE, crossed=each)
                       for each in (False, True))  # fmt: skip
    assert crossed.record([])["seeds"] == "crossed"
    assert {run.config.init for run in crossed.runs} == {"shared"}
    assert not {run.run_id for run in nested.runs} & {run.run_id for run in crossed.runs}


@pytest.mark.parametrize(
    ("arms", "seeds", "message"),
    [
        (["baseline", "smee"], 1, r"unknown arm 'smee' \(did you mean 'sme'\?\); known: baseline, .*, sme,"),
        (["baseline", "sme", "sme"], 1, "expected each only once"),
        (["me", "sme"], 1, "expected 'baseline' among them"),
        (["baseline"], 0, "seeds is 0; expected at least 1"),
    ],
)
def test_what_cant_be_planned_is_said_at_once(tiny_dataset, arms, seeds, message):
    with pytest.raises(ConfigError, match=message):
        make(tiny_dataset, arms, seeds)


def test_every_arm_has_a_known_block_and_sees_metadata_only_if_the_block_does():
    for arm in ARMS.values():
        if arm.metadata_mode == "heads":  # metadata picks the head; the blocks see none
            assert not BLOCKS[arm.block].needs_metadata
        elif arm.block == "se-matched":  # needs to know how large metadata are
            assert arm.metadata_mode == "zeros"
        elif arm.network == "unet-concat":  # sees metadata itself
            assert arm.metadata_mode != "absent"
        else:
            assert (arm.metadata_mode != "absent") == BLOCKS[arm.block].needs_metadata


def test_an_arm_with_positions_has_its_blocks_there_and_leaves_other_arms_where_the_study_has_them(tiny_dataset):
    low: tuple[Position, ...] = ("bottleneck",)
    arms = [Arm("low", "sme", "true", positions=low), Arm("low-dummy", "sme", "zeros", positions=low)]
    names = ["baseline", "sme", "sme-dummy", "low", "low-dummy"]
    study = plan("s", tiny_dataset, names, 1, NETWORK, SCHEDULE, more_arms=arms)
    positions = {run.arm.name: run.config.network.positions for run in study.runs}
    assert positions == {name: low if "low" in name else NETWORK.positions for name in names}
    runs = {run.arm.name: run.run_id for run in study.runs}
    by_hand = plan("s", tiny_dataset, ["sme"], 1, replace(NETWORK, positions=low), SCHEDULE, baseline="sme")
    assert by_hand.runs[0].run_id == runs["low"], "the arm's name is no part of it"
    pairs = {(each.arm, each.reference) for each in study.comparisons}
    assert {("sme", "sme-dummy"), ("low", "low-dummy")} <= pairs
    assert ("low", "sme-dummy") not in pairs
    assert "positions" not in ARMS["sme"].record()
    assert arms[0].record()["positions"] == low


def test_an_arm_with_positions_is_refused_in_a_network_that_has_none(tiny_dataset):
    pytest.importorskip("monai")
    elsewhere = ArchitectureConfig(network="monai.BasicUNet")
    with pytest.raises(ConfigError, match=r"arm 'cunet-simple': network 'monai.BasicUNet.* has no encoder; expected"):
        plan("s", tiny_dataset, ["baseline", "cunet-simple"], 1, NETWORK, SCHEDULE, architecture=elsewhere)


def test_a_stratified_arm_is_a_network_for_each_value_that_sees_that_value_alone(tiny_dataset):
    study = make(tiny_dataset, ["baseline", "baseline-stratified"], seeds=2)
    parts = [run for run in study.runs if run.arm.stratified]
    assert [(run.config.seed, run.part) for run in parts] == [(seed, line) for seed in (0, 1) for line in "abc"]
    assert {run["part"] for run in study.record([])["runs"]} == {"", "a", "b", "c"}
    for run in parts:
        for split in SPLITS:
            seen = tiny_dataset.table.iloc[tiny_dataset.indices(split, run.config.subset)]
            assert set(seen["line"]) == {run.part}
    assert len({run.run_id for run in study.runs}) == 8
    assert parts[0].label == "baseline-stratified a seed 0"


def test_a_subset_cuts_down_only_its_splits(tiny_dataset):
    subset = Subset("line", "b", ("train",))
    arm = Arm("only-b", "se", "absent", subset)
    study = plan("s", tiny_dataset, ["baseline", "only-b"], 1, NETWORK, SCHEDULE, more_arms=[arm])
    assert study.runs[1].config.subset == subset
    assert set(tiny_dataset.table["line"].iloc[tiny_dataset.indices("train", subset)]) == {"b"}
    assert len(tiny_dataset.indices("val", subset)) == len(tiny_dataset.indices("val"))


def test_another_baseline_can_be_declared(tiny_dataset):
    scoring = Scoring(average="subgroups", empty="left out", margin=0.02)
    study = plan("s", tiny_dataset, ["me", "sme"], 1, NETWORK, SCHEDULE, baseline="me", scoring=scoring)
    record = study.record([])
    assert record["baseline"] == "me"
    assert (record["average"], record["empty"], record["margin"]) == ("subgroups", "left out", 0.02)


def test_an_arm_whose_dummy_is_the_baseline_is_compared_with_it_once(tiny_dataset):
    study = plan("s", tiny_dataset, ["sme", "sme-dummy"], 1, NETWORK, SCHEDULE, baseline="sme-dummy")
    assert [(each.arm, each.reference, each.claim) for each in study.comparisons] == [("sme", "sme-dummy", "differs")]


def test_comparisons_are_declared_with_the_baseline_and_with_each_arms_dummy(tiny_dataset):
    arms = ["baseline", "me", "sme", "sme-dummy", "sme-shuffled", "baseline-matched"]
    study = plan("s", tiny_dataset, arms, 1, NETWORK, SCHEDULE)
    declared = {(each["arm"], each["reference"]): each["claim"] for each in study.record([])["comparisons"]}
    assert declared == {
        ("me", "baseline"): "differs",
        ("sme", "baseline"): "differs",
        ("sme-dummy", "baseline"): "equal",
        ("sme-shuffled", "baseline"): "equal",
        ("baseline-matched", "baseline"): "equal",
        ("sme", "sme-dummy"): "differs",
    }


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        (Arm("own", "se", "absent", Subset("well", "A1")), "sees a part by column 'well'; the dataset has line, dose"),
        (
            Arm("own", "se", "absent", Subset("line", "z")),
            "'line' is 'z', of which split 'train' has none: it has a, b, c",
        ),
        (
            Arm("own", "se", "heads"),
            r"a head for each value of one categorical column; metadata is line \(categorical\), dose",
        ),
    ],
)
def test_an_arm_that_the_dataset_isnt_fit_for_is_said_at_once(tiny_dataset, arm, message):
    with pytest.raises(ConfigError, match=message):
        plan("s", tiny_dataset, ["baseline", "own"], 1, NETWORK, SCHEDULE, more_arms=[arm])
