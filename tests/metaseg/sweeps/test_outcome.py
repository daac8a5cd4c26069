"""Ends of trials in Optuna's study, the best trial, and the sweep's table."""

from dataclasses import replace

import pandas as pd
import pytest
from optuna.trial import TrialState

from metaseg.config import ConfigError
from metaseg.sweeps.continuation import open_sweep
from metaseg.sweeps.outcome import best_trial
from metaseg.sweeps.table import write_table
from small_sweep import ask_and_tell


@pytest.mark.parametrize(("diverged", "state"), [(True, TrialState.PRUNED), (False, TrialState.FAIL)])
def test_samplers_learn_of_trials_that_diverge_and_not_of_machines_that_fail(sweep, store, diverged, state):
    study = open_sweep(sweep, store, [])
    ask_and_tell(sweep, study, 0.0, state="failed", curve=(), values={}, diverged=diverged)
    assert [trial.state for trial in study.trials] == [state]


def test_the_best_trial_is_complete_and_keeps_to_constraints(sweep, store):
    search = replace(sweep.search, constraints=("parameters<=100",))
    sweep = replace(sweep, search=search)
    study = open_sweep(sweep, store, [])
    for score, parameters, state in (
        (0.5, 90, "complete"),
        (0.9, 110, "complete"),
        (0.8, 90, "pruned"),
        (0.5, 1, "complete"),
    ):
        told = {"values": {"val_f1": score, "parameters": parameters}}
        ask_and_tell(sweep, study, score, state=state, **told)
    assert best_trial(sweep, study).number == 0
    table = write_table(sweep, study, store)
    assert table["feasible"].tolist() == [True, False, True, True]
    pd.testing.assert_frame_equal(pd.read_parquet(store.storage.path("sweeps/page.sme/trials.parquet")), table)


def test_an_objective_that_isnt_reported_fails_at_once(sweep, store):
    sweep = replace(sweep, search=replace(sweep.search, objectives=("val_f1", "flops")))
    with pytest.raises(ConfigError, match=r"objective 'flops' of trial 0 .* wasn't reported"):
        ask_and_tell(sweep, open_sweep(sweep, store, []), 0.5)
