"""Runs that lack some of a cell's images: which stay, by what they count, and what tests them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_controls import collected_rows, count_rows, write_parts
from fake_store import make_scores, simulate
from scipy import stats

from analysis.caption import caption_scores
from analysis.collect import Collected
from analysis.comparisons import compare, fitting_test
from analysis.layout import Layout, layouts
from analysis.mixed import mixed_difference
from analysis.mrmc import difference
from analysis.record import Average, Comparison, ResultsError, Study
from analysis.report import report
from analysis.scores import OVERALL, image_scores, summarise, with_overall
from metaseg.storage import FolderStorage

SME = Comparison("sme", "baseline")


def lacking(scores: pd.DataFrame, images: list[int], arm: str = "sme", seed: int = 0) -> pd.DataFrame:
    """The scores without some images of one run."""
    names = [f"{i:03}.png" for i in images]
    gone = (scores["arm"] == arm) & (scores["seed"] == seed) & scores["image"].isin(names)
    return scores[~gone].reset_index(drop=True)


def layout_of(scores: pd.DataFrame, average: Average = "images", subgroup: str = OVERALL) -> Layout:
    return next(layout for _, name, layout in layouts(scores, average) if name == subgroup)


def row_of(scores: pd.DataFrame, average: Average = "images") -> pd.Series:
    return compare(scores, [SME], 0.01, average).set_index("subgroup").loc[OVERALL]


def thirty(subgroup: tuple[str, ...] = ("all",), group: list[str] | None = None, seed: int = 0) -> pd.DataFrame:
    f1 = simulate(np.random.default_rng(seed), 30, baseline=0.0, sme=0.02)
    return make_scores(f1, list(subgroup) * (30 // len(subgroup)), group)


@pytest.mark.parametrize("average", ["images", "subgroups"])
def test_complete_scores_are_tested_by_the_closed_form_as_ever(average: Average) -> None:
    scores = thirty(("a", "b"))
    rows = with_overall(scores, average)
    assert (rows["weight"].eq(1).all(), rows["partial"].any()) == (True, False)
    layout, row = layout_of(scores, average), row_of(scores, average)
    expected = difference(layout, "sme", "baseline")
    assert layout.complete
    assert (row["difference"], row["p"], row["df"]) == (expected.estimate, expected.p, expected.df)
    assert summarise(scores, average)["n_partial"].eq(0).all()


@pytest.mark.parametrize("images", [[3], [0, 7], [0, 7, 29]])
def test_a_run_that_lacks_at_most_a_tenth_stays_and_a_mixed_model_tests(images: list[int]) -> None:
    whole = thirty()
    scores = lacking(whole, images)
    layout, row = layout_of(scores), row_of(scores)
    missing = {f"{i:03}.png" for i in images}
    lost = np.isnan(layout.of("sme"))
    assert {layout.units[k] for k in np.flatnonzero(lost[0])} == missing
    assert not lost[1:].any()
    np.testing.assert_allclose(layout.of("sme")[~lost], layout_of(whole).of("sme")[~lost])
    expected = mixed_difference(layout, "sme", "baseline")
    found = row[["difference", "se", "df", "p", "ci_low"]].to_list()
    assert found == [expected.estimate, expected.se, expected.df, expected.p, expected.ci_low]
    assert (row["n_seeds"], row["n_units"], row["n_images"]) == (3, 30, 30)
    assert np.isnan(row["superiority"])
    assert row["difference"] == pytest.approx(row_of(whole)["difference"], abs=0.003)
    cells = summarise(scores).set_index("arm")
    assert cells["n_partial"].to_dict() == {"baseline": 0, "sme": 1}


def test_a_run_that_lacks_more_than_a_tenth_is_left_out() -> None:
    scores = lacking(thirty(), [0, 1, 2, 3])
    row, two = row_of(scores), row_of(thirty()[lambda rows: (rows["arm"] == "baseline") | (rows["seed"] > 0)])
    pd.testing.assert_series_equal(row, two)
    assert row["n_seeds"] == 2
    assert summarise(scores)["n_partial"].eq(0).all()


def test_a_unit_of_which_some_images_lack_keeps_the_mean_of_the_others_and_its_weight() -> None:
    group = [f"well {i // 3}" for i in range(30)]
    scores = lacking(thirty(group=group), [0, 1, 12])
    layout = layout_of(scores)
    assert layout.complete
    own = scores[(scores["arm"] == "sme") & (scores["seed"] == 0)]
    means = own.groupby("group")["f1"].mean()
    np.testing.assert_allclose(layout.of("sme")[0], means[list(layout.units)])
    rows = with_overall(scores)
    of_run = rows[(rows["arm"] == "sme") & (rows["seed"] == 0)]
    assert of_run["weight"].mean() == pytest.approx(1)
    assert of_run.groupby("group")["weight"].sum().to_numpy() == pytest.approx(np.full(10, 2.7))
    assert summarise(scores).set_index("arm").loc["sme", "n_partial"] == 1
    expected = difference(layout, "sme", "baseline")
    assert row_of(scores)["p"] == expected.p


def test_units_of_unequal_size_count_as_with_all_their_images() -> None:
    """A large unit that lacks some images counts as large as for the other runs."""
    group = ["large"] * 10 + [f"well {i // 2}" for i in range(20)]
    f1 = np.where(np.arange(30) < 10, 0.9, 0.5)
    scores = lacking(make_scores({"baseline": f1[None], "sme": f1[None]}, ["all"] * 30, group), [0, 1])
    cells = summarise(scores).set_index("arm")["mean"]
    assert cells["sme"] == pytest.approx(cells["baseline"])


def test_a_unit_of_which_all_images_lack_is_missing() -> None:
    group = [f"well {i // 3}" for i in range(30)]
    layout = layout_of(lacking(thirty(group=group), [3, 4, 5]))
    assert np.isnan(layout.of("sme")).sum() == 1
    assert np.isnan(layout.of("sme")[0, layout.units.index("well 1")])


def test_averages_of_subgroups_need_all_images_as_the_mixed_model_has_no_strata() -> None:
    scores = lacking(thirty(("a", "b")), [0])
    assert row_of(scores, "subgroups")["n_seeds"] == 2
    assert layout_of(scores, "subgroups").complete
    in_a = compare(scores, [SME], 0.01, "subgroups").set_index("subgroup").loc["a"]
    assert in_a["n_seeds"] == 3  # in a subgroup there are no strata
    assert row_of(scores, "images")["n_seeds"] == 3


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


def test_where_no_mixed_model_can_be_fitted_units_that_all_have_are_tested() -> None:
    """Seeds of equal bits leave no error for the model to estimate."""
    rng = np.random.default_rng(3)
    base, other = rng.uniform(0.5, 0.9, (2, 40))
    f1 = {"baseline": base[None].repeat(3, 0), "sme": other[None].repeat(3, 0)}
    layout = layout_of(lacking(make_scores(f1, ["all"] * 40), [0, 1]))
    with pytest.raises(ValueError, match="expected an error to estimate"):
        mixed_difference(layout, "sme", "baseline")
    found, expected = fitting_test(layout, SME), stats.ttest_1samp((other - base)[2:], 0)
    assert (found.estimate, found.p, found.units) == pytest.approx(((other - base)[2:].mean(), expected.pvalue, 38))


def test_the_caption_says_how_many_runs_lack_images() -> None:
    study = Study("s", "d", "baseline", ("baseline", "sme"), (), "")
    for scores, said in (
        (thirty(), None),
        (lacking(thirty(), [0]), "1 run lacks some images of a column"),
        (lacking(lacking(thirty(), [0]), [4], seed=2), "2 runs lack some images of a column (a tenth at most)"),
    ):
        collected = Collected(study, "", pd.DataFrame({"tp": [0], "block": ["se"]}), (), "line")
        caption = caption_scores(summarise(scores), scores, collected, "bold", "underlined")
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
