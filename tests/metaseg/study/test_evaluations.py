"""Evaluations of a network with true metadata, zeros, and every other value."""

import dataclasses

import pandas as pd
import pytest
import torch

from metaseg.config import NetworkConfig, RunConfig, ScheduleConfig, Subset
from metaseg.study.evaluations import SWAPPED_QUANTILES, evaluate_test_images
from metaseg.training.fit import fit

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def config(tiny_dataset):
    schedule = ScheduleConfig(epochs=1, batch_size=8, crop=16)
    return RunConfig("sme", "true", 0, tiny_dataset.fingerprint, NetworkConfig(width=4, depth=1), schedule)


def rows(config, dataset) -> pd.DataFrame:
    return evaluate_test_images(config, fit(config, dataset, CPU), dataset, CPU)


def test_each_test_image_is_tested_with_zeros_and_with_every_value_that_isnt_its_own(config, tiny_dataset):
    table = rows(config, tiny_dataset)
    test = tiny_dataset.table.iloc[tiny_dataset.indices("test")]
    sizes = table["evaluation"].value_counts()
    assert sizes["as-trained"] == sizes["zeros"] == len(test)
    for line in "abc":
        told = table[table["evaluation"] == f"line={line}"]
        assert set(told["image"]) == set(test["image"][test["line"] != line])
        assert set(told["meta_line"]) == set("abc") - {line}  # what the image is, not what was told
    assert sizes["line=unknown"] == sizes["dose=unknown"] == len(test)
    swapped = sizes[sizes.index.str.startswith("dose=") & (sizes.index != "dose=unknown")]
    assert len(swapped) == SWAPPED_QUANTILES
    training = tiny_dataset.table["dose"].iloc[tiny_dataset.indices("train")]
    values = sorted(float(name.removeprefix("dose=")) for name in swapped.index)
    assert values[0] == pytest.approx(training.min(), rel=0.01)
    assert values[-1] == pytest.approx(training.max(), rel=0.01)
    pixels = table[["tp", "fp", "fn", "tn"]].sum(axis=1)
    assert (pixels == table["image"].map(test.set_index("image")[["height", "width"]].prod(axis=1))).all()


@pytest.mark.parametrize(("block", "mode"), [("se", "absent"), ("sme", "zeros"), ("sme", "shuffled")])
def test_what_wasnt_told_the_truth_is_tested_only_as_it_was_trained(config, tiny_dataset, block, mode):
    table = rows(dataclasses.replace(config, block=block, metadata_mode=mode), tiny_dataset)
    assert set(table["evaluation"]) == {"as-trained"}


def test_a_run_of_a_subset_is_trained_and_tested_on_it_alone(config, tiny_dataset):
    part = dataclasses.replace(config, block="se", metadata_mode="absent", subset=Subset("line", "b"))
    fitted = fit(part, tiny_dataset, CPU)
    assert set(evaluate_test_images(part, fitted, tiny_dataset, CPU)["meta_line"]) == {"b"}
    whole = fit(dataclasses.replace(part, subset=None), tiny_dataset, CPU)
    differ = [not torch.equal(a, b) for a, b in zip(fitted.model.parameters(), whole.model.parameters(), strict=True)]
    assert any(differ)
