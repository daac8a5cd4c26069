"""Sweeps of a dataset with folds search inside folds, never in all images at once."""

from dataclasses import replace

import pytest

from metaseg.cli.sweep_page import SweepOptions, _in_one_fold, _searched
from metaseg.config import ConfigError
from metaseg.data.dataset import Dataset


def test_settings_are_searched_in_the_fold_that_is_named_or_in_each_for_its_own_networks(
    tiny_dataset: Dataset, folded_dataset: Dataset
) -> None:
    options = SweepOptions()
    assert _searched(tiny_dataset, options) == (tiny_dataset,)
    assert [view.fold for view in _searched(folded_dataset, replace(options, fold="1"))] == ["1"]
    assert [view.fold for view in _searched(folded_dataset, replace(options, tune_each_arm=True))] == ["0", "1", "2"]
    with pytest.raises(ConfigError, match="--fold is missing; expected one of 0, 1, 2, to search in"):
        _searched(folded_dataset, options)
    with pytest.raises(ConfigError, match="fold is '1'; expected none with --tune-each-arm"):
        _searched(folded_dataset, replace(options, fold="1", tune_each_arm=True))
    with pytest.raises(ConfigError, match=r"fold is '1'; dataset 'tiny.*' has no folds"):
        _searched(tiny_dataset, replace(options, fold="1"))


def test_a_sweep_in_one_fold_says_that_its_settings_do_not_serve_the_others() -> None:
    said = _in_one_fold(SweepOptions(fold="1"))
    assert "chosen on images that other folds than 1 test" in said
    assert "--tune-each-arm --folds" in said
