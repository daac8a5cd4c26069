"""Runs that lack some of a cell's images: every mean stays that over all images, and tests know what was filled in."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.report.sections.scores import score_caption
from analysis.report.study import report
from analysis.results.declaration import Comparison, ResultsError, Study
from analysis.results.store_rows import Collected
from analysis.scores.image_scores import image_scores, summarise, with_overall
from analysis.scores.missing import additive
from analysis.scores.score_matrix import ScoreMatrix, score_matrices
from analysis.stats.comparisons import compare
from analysis.stats.mixed import mixed_difference
from analysis.stats.mrmc import difference
from fake_controls import collected_rows, count_rows, write_parts
from fake_store import make_scores, simulate
from metaseg.schema import OVERALL, Average
from metaseg.store.folder import FolderStorage

SME = Comparison("sme", "baseline")


def lacking(scores: pd.DataFrame, images: list[int], arm: str = "sme", seed: int = 0) -> pd.DataFrame:
    """The scores without some images of one run."""
    names = [f"{i:03}.png" for i in images]
    gone = (scores["arm"] == arm) & (scores["seed"] == seed) & scores["image"].isin(names)
    return scores[~gone].reset_index(drop=True)


def lost_at_random(scores: pd.DataFrame, share: float, seed: int = 0) -> pd.DataFrame:
    """The scores without some of all rows."""
    return scores[np.random.default_rng(seed).random(len(scores)) >= share].reset_index(drop=True)


def matrix_of(scores: pd.DataFrame, average: Average = "images", subgroup: str = OVERALL) -> ScoreMatrix:
    return next(matrix for _, name, matrix in score_matrices(scores, average) if name == subgroup)


def row_of(scores: pd.DataFrame, average: Average = "images") -> pd.Series:
    return compare(scores, [SME], 0.01, average).set_index("subgroup").loc[OVERALL]


def thirty(subgroup: tuple[str, ...] = ("all",), group: list[str] | None = None, seed: int = 0) -> pd.DataFrame:
    f1 = simulate(np.random.default_rng(seed), 30, baseline=0.0, sme=0.02)
    return make_scores(f1, list(subgroup) * (30 // len(subgroup)), group)


@pytest.mark.parametrize("average", ["images", "subgroups"])
def test_complete_scores_are_tested_by_the_closed_form_as_ever(average: Average) -> None:
    scores = thirty(("a", "b"))
    rows = with_overall(scores, average)
    assert (rows["weight"].eq(1).all(), rows["filled"].any()) == (True, False)
    matrix, row = matrix_of(scores, average), row_of(scores, average)
    expected = difference(matrix, "sme", "baseline")
    assert matrix.complete
    assert (row["difference"], row["p"], row["df"]) == (expected.estimate, expected.p, expected.df)
    assert summarise(scores, average)["n_partial"].eq(0).all()


@pytest.mark.parametrize("images", [[3], [0, 7], list(range(12))])
def test_a_run_that_lacks_images_stays_and_little_changes(images: list[int]) -> None:
    whole = thirty()
    scores = lacking(whole, images)
    row, complete = row_of(scores), row_of(whole)
    assert (row["n_seeds"], row["n_units"], row["n_images"], row["n_common"]) == (3, 30, 30, 30)
    assert row["difference"] == pytest.approx(complete["difference"], abs=0.003)
    assert row["se"] == pytest.approx(complete["se"], rel=0.2)
    assert np.isfinite(row["superiority"])
    cells = summarise(scores).set_index("arm")
    assert cells[["n_partial", "n_lacking"]].to_numpy().tolist() == [[0, 0], [1, 0]]


def test_a_score_is_filled_in_as_least_squares_by_run_and_image_predict_it() -> None:
    """Against a regression on dummy variables of the arm's runs and images."""
    scores = lost_at_random(thirty(), 0.15)
    own = scores[scores["arm"] == "sme"]
    design = pd.get_dummies(own[["seed", "image"]].astype(str)).astype(float)
    effects, *_ = np.linalg.lstsq(design.to_numpy(), own["score"].to_numpy(), rcond=None)
    rows = with_overall(scores)
    filled = rows[rows["filled"] & (rows["arm"] == "sme")]
    assert len(filled) == 90 - len(own) > 5
    wanted = pd.get_dummies(filled[["seed", "image"]].astype(str)).reindex(columns=design.columns, fill_value=False)
    np.testing.assert_allclose(filled["score"], wanted.to_numpy(float) @ effects, atol=1e-12)


