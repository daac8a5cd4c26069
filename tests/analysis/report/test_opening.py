"""The first sentences of a report: which networks its arms are."""

from pathlib import Path

import numpy as np
import pytest

from analysis.report.opening import describe
from analysis.results.declaration import ResultsError
from analysis.results.merge import collect
from fake_store import image_rows, write_study
from metaseg.store.folder import FolderStorage


def opening(store: Path, **record: object) -> str:
    rng = np.random.default_rng(0)
    write_study(store, lambda arm, seed: image_rows(rng.uniform(0.5, 0.9, 12)), **record)
    return " ".join(describe(collect(FolderStorage(store), "cells")))


def test_metasegs_u_net_is_the_rule_and_isnt_named(tmp_path: Path) -> None:
    assert "Arms: baseline (block se" in opening(tmp_path)


def test_a_network_of_all_arms_is_named_once(tmp_path: Path) -> None:
    said = opening(tmp_path, networks={"baseline": "monai.BasicUNet", "sme": "monai.BasicUNet"})
    assert "Arms, all with the network monai.BasicUNet: baseline (block se" in said
    assert said.count("BasicUNet") == 1


def test_a_network_of_one_arm_is_named_there(tmp_path: Path) -> None:
    said = opening(tmp_path, networks={"sme": "resdunet"})
    assert "Arms: baseline (block se" in said
    assert "sme (network resdunet; block" in said


def test_networks_that_arent_texts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"networks is .*; expected texts by arm"):
        opening(tmp_path, networks={"sme": 3})
