"""Folds: a row of a matrix is one seed's networks of all folds; what is missing is left out in its fold alone."""

from collections.abc import Collection

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.results.declaration import ResultsError
from analysis.scores.example import example_scores
from analysis.scores.image_scores import image_scores, summarise, with_overall
from analysis.scores.score_matrix import Floats, ScoreMatrix, score_matrices
from fake_store import make_scores, simulate
from metaseg.schema import OVERALL, Average

FOLDS, SEEDS, IMAGES = 3, 3, 24
ARMS = ("baseline", "me", "sme")
RUNS = [(arm, seed, str(fold)) for arm in ARMS for seed in range(SEEDS) for fold in range(FOLDS)]


def fold_scores(missing: Collection[tuple[str, int, str]] = (), subgroup: list[str] | None = None) -> pd.DataFrame:
    """Scores of groups of 1 to 3 images, of which each is in one of the folds; without some runs."""
    f1 = simulate(np.random.default_rng(0), IMAGES, SEEDS, baseline=0.0, me=0.01, sme=0.02)
    group = np.repeat(np.arange(12), [1, 2, 3] * 4)
    scores = make_scores(f1, subgroup or ["a", "a", "b"] * 8, [f"well {k:02}" for k in group])
    scores["fold"] = pd.Categorical(np.tile(group % FOLDS, len(ARMS) * SEEDS).astype(str))
    gone = [key in set(missing) for key in zip(scores["arm"], scores["seed"], scores["fold"], strict=True)]
    kept: pd.DataFrame = scores[~np.array(gone)].reset_index(drop=True)
    return kept


def matrices(scores: pd.DataFrame, average: Average = "images") -> dict[str, ScoreMatrix]:
    return {subgroup: matrix for _, subgroup, matrix in score_matrices(scores, average)}


def filled_share(matrix: ScoreMatrix) -> Floats:
    return matrix.filled.share if matrix.filled else np.zeros_like(matrix.values)


def test_a_row_of_the_matrix_is_a_seed_and_each_unit_is_in_one_fold() -> None:
    scores = fold_scores()
    matrix = matrices(scores)[OVERALL]
    assert (matrix.values.shape, matrix.filled, matrix.images) == ((9, 12), None, IMAGES)
    expected = scores.astype(str).groupby("group")["fold"].agg(lambda own: int(own.unique().item()))
    assert dict(zip(matrix.units, matrix.fold.tolist(), strict=True)) == expected.to_dict()
    table = scores.pivot_table("score", ["arm", "seed"], "group", observed=True)
    np.testing.assert_allclose(matrix.values, table.to_numpy(), rtol=1e-12)


@pytest.mark.parametrize("average", ["images", "subgroups"])
def test_the_order_of_runs_changes_nothing(average: Average) -> None:
    """Runs as a study makes them are laid out by the first of each fold; shuffled rows one by one."""
    scores = fold_scores().sort_values(["seed", "fold", "arm"], kind="stable", ignore_index=True)
    shuffled = scores.sample(frac=1, random_state=0, ignore_index=True)
    laid, expected = matrices(scores, average), matrices(shuffled, average)
    assert list(laid) == list(expected) == [OVERALL, "a", "b"]
    for name, right in expected.items():
        found = laid[name]
        assert (found.arms, found.units, found.images) == (right.arms, right.units, right.images)
        for part in ("arm", "seed", "stratum", "fold"):
            assert getattr(found, part).tolist() == getattr(right, part).tolist()
        np.testing.assert_allclose(found.values, right.values, rtol=1e-14)
        np.testing.assert_allclose(found.weights, right.weights, rtol=1e-14)


@settings(max_examples=30, deadline=None)
@given(
    missing=st.sets(st.sampled_from(RUNS), max_size=16),
    average=st.sampled_from(["images", "subgroups"]),
    shuffled=st.booleans(),
)
def test_missing_runs_are_filled_in_by_the_other_seeds_of_their_fold(
    missing: set[tuple[str, int, str]], average: Average, shuffled: bool
) -> None:
    """Against means by pandas: each arm's column means are those of the runs that there are."""
    scores = fold_scores(missing).astype({"fold": str})
    rows = scores.sample(frac=1, random_state=1) if shuffled else scores
    for subgroup, matrix in matrices(rows, average).items():
        cell = scores if subgroup == OVERALL else scores[scores["subgroup"] == subgroup]
        keys = ["subgroup", "group"] if subgroup == OVERALL and average == "subgroups" else ["group"]
        means = cell.astype({"arm": str}).groupby([*keys, "fold", "arm", "seed"], observed=True)["score"].mean()
        wide = means.unstack(["arm", "seed"]).sort_index()
        fold = wide.index.get_level_values("fold")
        size = cell.drop_duplicates("image").groupby("fold").size()
        assert matrix.fold.tolist() == [list(size.index).index(name) for name in fold]
        for arm in ARMS:
            there = {(seed, name) for own, seed, name in set(RUNS) - missing if own == arm and name in size}
            covered = sum(size[name] for name in {name for _, name in there}) / size.sum()
            assert (arm in matrix.arms) == (covered >= 0.5)
            if arm not in matrix.arms:
                continue
            seeds = sorted({seed for seed, _ in there})
            assert list(matrix.seeds_of(arm)) == seeds
            measured = np.array([[(seed, name) in there for name in fold] for seed in seeds])
            expected = np.array([wide.get((arm, seed), pd.Series(np.nan, wide.index)) for seed in seeds])
            values, known = matrix.of(arm), measured.any(axis=0)
            np.testing.assert_allclose(values[measured], expected[measured], rtol=1e-12)
            mean = np.where(measured, expected, 0)[:, known].sum(axis=0) / measured[:, known].sum(axis=0)
            np.testing.assert_allclose(values.mean(axis=0)[known], mean, rtol=1e-12)
            assert np.isfinite(values).all()
            share = filled_share(matrix)[matrix.arm == matrix.arms.index(arm)]
            assert share.tolist() == (~measured).astype(float).tolist()


