"""A sweep's journal in a bucket: all proposals and results are read back, even with several writers."""

import json
import threading
from collections.abc import Iterator

import pytest
from optuna.trial import TrialState

from closed_form import NAME, make_sweep
from metaseg.config import ConfigError
from metaseg.store.runs import Store
from metaseg.store.storage import open_storage
from metaseg.sweeps.continuation import open_sweep
from metaseg.sweeps.journal import BucketJournal, open_journal
from metaseg.sweeps.outcome import best_trial, tell
from metaseg.sweeps.status import sweep_statuses
from metaseg.sweeps.sweep import FACTS
from metaseg.sweeps.table import write_table
from moto_server import S3Server, s3_server


@pytest.fixture(scope="module")
def running() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def server(running: S3Server) -> Iterator[S3Server]:
    yield running
    running.failures = []


@pytest.fixture
def store(server, tmp_path) -> Store:
    return Store(open_storage(f"{server.bucket}/{tmp_path.name}"))


def ask_and_tell(sweep, study, score):
    trial = study.ask()
    sweep.space.suggest(trial)
    trial.report(score, 9)
    facts = {"state": "complete", "values": {"val_f1": score}, "epochs": 9, "curve": [[9, score]]}
    trial.set_user_attr(FACTS, facts)
    tell(study, study.get_trials(deepcopy=False)[trial.number], facts, sweep)


def test_a_sweep_in_a_bucket_goes_on_after_its_driver(tiny_dataset, store):
    sweep = make_sweep(tiny_dataset, trials=4, pruner="none")
    study = open_sweep(sweep, store, [])
    for score in (0.5, 0.75, 0.25):
        ask_and_tell(sweep, study, score)
    left = study.ask()
    sweep.space.suggest(left)
    again = open_sweep(sweep, store, [])
    assert again.trials == study.trials
    assert [trial.state for trial in again.trials] == [TrialState.COMPLETE] * 3 + [TrialState.RUNNING]
    assert best_trial(sweep, again).number == 1
    (status,) = sweep_statuses(store, [])
    assert status.counts == {"complete": 3, "running": 1}
    assert status.best.startswith("val F1 0.7500 by trial 1: ")
    assert write_table(sweep, again, store)["val_f1"].tolist()[:3] == [0.5, 0.75, 0.25]
    assert store.storage.exists(f"sweeps/{NAME}/trials.parquet")


def test_foreign_files_in_a_buckets_journal_are_passed_over(tiny_dataset, store):
    sweep = make_sweep(tiny_dataset, trials=4, pruner="none")
    ask_and_tell(sweep, open_sweep(sweep, store, []), 0.5)
    for name in ("00000001 (1).json", "desktop.ini", "99999999.json"):
        store.storage.write(f"sweeps/{NAME}/journal/{name}", b'{"half')
    assert len(open_sweep(sweep, store, []).trials) == 1
    store.storage.write(f"sweeps/{NAME}/journal/00000002.json", b'{"half')
    with pytest.raises(ConfigError, match=r"journal/00000002.json: not a batch of a sweep's journal"):
        open_sweep(sweep, store, [])


def test_a_driver_and_a_trials_process_write_side_by_side(tiny_dataset, store):
    """Each has its own journal, as in separate processes, and both write at once."""
    sweep = make_sweep(tiny_dataset, pruner="none")
    study = open_sweep(sweep, store, [])
    trials = [study.ask() for _ in range(4)]
    journals = [open_journal(store.storage, NAME) for _ in trials]

    def report(journal, trial) -> None:
        for step in range(1, 6):
            journal.set_trial_intermediate_value(trial._trial_id, step, step / 10)

    writers = [threading.Thread(target=report, args=pair) for pair in zip(journals, trials, strict=True)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    expected = [{step: step / 10 for step in range(1, 6)}] * 4
    assert [trial.intermediate_values for trial in study.trials] == expected
    assert [trial.intermediate_values for trial in open_sweep(sweep, store, []).trials] == expected


def test_entries_are_written_once_through_all_kinds_of_faults(server, store):
    mine, theirs = (BucketJournal(store.storage, "sweeps/x/journal") for _ in range(2))
    server.failures = ["lost", 500, "lost", None, "drop"]
    for number in range(4):
        mine.append_logs([{"mine": number}])
        theirs.append_logs([{"theirs": number}, {"theirs": -number}])
    assert not server.failures
    entries = list(mine.read_logs(0))
    assert entries == list(theirs.read_logs(0))
    assert sorted(map(json.dumps, entries)) == sorted(
        json.dumps(entry) for n in range(4) for entry in ({"mine": n}, {"theirs": n}, {"theirs": -n})
    )
    assert list(mine.read_logs(10)) == entries[10:]


def test_what_has_been_read_isnt_asked_for_again(server, store):
    journal = BucketJournal(store.storage, "sweeps/x/journal")
    for number in range(20):
        journal.append_logs([{"number": number}])
        assert len(list(journal.read_logs(0))) == number + 1
    another = BucketJournal(store.storage, "sweeps/x/journal")
    assert [entry["number"] for entry in another.read_logs(0)] == list(range(20)), "in order, though read all at once"
    before = server.requests
    assert [entry["number"] for entry in another.read_logs(18)] == [18, 19]
    assert server.requests <= before + 2, "for the next one, which isn't there"