def test_hard_images_that_an_arm_lacks_move_neither_its_mean_nor_the_test() -> None:
    """Two equal arms of 40 patients, of which one arm lacks the hard slice of each second."""
    hard = np.arange(200) % 5 == 0
    rng = np.random.default_rng(5)
    base = np.where(hard, 0.3, 0.9) + rng.normal(0, 0.03, 200)
    f1 = {arm: base + rng.normal(0, 0.02, (3, 200)) for arm in ("baseline", "sme")}
    whole = make_scores(f1, ["all"] * 200, [f"p{i // 5:02}" for i in range(200)])
    names = {f"{i:03}.png" for i in range(0, 200, 10)}
    scores = whole[~((whole["arm"] == "sme") & whole["image"].isin(names))].reset_index(drop=True)
    row, complete = row_of(scores), row_of(whole)
    assert (row["n_images"], row["n_common"]) == (200, 180)
    assert row["difference"] == pytest.approx(complete["difference"], abs=0.002)
    assert row["verdict"] in ("equal", "no evidence")
    cells = summarise(scores).set_index("arm")
    assert cells.loc["sme", "n_lacking"] == 20
    assert cells.loc["sme", "mean"] == pytest.approx(summarise(whole).set_index("arm").loc["sme", "mean"], abs=0.005)


def test_images_that_an_arm_lacks_are_no_evidence() -> None:
    """With one run an arm lacking nothing else, the test is the paired one on common images."""
    rng = np.random.default_rng(6)
    base, other = rng.uniform(0.5, 0.9, (2, 40))
    f1 = {"baseline": base[None].repeat(3, 0), "sme": other[None].repeat(3, 0)}
    scores = make_scores(f1, ["all"] * 40)
    scores = scores[~((scores["arm"] == "sme") & scores["image"].isin([f"{i:03}.png" for i in range(8)]))]
    row, common = row_of(scores.reset_index(drop=True)), (other - base)[8:]
    assert row["difference"] == pytest.approx(common.mean())
    assert row["se"] == pytest.approx(common.std(ddof=1) / np.sqrt(32), rel=0.02)
    assert row["df"] == pytest.approx(31, rel=0.02)


@pytest.mark.parametrize("average", ["images", "subgroups"])
@pytest.mark.parametrize("share", [0.1, 0.3])
def test_tables_and_tests_agree_whatever_is_missing(average: Average, share: float) -> None:
    f1 = simulate(np.random.default_rng(8), 60, baseline=0.0, sme=0.02, me=0.01)
    scores = lost_at_random(make_scores(f1, ["a"] * 40 + ["b"] * 20), share)
    gone = (scores["arm"] == "sme") & scores["image"].isin(["003.png", "050.png", "051.png"])
    scores = scores[~gone].reset_index(drop=True)
    means = summarise(scores, average).set_index(["subgroup", "arm"])["mean"]
    tests = compare(scores, [SME, Comparison("me", "baseline"), Comparison("sme", "me")], 0.01, average)
    for row in tests.itertuples():
        said = means[row.subgroup, row.arm] - means[row.subgroup, row.reference]
        assert row.difference == pytest.approx(said, abs=1e-12)
    for arm in f1:
        share_of_a = 2 / 3 if average == "images" else 1 / 2
        assert means[OVERALL, arm] == pytest.approx(share_of_a * means["a", arm] + (1 - share_of_a) * means["b", arm])


def test_a_tenth_lost_at_random_costs_no_verdict() -> None:
    for seed in range(8):
        f1 = simulate(np.random.default_rng(seed), 60, baseline=0.0, sme=0.03)
        whole = make_scores(f1, [f"line {i % 12}" for i in range(60)])
        scores = lost_at_random(whole, 0.1, seed)
        row, complete = row_of(scores), row_of(whole)
        assert row[["verdict", "n_seeds"]].to_list() == ["helps", 3]
        assert row["difference"] == pytest.approx(complete["difference"], abs=0.002)
        assert row["se"] == pytest.approx(complete["se"], rel=0.35)


