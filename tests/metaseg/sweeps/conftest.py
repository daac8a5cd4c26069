"""Fixtures of the tests of sweeps: an empty store, and a small sweep."""

import pytest

from metaseg.store.runs import Store
from metaseg.study.arms import ARMS
from metaseg.sweeps.search import SearchConfig
from metaseg.sweeps.sweep import Sweep
from small_sweep import NETWORK, SCHEDULE, SPACE


@pytest.fixture
def store(tmp_path):
    return Store.at(tmp_path / "store")


@pytest.fixture
def sweep(tiny_dataset):
    search = SearchConfig(trials=6, startup=3, pruner="none")
    return Sweep("page.sme", tiny_dataset, ARMS["sme"], NETWORK, SCHEDULE, SPACE, search)