def test_tables_show_what_is_tested_whatever_is_missing() -> None:
    scores = fold_scores({("sme", 0, "1"), ("sme", 2, "2"), ("baseline", 1, "1")})
    means = summarise(scores).set_index(["arm", "subgroup"])
    by_image = scores.groupby(["arm", "image"], observed=True)["score"].mean()
    for arm in ARMS:
        assert means.loc[(arm, OVERALL), "mean"] == pytest.approx(by_image[arm].mean(), abs=1e-12)
    columns = ["n_seeds", "n_runs", "n_folds", "n_partial"]
    assert means.loc[("sme", OVERALL), columns].tolist() == [3, 7, 3, 0]
    assert means.loc[("me", OVERALL), columns].tolist() == [3, 9, 3, 0]


def test_the_sd_of_seeds_is_within_folds() -> None:
    """Networks of a seed are unrelated between folds, whose images differ: only those of one fold are compared."""
    scores = fold_scores({("sme", 0, "1")})
    own = scores[scores["arm"] == "sme"]
    squares = 0.0
    for fold in "012":
        means = [own.loc[(own["fold"] == fold) & (own["seed"] == seed), "score"].mean() for seed in range(SEEDS)]
        squares += float(np.nansum((np.array(means) - np.nanmean(means)) ** 2))
    found = summarise(scores).set_index(["arm", "subgroup"]).loc[("sme", OVERALL), "sd"]
    assert found == pytest.approx(np.sqrt(squares / (2 + 1 + 2)), rel=1e-12)
    one = summarise(scores[scores["seed"] == 1])
    assert one["sd"].isna().all()


def test_leaving_one_group_out_keeps_a_seed_that_lacks_the_group() -> None:
    """Each subgroup is a fold: a seed without a network of one still counts in the others."""
    scores = fold_scores()
    lines = ["line 0", "line 1", "line 2"]
    scores["subgroup"] = pd.Categorical("line " + scores["fold"].astype(str), [OVERALL, *lines], ordered=True)
    scores = scores[~((scores["arm"] == "sme") & (scores["seed"] == 0) & (scores["fold"] == "1"))]
    found = matrices(scores, "subgroups")
    assert (len(found[OVERALL].of("sme")), len(found["line 1"].of("sme")), len(found["line 0"].of("sme"))) == (3, 2, 3)
    own = filled_share(found[OVERALL])[found[OVERALL].arm == 2]
    assert own[0].tolist() == (found[OVERALL].fold == 1).astype(float).tolist()


def test_a_network_that_lacks_most_of_its_fold_counts_as_missing_there() -> None:
    scores = fold_scores()
    own = (scores["arm"] == "sme") & (scores["seed"] == 1) & (scores["fold"] == "2")
    names = scores.loc[own, "image"].tolist()
    few = scores[~(own & scores["image"].isin(names[:-2]))]
    most = scores[~(own & scores["image"].isin(names[:2]))]
    missing = matrices(fold_scores({("sme", 1, "2")}))[OVERALL].of("sme")
    assert len(names) == 12
    for table, shares in ((few, {1.0}), (most, {0.0, 0.667})):
        matrix = matrices(table)[OVERALL]
        share = filled_share(matrix)[(matrix.arm == 2) & (matrix.seed == 1)][0]
        assert set(share[matrix.fold == 2].round(3)) == shares
        assert not share[matrix.fold < 2].any()
    np.testing.assert_allclose(matrices(few)[OVERALL].of("sme"), missing, rtol=1e-12)
    assert with_overall(few).groupby(["arm", "seed"], observed=True).size().nunique() == 1


def test_arms_without_a_fold_in_common_arent_compared_yet() -> None:
    gone = {("me", seed, fold) for seed in range(SEEDS) for fold in "012"}
    gone |= {("baseline", seed, "0") for seed in range(SEEDS)} | {
        ("sme", seed, fold) for seed in range(SEEDS) for fold in "12"
    }
    assert "sme" not in {arm for matrix in matrices(fold_scores(gone)).values() for arm in matrix.arms}


def test_an_image_in_two_folds_and_a_group_in_two_folds_are_refused() -> None:
    scores = fold_scores().astype({"fold": str})
    moved = scores.assign(fold=scores["fold"].where((scores["seed"] > 0) | (scores["image"] != "000.png"), "2"))
    with pytest.raises(ResultsError, match=r"image '000.png' is in fold .*expected each image in one fold"):
        matrices(moved)
    with pytest.raises(ResultsError, match=r"group 'well 01' is in fold .* and in another; expected one"):
        matrices(scores.assign(fold=scores["fold"].where(scores["image"] != "001.png", "2")))


def test_image_scores_hand_the_fold_on() -> None:
    images = pd.DataFrame({"image": ["a", "b"], "tp": [8, 0], "fp": [2, 0], "fn": [2, 0], "arm": "sme", "seed": 0})
    images = images.assign(subgroup="all", group=images["image"], evaluation="as-trained", **{"class": "cell"})
    assert image_scores(images, ["sme"])["fold"].tolist() == ["", ""]
    assert image_scores(images.assign(fold=["0", "1"]), ["sme"])["fold"].tolist() == ["0", "1"]


def test_examples_with_folds_have_a_network_for_each() -> None:
    scores = example_scores(seeds=2, images=20, folds=5)
    assert scores.groupby("fold", observed=True).size().to_dict() == dict.fromkeys("01234", 2 * 2 * 4)
    assert next(matrix for _, _, matrix in score_matrices(scores)).fold.max() == 4