def test_one_absent_well_of_one_run_changes_almost_nothing() -> None:
    """30 wells of 1 to 14 images whose gain grows with their size: they count by images, with and without it."""
    rng = np.random.default_rng(7)
    sizes = np.resize(np.arange(1, 15), 30)
    group = [f"well {k:02}" for k, size in enumerate(sizes) for _ in range(size)]
    gain = np.repeat((sizes - 5) * 0.002, sizes)
    whole = make_scores(simulate(rng, len(group), arm_image=0.005, baseline=0.0, sme=gain), ["all"] * len(group), group)
    row, complete = row_of(lacking(whole, [0])), row_of(whole)
    for column in ("difference", "se", "df", "ci_low"):
        assert row[column] == pytest.approx(complete[column], rel=0.02), column


@pytest.mark.parametrize("seed", range(6))
def test_one_missing_score_moves_no_statistic_far(seed: int) -> None:
    """Also where a variance component is 0, at whose boundary a likelihood's degrees of freedom jump."""
    f1 = simulate(np.random.default_rng(seed), 30, arm_image=0.0, seed=0.0, baseline=0.0, sme=0.004)
    whole = make_scores(f1, ["all"] * 30)
    row, complete = row_of(lacking(whole, [seed])), row_of(whole)
    assert row["difference"] == pytest.approx(complete["difference"], abs=3e-4)
    assert row["se"] == pytest.approx(complete["se"], rel=0.12)
    assert row["df"] == pytest.approx(complete["df"], rel=0.35)


def test_scores_lost_at_random_are_estimated_as_by_a_mixed_model() -> None:
    """If units have equal weights and all components are positive, the likelihood's estimate is close."""
    f1 = simulate(np.random.default_rng(12), 80, seed=0.006, arm_image=0.02, error=0.02, baseline=0.0, sme=0.01)
    scores = lost_at_random(make_scores(f1, ["all"] * 80), 0.1)
    row, matrix = row_of(scores), matrix_of(make_scores(f1, ["all"] * 80))
    lost = np.ones(matrix.values.shape, bool)
    place = {name: k for k, name in enumerate(matrix.units)}
    for arm, seed, image in scores[["arm", "seed", "image"]].itertuples(index=False):
        lost[matrix.arms.index(arm) * 3 + seed, place[image]] = False
    holed = ScoreMatrix(matrix.arms, matrix.arm, matrix.seed, np.where(lost, np.nan, matrix.values), matrix.units, 80)
    expected = mixed_difference(holed, "sme", "baseline")
    assert row["difference"] == pytest.approx(expected.estimate, abs=0.15 * expected.se)
    assert row["se"] == pytest.approx(expected.se, rel=0.1)
    # The model's arms share one variance among seeds.
    pooled = difference(matrix_of(scores), "sme", "baseline", variances="pooled")
    assert pooled.df == pytest.approx(expected.df, rel=0.35)


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["a quarter at random", "hard images of an arm", "hard images of a run"])
@pytest.mark.parametrize("deviations", [(0.003, 0.03, 0.02), (0.0, 0.0, 0.05), (0.006, 0.01, 0.03)])
def test_equal_arms_are_called_different_at_the_nominal_rate(lost: str, deviations: tuple[float, float, float]) -> None:
    rng, found = np.random.default_rng(13), []
    seed, arm_image, error = deviations
    for draw in range(400):
        f1 = simulate(rng, 60, seed=seed, arm_image=arm_image, error=error, baseline=0.0, sme=0.0, third=0.0)
        # Hard for a third arm: chosen by the two arms' own scores, what is left would be better in one of them.
        hard = list(np.argsort(f1.pop("third").mean(axis=0))[:15])
        scores = make_scores(f1, ["all"] * 60)
        if lost == "a quarter at random":
            scores = lost_at_random(scores, 0.25, draw)
        else:
            for run in range(3 if lost == "hard images of an arm" else 1):
                scores = lacking(scores, hard, seed=run)
        found.append(row_of(scores)["p"])
    assert 0.01 < np.mean(np.array(found) < 0.05) < 0.085


