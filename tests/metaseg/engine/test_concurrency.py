"""Concurrent runs on real Ray: as many as fit and were asked for, the largest first, and none twice."""

import dataclasses
import json
import sys
import threading
import time

import pytest
import ray

from metaseg.store.claims import Claimant
from metaseg.store.runs import Store
from metaseg.study.execution import execute
from metaseg.study.plan import Study
from metaseg.study.run_id import run_id
from small_study import SCHEDULE, run_with, small_study

pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.fixture
def study(tiny_dataset) -> Study:
    return small_study(tiny_dataset)


# Functions of this file run in Ray's workers, which can't import it.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


def takes_a_while(config, dataset, store, device, on_epoch, engine):
    began = time.time()
    time.sleep(0.5)
    store.commit_run(run_id(config), {"times": f"{began} {time.time()}".encode()})


def most_at_once(study: Study, store: Store) -> int:
    spans = [list(map(float, store.storage.read(f"runs/{run.run_id}/times").split())) for run in study.runs]
    return max(sum(began <= moment < ended for began, ended in spans) for moment, _ in spans)


@pytest.mark.parametrize(("limit", "expected"), [(1, 1), (None, 2)])
def test_no_more_runs_are_trained_at_once_than_asked_for_and_no_core_idles(study, tmp_path, limit, expected):
    store = Store.at(tmp_path)
    run_with(takes_a_while, study, store, max_concurrent=limit)
    assert most_at_once(study, store) == expected


def test_half_a_core_a_worker_packs_twice_as_many(study, tmp_path):
    store = Store.at(tmp_path)
    run_with(takes_a_while, study, store, cpus_per_worker=0.5)
    assert most_at_once(study, store) > 2


def test_the_longest_runs_are_started_first(study, tmp_path):
    store = Store.at(tmp_path)
    longer = dataclasses.replace(SCHEDULE, epochs=9)
    runs = [
        dataclasses.replace(run, config=dataclasses.replace(run.config, schedule=longer if place >= 4 else SCHEDULE))
        for place, run in enumerate(study.runs)
    ]
    study = dataclasses.replace(study, runs=tuple(runs))
    run_with(takes_a_while, study, store, max_concurrent=1)
    began = {run.run_id: float(store.storage.read(f"runs/{run.run_id}/times").split()[0]) for run in study.runs}
    order = sorted(study.runs, key=lambda run: began[run.run_id])
    assert order == [*runs[4:], *runs[:4]]


@pytest.mark.cluster
def test_runs_of_one_and_of_two_workers_in_one_study_all_end(study, tmp_path):
    store = Store.at(tmp_path)
    runs = [dataclasses.replace(run, workers=(2,) if place % 3 == 1 else None) for place, run in enumerate(study.runs)]
    study = dataclasses.replace(study, runs=tuple(runs))
    outcome, _ = run_with(execute, study, store)
    assert set(outcome.trained) == set(study.runs)
    workers = [json.loads(store.storage.read(f"runs/{run.run_id}/config.json"))["hardware"]["workers"] for run in runs]
    assert workers == [1, 2, 1, 1, 2, 1]


@pytest.mark.cluster
def test_an_elastic_run_takes_what_there_is(study, tmp_path):
    study = dataclasses.replace(study, runs=study.runs[:1])
    store = Store.at(tmp_path)
    outcome, _ = run_with(execute, study, store, workers_per_run=(1, 8))
    assert outcome.trained == study.runs
    config = json.loads(store.storage.read(f"runs/{study.runs[0].run_id}/config.json"))
    assert config["hardware"]["workers"] == 2


def test_what_another_driver_holds_is_left_to_it_until_it_is_done_or_dead(study, tmp_path):
    store = Store.at(tmp_path)
    first, second, third = study.runs[:3]
    study = dataclasses.replace(study, runs=(first, second, third))
    with Claimant(store.storage) as other:
        other.claim(first.run_id)
        other.claim(second.run_id)
        done_soon = threading.Timer(6, lambda: store.commit_run(first.run_id, {"by": b"the other"}))
        gone_soon = threading.Timer(8, lambda: other.__exit__())
        done_soon.start()
        gone_soon.start()
        outcome, output = run_with(takes_a_while, study, store)
        gone_soon.join()
    assert set(outcome.trained) == {second, third}
    assert store.storage.read(f"runs/{first.run_id}/by") == b"the other"
    assert f"{first.label:<24} {first.run_id}          by another driver" in output
