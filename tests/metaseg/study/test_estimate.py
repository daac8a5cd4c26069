"""Estimates of a dry run: what they are measured by, and that they grow as the work does."""

import dataclasses
import io

import pytest
import torch
from rich.console import Console

from metaseg.config import EngineConfig, NetworkConfig, RunConfig, ScheduleConfig
from metaseg.store.runs import Store
from metaseg.study.estimate import measure, print_estimate, readable
from metaseg.study.plan import plan

CPU = torch.device("cpu")
SCHEDULE = ScheduleConfig(epochs=2, batch_size=4, crop=32)


@pytest.fixture(scope="module")
def config(tiny_dataset):
    return RunConfig("sme", "true", 0, tiny_dataset.fingerprint, NetworkConfig(width=8, depth=2), SCHEDULE)


def test_parameters_are_counted_and_memory_holds_what_the_backward_pass_needs(config, tiny_dataset):
    cost = measure(config, tiny_dataset, CPU)
    wider = measure(dataclasses.replace(config, network=NetworkConfig(width=16, depth=2)), tiny_dataset, CPU)
    assert not cost.scaled
    assert 3.5 * cost.parameters < wider.parameters < 4.5 * cost.parameters
    # At least a batch's first features, in float32: before and after their normalisation.
    assert cost.memory > 4 * 4 * cost.parameters + 2 * 4 * 8 * 32 * 32 * 4
    assert 1.5 < wider.memory / cost.memory < 4.5


def test_time_grows_with_epochs_and_steps_larger_than_measured_are_scaled(config, tiny_dataset):
    cost = measure(config, tiny_dataset, CPU)
    longer = dataclasses.replace(config, schedule=dataclasses.replace(SCHEDULE, epochs=200))
    assert measure(longer, tiny_dataset, CPU).seconds(longer, tiny_dataset) > 10 * cost.seconds(config, tiny_dataset)
    large = measure(
        dataclasses.replace(config, schedule=dataclasses.replace(SCHEDULE, crop=512, batch_size=16)), tiny_dataset, CPU
    )
    assert large.scaled
    assert large.memory > 50 * (cost.memory - 16 * cost.parameters)


def test_the_listing_has_every_run_and_a_total(tiny_dataset, tmp_path):
    arms = ["baseline", "baseline-stratified", "sme"]
    study = plan("s", tiny_dataset, arms, 2, NetworkConfig(width=4, depth=1), SCHEDULE)
    output = io.StringIO()
    print_estimate(study, Store.at(tmp_path), EngineConfig(), Console(file=output, width=120))
    text = output.getvalue()
    assert all(run.run_id in text for run in study.runs)
    assert "10 runs are missing: about" in text
    assert "GPU memory: at most about" in text


def test_early_stopping_makes_the_estimate_the_most_that_it_can_be(tiny_dataset, tmp_path):
    output = io.StringIO()
    study = plan("s", tiny_dataset, ["baseline"], 1, NetworkConfig(width=4, depth=1), SCHEDULE, early_stopping=2)
    print_estimate(study, Store.at(tmp_path), EngineConfig(), Console(file=output, width=120))
    assert "1 runs are missing: at most about" in output.getvalue()


def test_a_part_of_the_samples_costs_and_counts_as_the_whole(config, tiny_dataset, tmp_path):
    part = dataclasses.replace(tiny_dataset, share=0.01)
    cost = measure(config, tiny_dataset, CPU)
    assert cost.seconds(config, part) == pytest.approx(100 * cost.seconds(config, tiny_dataset))
    study = plan("s", part, ["baseline"], 1, NetworkConfig(width=4, depth=1), SCHEDULE)
    assert study.sample_count(study.runs[0]) == 100 * len(tiny_dataset.indices("train"))
    output = io.StringIO()
    print_estimate(study, Store.at(tmp_path), EngineConfig(), Console(file=output, width=120))
    assert study.runs[0].run_id not in output.getvalue(), "it would be another with all samples"


@pytest.mark.parametrize(
    ("seconds", "text"), [(45, "45 s"), (100, "100 s"), (150, "2.5 min"), (4000, "1.1 h"), (200_000, "2.3 d")]
)
def test_durations_are_readable(seconds, text):
    assert readable(seconds) == text
