"""Studies with many subgroups: categories with more than 127 values need wider integers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.report.study import report
from analysis.scores.image_scores import summarise
from fake_store import image_rows, make_scores, write_study
from metaseg.store.folder import FolderStorage


@pytest.mark.parametrize("subgroups", [125, 126, 127, 300])
def test_any_number_of_subgroups_has_means(subgroups: int) -> None:
    names = [f"line {k:03}" for k in range(subgroups)] * 2
    f1 = np.random.default_rng(0).uniform(0.5, 0.9, (2, len(names)))
    cells = summarise(make_scores({"baseline": f1, "sme": f1}, names))
    assert len(cells) == 2 * (subgroups + 1)
    assert (cells["n_partial"] == 0).all()
    assert cells["mean"].iloc[0] == pytest.approx(f1.mean())


@pytest.mark.slow
def test_a_report_of_many_subgroups_is_made(tmp_path: Path) -> None:
    lines = [f"line {k:03}" for k in range(130)] * 2
    write_study(tmp_path, lambda arm, seed: rows_of(arm, seed, lines), seeds=2)
    result = report(FolderStorage(tmp_path), "cells")
    assert result.tests["subgroup"].nunique() == 131


def rows_of(arm: str, seed: int, lines: list[str]) -> pd.DataFrame:
    generator = np.random.default_rng([len(arm), seed])
    return image_rows(generator.uniform(0.7, 0.8, len(lines)), lines)
