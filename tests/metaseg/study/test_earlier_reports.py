"""Looks at results that no rule allows for, in a study's record."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.results.looks import Rule
from metaseg.config import NetworkConfig
from metaseg.data.dataset import Dataset
from metaseg.store.runs import Store
from metaseg.study.plan import Study, plan
from scored_runs import Trainer
from small_study import SCHEDULE


@pytest.fixture
def study(tiny_dataset: Dataset) -> Study:
    found = plan("cells", tiny_dataset, ["baseline", "sme", "film"], 8, NetworkConfig(width=4, depth=2), SCHEDULE)
    return replace(found, sequential=Rule((3, 5, 8)).to_record())


def record(store: Store, name: str = "studies/cells.json") -> dict[str, Any]:
    return json.loads(store.storage.read(name))


def test_a_plain_study_remembers_that_it_was_looked_at(study: Study, tmp_path: Path) -> None:
    """Its p-values are of five seeds that were added because of what three had shown."""
    store = Store.at(tmp_path)

    def seeds(count: int) -> Study:
        runs = tuple(run for run in study.runs if run.config.seed < count)
        return replace(study, sequential=None, runs=runs)

    seeds(3).declare(store)
    seeds(5).declare(store)  # nothing was seen yet
    assert "looked_at" not in record(store)
    seeds(3).declare(store)
    Trainer()(seeds(3), store)
    seeds(3).declare(store)
    assert "looked_at" not in record(store)
    store.storage.write("reports/cells/report.html", b"")
    seeds(5).declare(store)
    assert record(store)["looked_at"] == [3]
    Trainer()(seeds(5), store)
    seeds(5).declare(store)
    assert record(store)["looked_at"] == [3]
    seeds(8).declare(store)
    assert record(store)["looked_at"] == [3, 5]


def test_an_arm_that_is_added_to_a_plain_study_was_not_looked_at(study: Study, tmp_path: Path) -> None:
    """Its runs are chosen without knowing what they show; seeds that are added with it are not."""
    store = Store.at(tmp_path)

    def plain(arms: int, seeds: int) -> Study:
        names = [arm.name for arm in study.arms[:arms]]
        runs = tuple(run for run in study.runs if run.arm.name in names and run.config.seed < seeds)
        return replace(study, sequential=None, arms=study.arms[:arms], runs=runs)

    plain(2, 3).declare(store)
    Trainer()(plain(2, 3), store)
    store.storage.write("reports/cells/report.html", b"")
    plain(3, 3).declare(store)
    assert "looked_at" not in record(store)
    Trainer()(plain(3, 3), store)
    plain(3, 5).declare(store)
    assert record(store)["looked_at"] == [3]


def test_a_rule_that_is_declared_after_a_look_at_its_runs_is_known_for_it(study: Study, tmp_path: Path) -> None:
    """Another study of the store has reported on them: kept to the end, unlike a report that comes later."""
    store, few = Store.at(tmp_path), tuple(run for run in study.runs if run.config.seed < 2)
    other = replace(study, name="other", sequential=None, runs=few)
    other.declare(store)
    Trainer()(other, store)
    replace(study, name="unseen").declare(store)
    assert "looked_at" not in record(store, "studies/unseen.json")
    store.storage.write("reports/other/report.html", b"")
    study.declare(store)
    Trainer()(study, store)
    study.declare(store)
    assert record(store)["looked_at"] == [2]
    replace(study, name="unseen").declare(store)  # its rule was there before the report
    assert "looked_at" not in record(store, "studies/unseen.json")
    replace(other, name="again").declare(store)
    assert "looked_at" not in record(store, "studies/again.json")
    replace(study, name="more", sequential=None).declare(store)
    assert record(store, "studies/more.json")["looked_at"] == [2]
