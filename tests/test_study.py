"""Studies: arms and seeds resolved into runs before anything is trained."""

import pytest

from metaseg.blocks import BLOCKS
from metaseg.config import ConfigError, NetworkConfig, ScheduleConfig
from metaseg.store import Store
from metaseg.study import ARMS, plan

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


@pytest.mark.parametrize(
    ("arms", "seeds", "message"),
    [
        (["baseline", "smee"], 1, r"unknown arm 'smee' \(did you mean 'sme'\?\); known: baseline, none, me"),
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
        assert (arm.metadata_mode != "absent") == BLOCKS[arm.block].needs_metadata
