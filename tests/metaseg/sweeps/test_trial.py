"""A trial: trained and validated like a run, judged, and never tested."""

from dataclasses import replace

import numpy as np
import pytest

from metaseg.data.dataset import TestWithheldError
from metaseg.store.runs import Store
from metaseg.study.execution import execute
from metaseg.sweeps import trial
from metaseg.training.fit import fit
from small_sweep import CPU, run_trial


def test_a_trial_never_reads_a_test_image(sweep, store, tmp_path):
    """Not by mistake either: its dataset refuses, and other test images give the same trial."""
    withheld = sweep.dataset.without_test()
    test = int(sweep.dataset.indices("test")[0])
    for read in (withheld.image, withheld.mask):
        with pytest.raises(TestWithheldError, match="is withheld"):
            read(test)
    with pytest.raises(TestWithheldError):
        withheld.indices("test")
    np.testing.assert_array_equal(
        withheld.image(0) if test else withheld.image(1), sweep.dataset.image(0 if test else 1)
    )

    noise = np.random.default_rng(0)
    images = sweep.dataset.pixels[0].copy()
    for sample in sweep.dataset.indices("test"):
        start, end = sweep.dataset.starts[0][sample : sample + 2]
        images[start:end] = noise.integers(0, 256, end - start)
    spoilt = replace(sweep.dataset)
    spoilt.__dict__["_images"] = images
    params = {"lr_max": 1e-2, "batch_size": 2}
    clean = run_trial(sweep, store, params)
    again = run_trial(replace(sweep, dataset=spoilt), Store.at(tmp_path / "other"), params)
    assert again.curve == clean.curve


def test_a_trial_is_given_a_dataset_that_withholds_test_images(sweep, folded_dataset, store, monkeypatch):
    given = []
    monkeypatch.setattr(
        trial, "fit", lambda config, dataset, *more: given.append(dataset) or fit(config, dataset, *more)
    )
    for dataset in (sweep.dataset, folded_dataset.of_fold("1")):
        run_trial(replace(sweep, dataset=dataset), store, {"lr_max": 1e-2, "batch_size": 4})
        assert given[-1].fold == dataset.fold
        with pytest.raises(TestWithheldError):
            given[-1].image(int(dataset.indices("test")[0]))


def test_a_trial_keeps_its_history_and_is_taken_from_the_store_the_second_time(sweep, store):
    params = {"lr_max": 1e-2, "batch_size": 2}
    first = run_trial(sweep, store, params, measured=("parameters",))
    assert (first.state, first.reused, first.epochs) == ("complete", False, 4)
    assert first.values["val_f1"] == max(score for _, score in first.curve)
    assert [epoch for epoch, _ in first.curve] == [2, 4]
    told = []
    again = run_trial(sweep, store, params, lambda epoch, score: bool(told.append((epoch, score))), number=1)
    assert again.reused
    assert tuple(told) == again.curve == first.curve
    assert not run_trial(sweep, store, params).reused, "a death between training and telling isn't a reuse"
    assert not store.done(), "a trial is no run: it has no test results"


def test_a_run_of_a_study_is_reused_by_a_sweep(sweep, store):
    params = {"lr_max": 1e-2, "batch_size": 2}
    execute(sweep.config(params), sweep.dataset, store, CPU)
    assert run_trial(sweep, store, params).reused


def test_a_pruned_trial_ends_where_the_judge_says(sweep, store):
    pruned = run_trial(sweep, store, {"lr_max": 1e-2, "batch_size": 2}, lambda epoch, score: epoch == 2)
    assert (pruned.state, pruned.epochs, pruned.image_epochs) == ("pruned", 2, 2 * len(sweep.dataset.indices("train")))
    assert store.find_trained(pruned.run_id) is None


def test_a_trial_that_diverges_has_failed_and_says_why(sweep, store, monkeypatch):
    monkeypatch.setattr(
        "metaseg.training.step.supervised_loss", lambda logits, *target: logits.mean((1, 2, 3)) * np.nan
    )
    failed = run_trial(sweep, store, {"lr_max": 1e-2, "batch_size": 2})
    assert (failed.state, failed.diverged, failed.curve) == ("failed", True, ())
    assert "training loss is nan" in failed.error


def test_a_trial_that_stops_early_is_complete_and_has_used_fewer_epochs(sweep, store, monkeypatch):
    scores = iter([0.5, 0.25])
    monkeypatch.setattr("metaseg.training.fit.f1_score", lambda counts: np.array([next(scores)]))
    stopped = run_trial(replace(sweep, early_stopping=1, schedule=replace(sweep.schedule, epochs=8)), store, {})
    assert (stopped.state, stopped.epochs, stopped.epochs_planned) == ("complete", 4, 8)
    assert stopped.values["val_f1"] == 0.5
    assert store.find_trained(stopped.run_id) is not None
