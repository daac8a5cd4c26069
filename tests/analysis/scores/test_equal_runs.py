"""Runs that have the same rows in the same order are laid out by their first; others must come to the same."""

import numpy as np
import pandas as pd
import pytest

from analysis.results.declaration import ResultsError
from analysis.scores.score_matrix import score_matrices
from fake_store import make_scores, simulate
from metaseg.schema import MACRO, Average


def scores_of(classes: list[str]) -> pd.DataFrame:
    f1 = simulate(np.random.default_rng(0), 24, baseline=0.0, sme=0.02)
    whole = make_scores(f1, ["a", "b", "b"] * 8, [f"well {k // 2}" for k in range(24)])
    kind = pd.CategoricalDtype([*classes, MACRO], ordered=True)
    return pd.concat([whole.assign(**{"class": pd.Series(name, whole.index).astype(kind)}) for name in classes])


@pytest.mark.parametrize("average", ["images", "subgroups"])
@pytest.mark.parametrize("classes", [["cell"], ["cell", "nucleus"]])
def test_the_order_of_rows_changes_nothing(average: Average, classes: list[str]) -> None:
    scores = scores_of(classes).reset_index(drop=True)
    shuffled = scores.sample(frac=1, random_state=0, ignore_index=True)
    laid, expected = list(score_matrices(scores, average)), list(score_matrices(shuffled, average))
    assert [(name, subgroup) for name, subgroup, _ in laid] == [
        (name, subgroup) for name in classes for subgroup in ("Average", "a", "b")
    ]
    for (*cell, found), (*other, right) in zip(laid, expected, strict=True):
        assert cell == other
        assert (found.arms, found.units, found.images) == (right.arms, right.units, right.images)
        for name in ("arm", "seed", "stratum"):
            assert getattr(found, name).tolist() == getattr(right, name).tolist()
        np.testing.assert_allclose(found.values, right.values, rtol=1e-14)
        np.testing.assert_allclose(found.weights, right.weights, rtol=1e-14)


def test_runs_as_long_as_the_first_on_the_same_images_in_another_order_arent_taken_for_it() -> None:
    scores = scores_of(["cell"]).reset_index(drop=True)
    backwards = scores.take([*range(len(scores) - 24), *range(len(scores) - 1, len(scores) - 25, -1)])
    found, expected = (next(score_matrices(each))[2] for each in (backwards, scores))
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-14)


def test_an_image_that_all_runs_have_twice_is_refused() -> None:
    scores = scores_of(["cell"])
    scores["image"] = scores["image"].replace("002.png", "001.png")
    with pytest.raises(ResultsError, match="6 scores are there twice"):
        list(score_matrices(scores))
