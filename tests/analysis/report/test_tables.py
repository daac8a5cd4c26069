"""Scores, the tables that they become, and their figure."""

from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis.figures.scores import Title, draw
from analysis.report.grid import frame_grid
from analysis.report.sections.differences import interval_grid
from analysis.report.sections.scores import score_grids
from analysis.report.sections.verdicts import verdict_grids
from analysis.results.declaration import Comparison, ResultsError
from analysis.scores.image_scores import image_scores, summarise
from analysis.scores.metrics import f1
from analysis.stats.comparisons import FEWEST_UNITS, compare
from analysis.wording import format_p, listed, metric_name
from fake_store import image_rows, make_scores, simulate
from metaseg.schema import OVERALL


def collected(f1_of: dict[tuple[str, int], list[float]], subgroup: list[str]) -> pd.DataFrame:
    """Rows as `collect` returns them."""
    tables = [image_rows(values, subgroup).assign(arm=arm, seed=seed) for (arm, seed), values in f1_of.items()]
    return pd.concat(tables, ignore_index=True)


def cells_of(means: dict[str, float]) -> pd.DataFrame:
    return summarise(image_scores(collected({(arm, 0): [f1] for arm, f1 in means.items()}, ["all"]), list(means)))


def test_f1_by_hand() -> None:
    np.testing.assert_allclose(f1(np.array([3, 0, 5]), np.array([1, 2, 0]), np.array([2, 0, 0])), [6 / 9, 0, 1])


def test_an_image_empty_in_reference_and_prediction_scores_1_and_is_counted() -> None:
    images = collected({("baseline", 0): [0.5, 0.5]}, ["all"] * 2)
    images.loc[0, ["tp", "fp", "fn"]] = 0
    scores = image_scores(images, ["baseline"])
    assert scores["score"].tolist() == [1.0, 0.5]
    assert scores["empty"].tolist() == [True, False]


def test_cells_are_means_over_seeds_of_means_over_images() -> None:
    images = collected({("sme", 0): [0.2, 0.4, 0.9], ("sme", 1): [0.4, 0.6, 0.8]}, ["b", "b", "a"])
    cells = summarise(image_scores(images, ["sme"])).set_index("subgroup")
    assert list(cells.index) == [OVERALL, "a", "b"]
    assert cells.loc["b", ["n_images", "n_groups", "n_seeds"]].tolist() == [2, 2, 2]
    assert cells.loc["b", "mean"] == pytest.approx((0.3 + 0.5) / 2)
    assert cells.loc["b", "sd"] == pytest.approx(np.std([0.3, 0.5], ddof=1))
    assert cells.loc[OVERALL, "mean"] == pytest.approx((0.5 + 0.6) / 2)


def test_other_evaluations_dont_enter_the_scores() -> None:
    images = collected({("sme", 0): [0.5]}, ["all"])
    swapped = images.assign(evaluation="swapped", tp=0)
    assert image_scores(pd.concat([images, swapped]), ["sme"])["score"].tolist() == [0.5]


def test_several_classes_have_a_macro_average_of_each_image() -> None:
    images = pd.concat([image_rows([0.2, 0.4]), image_rows([0.6, 1.0], name="debris")]).assign(arm="sme", seed=0)
    scores = image_scores(images, ["sme"])
    assert scores[scores["class"] == "macro"]["score"].tolist() == pytest.approx([0.4, 0.7])
    assert [grid.title for grid in score_grids(summarise(scores), ["sme"], "F1")] == [
        "F1, class nucleus", "F1, class debris", "F1, class macro",
    ]  # fmt: skip


def test_a_name_that_the_table_needs_is_refused() -> None:
    with pytest.raises(ResultsError, match="a subgroup is called 'Average'"):
        image_scores(collected({("sme", 0): [0.5, 0.5]}, ["Average", "b"]), ["sme"])


@pytest.mark.parametrize(
    ("means", "expected"),
    [
        ({"a": 0.9, "b": 0.8, "c": 0.7}, ["**0.900**", "<u>0.800</u>", "0.700"]),
        ({"a": 0.9, "b": 0.9, "c": 0.7}, ["**0.900**", "**0.900**", "<u>0.700</u>"]),
        ({"a": 0.8, "b": 0.9, "c": 0.8}, ["<u>0.800</u>", "**0.900**", "<u>0.800</u>"]),
    ],
)
def test_best_is_bold_and_second_underlined_and_ties_share(means: dict[str, float], expected: list[str]) -> None:
    (grid,) = score_grids(cells_of(means), list(means), "F1")
    lines = grid.to_markdown().splitlines()[4:]
    assert lines == [f"| {arm} | {cell} |" for arm, cell in zip(means, expected, strict=True)]