def test_a_run_that_lacks_more_than_half_is_left_out() -> None:
    scores = lacking(thirty(), list(range(16)))
    row, two = row_of(scores), row_of(thirty()[lambda rows: (rows["arm"] == "baseline") | (rows["seed"] > 0)])
    pd.testing.assert_series_equal(row.drop("n_units"), two.drop("n_units"), rtol=1e-9)
    assert row["n_seeds"] == 2
    assert summarise(scores)["n_partial"].eq(0).all()


def test_runs_without_an_image_in_common_are_refused() -> None:
    scores = thirty()
    halves = {0: range(15), 1: range(15, 30)}
    for seed, images in halves.items():
        scores = lacking(scores, list(images), seed=seed)
    scores = scores[(scores["arm"] == "baseline") | (scores["seed"] < 2)].reset_index(drop=True)
    with pytest.raises(ResultsError, match="sme seed 0 and sme seed 1 share no image; expected runs that have images"):
        row_of(scores)


@given(st.integers(2, 6), st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_least_squares_of_what_is_additive_give_it_back(rows: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(rows, 1)) + rng.normal(size=columns)
    holed = truth.copy()
    holed[rng.random(truth.shape) < 0.3] = np.nan
    holed[:, 0], holed[0] = truth[:, 0], truth[0]
    of_row, of_column = additive(holed)
    np.testing.assert_allclose(of_row[:, None] + of_column, truth, atol=1e-9)


def test_a_macro_average_is_over_the_same_classes_for_all_runs() -> None:
    """A run that lacks the hard class of some images has no macro average there, which is filled in."""
    tables = {}
    for arm, seed in ((arm, seed) for arm in ("baseline", "sme") for seed in range(3)):
        names = [f"{i}.png" for i in range(20)]
        kidney, tumour = count_rows([0.9] * 20, names), count_rows([0.3] * 20, names).assign(**{"class": "tumour"})
        tables[arm, seed] = pd.concat([kidney, tumour.iloc[5:] if (arm, seed) == ("sme", 0) else tumour])
    scores = image_scores(collected_rows(tables), ["baseline", "sme"])
    means = summarise(scores).set_index(["class", "arm"])["mean"]["macro"]
    assert means.to_list() == pytest.approx([0.6, 0.6], abs=1e-3)


def test_rows_lost_at_random_cost_no_run_of_many_classes() -> None:
    """With ten classes and a tenth of all rows lost, hardly an image has all: their macro averages stay."""
    tables, names = {}, [f"{i}.png" for i in range(30)]
    rng = np.random.default_rng(4)
    for key in ((arm, seed) for arm in ("baseline", "sme") for seed in range(3)):
        classes = [count_rows(rng.uniform(0.6, 0.9, 30), names).assign(**{"class": f"c{k}"}) for k in range(10)]
        tables[key] = pd.concat(classes)
    whole = collected_rows(tables)
    lost = whole[rng.random(len(whole)) >= 0.1]
    cells = [summarise(image_scores(rows, ["baseline", "sme"])).set_index(["class", "arm"]) for rows in (whole, lost)]
    means = [each.loc["macro"] for each in cells]
    assert means[1]["n_seeds"].tolist() == [3, 3]
    np.testing.assert_allclose(means[1]["mean"], means[0]["mean"], atol=0.005)


def test_units_of_unequal_size_count_as_with_all_their_images() -> None:
    """A large unit that lacks some images counts as large as for the other runs."""
    group = ["large"] * 10 + [f"well {i // 2}" for i in range(20)]
    f1 = np.where(np.arange(30) < 10, 0.9, 0.5)
    scores = lacking(make_scores({"baseline": f1[None], "sme": f1[None]}, ["all"] * 30, group), [0, 1])
    cells = summarise(scores).set_index("arm")["mean"]
    assert cells["sme"] == pytest.approx(cells["baseline"])


def test_a_run_that_lacks_a_whole_subgroup_isnt_in_the_average_however_small_it_is() -> None:
    f1 = simulate(np.random.default_rng(1), 40, baseline=0.0, sme=0.0)
    scores = lacking(make_scores(f1, ["large"] * 38 + ["small"] * 2), [38, 39])
    seeds = summarise(scores).set_index(["arm", "subgroup"])["n_seeds"]["sme"]
    assert seeds.to_dict() == {OVERALL: 2, "large": 3, "small": 2}


def parted(missing: tuple[str, int, str] | None) -> dict[tuple[str, int, str], pd.DataFrame]:
    """40 images of two lines; an arm has a network for each microscope, of which "y" has made 2 images."""
    names, line = [f"{i}.png" for i in range(40)], ["a", "b"] * 20
    microscope = np.array(["x"] * 38 + ["y"] * 2)
    rng, tables = np.random.default_rng(2), {}
    for seed in range(2):
        whole = count_rows(rng.uniform(0.5, 0.9, 40), names, line, line=line, microscope=microscope)
        tables["baseline", seed, ""] = whole
        tables |= {("one each", seed, part): whole[microscope == part] for part in "xy"}
    return {key: table for key, table in tables.items() if key != missing}


def test_networks_of_parts_count_only_in_subgroups_that_they_cover() -> None:
    """Images of a part that isn't trained don't lack at random: though few, they aren't left to a mixed model."""
    frames = [
        rows.assign(arm=arm, seed=seed, part=part) for (arm, seed, part), rows in parted(("one each", 1, "y")).items()
    ]
    scores = image_scores(pd.concat(frames, ignore_index=True), ["baseline", "one each"])
    seeds = summarise(scores).set_index(["arm", "subgroup"])["n_seeds"]
    assert seeds["one each"].to_dict() == {OVERALL: 1, "a": 1, "b": 1}
    assert seeds["baseline"].eq(2).all()


def test_the_report_of_an_arm_whose_small_part_isnt_finished_leaves_it_out(tmp_path: Path) -> None:
    write_parts(tmp_path, parted(None), unfinished=[("one each", 1, "y")])
    result = report(FolderStorage(tmp_path), "parts")
    assert result.cells.set_index(["arm", "subgroup"]).loc[
        ("one each", OVERALL), ["n_seeds", "n_partial"]
    ].tolist() == [1, 0]
    assert result.tests.loc[result.tests["subgroup"] == OVERALL, "verdict"].tolist() == ["one seed"]


def test_the_caption_says_how_many_runs_lack_images() -> None:
    study = Study("s", "d", "baseline", ("baseline", "sme"), (), "")
    for scores, said in (
        (thirty(), None),
        (lacking(thirty(), [0]), "1 run lacks some images of a column"),
        (lacking(lacking(thirty(), [0]), [4], seed=2), "2 runs lack some images of a column (half at most)"),
    ):
        names = {"arm": "sme", "image": "a", "group": "a", "evaluation": "as-trained", "metadata_mode": "true"}
        collected = Collected(study, "", pd.DataFrame([names | {"tp": 0, "block": "se"}]), (), "line")
        caption = score_caption(summarise(scores), scores, collected, "bold", "underlined")
        assert ("some images" in caption) == (said is not None)
        assert said is None or said in caption


def test_a_score_that_is_there_twice_is_an_error() -> None:
    scores = thirty()
    with pytest.raises(ResultsError, match=r"1 scores are there twice; the first: sme seed 2, image '029.png', class"):
        with_overall(pd.concat([scores, scores.iloc[[-1]]], ignore_index=True))


def test_a_score_that_is_nan_is_an_error() -> None:
    images = collected_rows({("sme", 3): count_rows([0.5, 0.5], ["a", "b"])}).drop(columns=["tp", "fp", "fn", "tn"])
    images = images.assign(score=[0.5, np.nan], metric="f1")
    with pytest.raises(ResultsError, match=r"the score of sme seed 3, image 'b' is NaN"):
        image_scores(images, ["sme"])


def test_a_class_that_no_reference_holds_has_no_scores_where_such_images_are_left_out() -> None:
    images = collected_rows({("sme", 0): count_rows([0.5], ["a"]).assign(tp=0, fn=0)})
    with pytest.raises(ResultsError, match="no image has a score"):
        image_scores(images, ["sme"], empty="left out")
