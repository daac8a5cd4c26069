"""A sweep's settings: impossible ones are refused, and its record says what is searched."""

import json
from dataclasses import replace

import pytest

from metaseg.config import ConfigError
from metaseg.study.arms import ARMS
from metaseg.sweeps.continuation import open_sweep
from metaseg.sweeps.dimensions import Float
from metaseg.sweeps.search import SearchConfig
from metaseg.sweeps.space import Space
from small_sweep import run_trial


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arm": ARMS["baseline-stratified"]}, "is several networks"),
        ({"name": "../../elsewhere"}, "name of the sweep is '../../elsewhere': it holds '/'"),
        ({"search": SearchConfig(constraints=("params<=3",))}, "constraint is 'params<=3'"),
        ({"search": SearchConfig(objectives=("val_f1", "speed"))}, "unknown objective 'speed'"),
        ({"space": Space((Float("lr_max", 1e-5, 1e-4),))}, "lr_min"),
    ],
)
def test_sweeps_that_cant_be_are_refused_before_anything_is_trained(sweep, change, message):
    with pytest.raises(ConfigError, match=message):
        replace(sweep, **change)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trials": 0}, "trials is 0"),
        ({"objectives": ("parameters",)}, "expected val_f1 among them"),
        ({"objectives": ("val_f1", "val_f1")}, "each only once"),
        ({"max_epochs": 0}, "max_epochs is 0"),
    ],
)
def test_searches_that_cant_be_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        SearchConfig(**settings)


def test_a_sweep_in_a_fold_trains_and_validates_in_it_and_is_another_sweep(sweep, folded_dataset, store):
    with pytest.raises(ConfigError, match=r"fold is None; dataset 'tiny.*' has 0, 1, 2"):
        replace(sweep, dataset=folded_dataset)
    folded = [replace(sweep, dataset=view) for view in folded_dataset.views[:2]]
    settings = {"lr_max": 1e-2, "batch_size": 4}
    assert [each.config(settings).fold for each in folded] == ["0", "1"]
    assert run_trial(folded[0], store, settings).state == "complete"
    open_sweep(folded[0], store, [])
    with pytest.raises(ConfigError, match="whose fold is '0'; this one's is '1'"):
        open_sweep(folded[1], store, [])


def test_the_record_says_what_is_searched(sweep, store):
    open_sweep(sweep, store, ["python", "page.py"])
    record = json.loads(store.storage.read("sweeps/page.sme/sweep.json"))
    assert record["arm"] == "sme"
    assert record["generation"] == 1
    assert json.loads(record["space"]["batch_size"])["attributes"]["choices"] == [2, 4]
    assert record["command"] == "python page.py"