def test_scores_that_print_alike_share_a_rank() -> None:
    cells = cells_of({"a": 0.9, "b": 0.9, "c": 0.7})
    cells["mean"] += [0.0001, -0.0001, 0]
    (grid,) = score_grids(cells, ["a", "b", "c"], "F1")
    assert [row[0].emphasis for _, row in grid.rows] == ["best", "best", "second"]


def test_an_arm_without_finished_runs_has_dashes() -> None:
    (grid,) = score_grids(cells_of({"a": 0.9}), ["a", "b"], "F1")
    assert grid.to_markdown().endswith("| b | - |\n")


FEW = FEWEST_UNITS - 1


def verdicts_of(images: int, seeds: int = 3) -> pd.DataFrame:
    f1 = simulate(np.random.default_rng(0), images, seeds, arm_image=0.002, baseline=0.0, me=0.0, sme=0.1)
    comparisons = [Comparison("me", "baseline"), Comparison("sme", "baseline"), Comparison("sme", "me")]
    return compare(make_scores(f1, ["many"] * (images - FEW) + ["few"] * FEW), comparisons, 0.01)


def test_verdicts_are_a_table_for_each_reference_with_a_row_per_subgroup() -> None:
    against_baseline, against_me = verdict_grids(verdicts_of(40, seeds=5), "Differences from", "line")
    assert (against_baseline.title, against_baseline.corner) == ("Differences from baseline", "line")
    assert against_baseline.columns == ("images", "me", "sme")
    assert (against_me.title, against_me.columns) == ("Differences from me", ("images", "sme"))
    rows = dict(against_baseline.rows)
    assert list(rows) == [OVERALL, "few", "many"]
    assert [cell.first for cell in rows[OVERALL]] == ["40", "equal", "helps"]
    assert rows[OVERALL][2].second.startswith("+0.")
    assert rows[OVERALL][2].second.endswith("p<0.001")
    assert [cell.emphasis for cell in rows["few"]] == ["plain", "faint", "faint"]


def test_where_nothing_is_tested_no_p_is_shown() -> None:
    (grid, _) = verdict_grids(verdicts_of(40), "Differences from", "line")
    few = dict(grid.rows)["few"][2]
    assert (few.first, "p" in few.second) == ("too few", False)
    (grid, _) = verdict_grids(verdicts_of(40, seeds=1), "Differences from", "line")
    for _, cells in grid.rows:
        assert (cells[2].first, "p" in cells[2].second) == ("one seed", False)
    tests = verdicts_of(FEW)
    full = interval_grid(tests[(tests["subgroup"] == OVERALL) & (tests["reference"] == "baseline")], "In full")
    shown = dict(zip(full.columns, dict(full.rows)["sme"], strict=True))
    assert [shown[column].first for column in ("p", "Holm", "equal", "verdict")] == ["-", "-", "-", "too few"]
    assert shown["difference"].emphasis == "faint"


def test_no_comparisons_make_no_verdict_table() -> None:
    assert verdict_grids(verdicts_of(40).iloc[:0], "title", "line") == []


def test_any_frame_is_a_table() -> None:
    grid = frame_grid(pd.DataFrame({"split": ["train", None], "n": [30, 12], "share": [0.71428, np.nan]}), "Images")
    assert [(name, [cell.first for cell in cells]) for name, cells in grid.rows] == [
        ("train", ["30", "0.7143"]), ("-", ["12", "-"]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("p", "text"), [(0.0004, "p<0.001"), (0.0123, "p=0.012"), (0.25, "p=0.25"), (0.999, "p=1"), (1.0, "p=1")]
)
def test_p_values_read_well(p: float, text: str) -> None:
    assert format_p(p) == text


def test_lists_and_scores_read_well() -> None:
    assert [listed(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]
    assert [metric_name(name) for name in ("f1", "iou", "nsd")] == ["F1", "IoU", "nsd"]


@pytest.mark.parametrize("lines", [["all"], [f"a long name {i}" for i in range(20)]])
def test_the_figure_copes_with_one_and_with_many_subgroups_and_arms(lines: list[str]) -> None:
    arms = ["baseline", *(f"arm {i}" for i in range(9))]
    scores = image_scores(collected({(arm, 0): [0.5] * len(lines) for arm in arms}, lines), arms)
    content = draw(scores, arms, "baseline", Title("title"), "line")
    with Image.open(BytesIO(content)) as figure:
        assert figure.format == "PNG"
