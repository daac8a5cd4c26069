"""Sweeps whose driver is killed together with the Ray that it started: the same command continues them."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from checkout import ROOT
from closed_form import NAME, executions
from metaseg.store.runs import Store
from metaseg.sweeps.continuation import load_record, study_name
from metaseg.sweeps.journal import open_journal

pytestmark = pytest.mark.cluster

TRIALS = 1000
IN_FLIGHT = 2
"""Trials at once, on two cores."""


def trials_of(store: Store, name: str = NAME) -> list[optuna.trial.FrozenTrial]:
    """Trials in the journal; none before there is a journal."""
    record = load_record(store, name)
    if record is None:
        return []
    return optuna.load_study(study_name=study_name(record), storage=open_journal(store.storage, name)).trials


def reports(store: Store, trial: int) -> list[int]:
    """Steps at which a trial of the sweep "killed" has reported, each as often as it has."""
    journal = Path(store.where) / "sweeps" / "killed.sme" / "journal.log"
    entries = map(json.loads, journal.read_text().splitlines()) if journal.exists() else ()
    return [entry["step"] for entry in entries if "intermediate_value" in entry and entry["trial_id"] == trial]


def wait_for(condition, driver: subprocess.Popen[str]) -> None:
    """Return once it holds; an error if the driver ends before."""
    deadline = time.monotonic() + 120
    while not condition():
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def start(*command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def kill(driver: subprocess.Popen[str]) -> None:
    driver.kill()
    driver.communicate()
    time.sleep(5)  # for Ray's processes to notice


def test_a_thousand_trials_survive_three_kills(tiny_dataset, tmp_path):
    store, moments = Store.at(tmp_path / "store"), random.Random(0)
    page = ROOT / "tests" / "support" / "closed_form.py"
    command = [str(page), store.where, str(tiny_dataset.path), str(TRIALS), "qmc"]
    finished: dict[int, tuple[dict, float | None, TrialState]] = {}
    in_flight: set[int] = set()
    for part in range(3):
        driver = start(*command)
        goal = len(trials_of(store)) + 50
        wait_for(lambda goal=goal: len(trials_of(store)) > goal, driver)
        time.sleep(moments.uniform(0, 8))
        kill(driver)
        trials = trials_of(store)
        assert len(trials) < TRIALS, f"kill {part + 1} came too late"
        finished |= {t.number: (t.params, t.value, t.state) for t in trials if t.state.is_finished()}
        running = {trial.number for trial in trials if not trial.state.is_finished()}
        assert len(running) <= IN_FLIGHT + 1, "one may be proposed and not begun"
        in_flight |= running

    driver = start(*command)
    output, _ = driver.communicate(timeout=500)
    assert driver.returncode == 0, output
    trials = trials_of(store)
    assert [trial.number for trial in trials] == list(range(TRIALS))
    assert {trial.state for trial in trials} == {TrialState.COMPLETE, TrialState.PRUNED}, "none runs, none has failed"
    kept = {number: (trials[number].params, trials[number].value, trials[number].state) for number in finished}
    assert kept == finished
    begun = executions(store)
    assert set(begun) == set(range(TRIALS))
    assert {number for number, times in begun.items() if times > 1} <= in_flight
    assert store.storage.names("claims") == store.storage.names("sessions") == []


def test_a_trial_whose_driver_is_killed_goes_on_from_its_checkpoint(tiny_manifest, tmp_path):
    store = Store.at(tmp_path / "store")
    command = [
        "studies/sweep_schedule.py", "--manifest", str(tiny_manifest), "--metadata", "line", "--name", "killed",
        "--space", "lr_max=1e-3..1e-2:log", "epochs=60", "--trials", "2", "--pruner", "none", "--crop", "16",
        "--width", "4", "--depth", "2", "--max-concurrent", "1", "--checkpoint-epochs", "1", "--storage", store.where,
    ]  # fmt: skip
    driver = start(*command)
    wait_for(lambda: len(reports(store, 0)) > 4, driver)
    kill(driver)
    before, told = trials_of(store, "killed.sme")[0], len(reports(store, 0))
    output, _ = (driver := start(*command)).communicate(timeout=240)
    assert driver.returncode == 0, output
    trials = trials_of(store, "killed.sme")
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 2
    assert trials[0].params == before.params
    steps = reports(store, 0)
    assert told < len(set(steps)), "killed halfway"
    assert len(steps) - len(set(steps)) <= 1, "trained again was at most what came after the last checkpoint"
    assert set(steps) == set(reports(store, 1))
    assert not list(Path(store.where).glob("checkpoints/*"))
