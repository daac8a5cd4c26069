"""Arms of several networks, images with several tasks, and what the overall row is."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.report.sections.verdicts import verdict_grids
from analysis.report.study import report
from analysis.results.declaration import Comparison, ResultsError
from analysis.results.merge import collect as collect_from
from analysis.results.store_rows import Collected
from analysis.scores.image_scores import image_scores, summarise, with_overall
from analysis.scores.score_matrix import score_matrices
from analysis.stats.comparisons import compare
from analysis.stats.mrmc import difference
from fake_controls import collected_rows, count_rows, write_parts
from fake_store import make_scores, run_id, simulate, write_study
from metaseg.schema import OVERALL
from metaseg.store.folder import FolderStorage

SME = [Comparison("sme", "baseline")]
NUCLEI, ANOMALY = ["a.png", "b.png", "c.png", "d.png"], ["a.png"]


def collect(store: Path) -> Collected:
    return collect_from(FolderStorage(store), "parts")


def part(task: str, f1: float = 0.8, images: list[str] | None = None, group: list[str] | None = None) -> pd.DataFrame:
    """Rows of the network of one task."""
    images = images or (NUCLEI if task == "nuclei" else ANOMALY)
    tasks = [task] * len(images)
    return count_rows([f1] * len(images), images, tasks, group=group, task=tasks)


def whole(nuclei: float = 0.8, anomaly: float = 0.8) -> pd.DataFrame:
    """Rows of one network for both tasks; `a.png` has both masks."""
    return pd.concat([part("nuclei", nuclei), part("anomaly", anomaly)], ignore_index=True)


def test_parts_together_are_the_results_of_an_arm(tmp_path: Path) -> None:
    tables = {("sme", 0, ""): whole()} | {("one each", 0, task): part(task) for task in ("nuclei", "anomaly")}
    write_parts(tmp_path, tables, baseline="one each", about="SIMULATED spots.", average="subgroups")
    collected = collect(tmp_path)
    assert (collected.study.about, collected.study.average) == ("SIMULATED spots.", "subgroups")
    rows = pd.read_parquet(collected.path)
    assert rows.groupby(["arm", "part"], observed=True).size().to_dict() == {
        ("one each", "nuclei"): 4, ("one each", "anomaly"): 1, ("sme", ""): 5,
    }  # fmt: skip
    cells = summarise(image_scores(collected.images, ["one each", "sme"])).set_index(["arm", "subgroup"])
    assert cells["n_seeds"].eq(1).all()
    assert cells.loc[("one each", OVERALL), "n_images"] == 4


def test_a_record_without_the_new_keys_has_no_parts_and_averages_images(tmp_path: Path) -> None:
    write_study(tmp_path, lambda arm, seed: count_rows([0.5], ["a"], line=["x"]), name="parts")
    study = collect(tmp_path).study
    assert (study.about, study.average, {run.part for run in study.runs}) == ("", "images", {""})
    assert str(study.runs[0]) == f"baseline seed 0 ({run_id('baseline', 0)})"


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (
            {("p", 0, "x"): part("nuclei"), ("p", 0, "y"): part("nuclei", images=["e.png", "b.png"])},
            r"runs p seed 0 part x .* and p seed 0 part y .* were both evaluated on 1 images; the first: image 'b.png'",
        ),
        (
            {("sme", 0, ""): whole(), ("p", 0, "x"): part("nuclei", images=["a.png", "other.png"])},
            r"run p seed 0 part x .* was evaluated on 1 images that run sme seed 0 .* wasn't; .*'other.png'",
        ),
        (
            {("sme", 0, ""): whole(), ("p", 0, "x"): part("nuclei", group=["well"] * 4)},
            "was evaluated on 4 images .* group 'well'",
        ),
        (
            {("p", 0, "x"): part("nuclei"), ("q", 0, "x"): part("nuclei", group=["well"] * 4)},
            "p seed 0 part x .* q seed 0 part x .* differ in the group of 4 images",
        ),
        ({("p", 0, ""): part("nuclei"), ("p", 0, "y"): part("anomaly")}, r"p seed 0 \(.*\) has no part; expected one"),
        ({("sme", 0, ""): whole(), ("me", 0, ""): part("nuclei")}, "differ in 1 of their evaluated images"),
    ],
)
def test_parts_that_dont_fit_together_are_named(
    tmp_path: Path, tables: dict[tuple[str, int, str], pd.DataFrame], message: str
) -> None:
    write_parts(tmp_path, tables)
    with pytest.raises(ResultsError, match=message):
        collect(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"average": "median"}, "average is 'median'; expected one of images, subgroups"),
        ({"runs": [{"run_id": i, "arm": "p", "seed": 0, "part": "x"} for i in "ab"]}, "run p seed 0 part x .* twice"),
        ({"runs": ["a"]}, "not a study's record"),
    ],
)
def test_a_malformed_record_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    write_parts(tmp_path, {("p", 0, "x"): part("nuclei")})
    path = tmp_path / "studies" / "parts.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ResultsError, match=message):
        collect(tmp_path)


def test_an_image_is_there_once_for_each_task_and_not_twice(tmp_path: Path) -> None:
    write_parts(tmp_path, {("sme", 0, ""): whole()})
    assert len(collect(tmp_path).images) == 5
    write_parts(tmp_path / "twice", {("sme", 0, ""): pd.concat([whole(), part("anomaly")])})
    with pytest.raises(ResultsError, match=r"1 rows are there twice; .* subgroup 'anomaly'"):
        collect(tmp_path / "twice")


def test_the_average_of_subgroups_is_the_mean_of_their_means() -> None:
    images = collected_rows({("sme", 0): whole(0.8, 0.4), ("sme", 1): whole(0.9, 0.5)})
    scores = image_scores(images, ["sme"])
    means = {average: summarise(scores, average).set_index("subgroup") for average in ("images", "subgroups")}
    assert means["images"].loc[OVERALL, "mean"] == pytest.approx((4 * 0.85 + 0.45) / 5, abs=1e-3)
    assert means["subgroups"].loc[OVERALL, "mean"] == pytest.approx((0.85 + 0.45) / 2, abs=1e-3)
    assert means["subgroups"].loc[OVERALL, "sd"] == pytest.approx(np.std([0.6, 0.7], ddof=1), abs=1e-3)
    np.testing.assert_allclose(means["images"].loc["nuclei":, "mean"], means["subgroups"].loc["nuclei":, "mean"])


def test_with_equally_many_images_both_averages_have_the_same_rows_and_differences() -> None:
    rng = np.random.default_rng(0)
    scores = make_scores({arm: rng.uniform(0, 1, (3, 20)) for arm in ("baseline", "sme")}, ["a", "b"] * 10)
    rows = [with_overall(scores, average) for average in ("images", "subgroups")]
    pd.testing.assert_frame_equal(*rows)
    tests = [compare(scores, SME, 0.01, average) for average in ("images", "subgroups")]
    pd.testing.assert_series_equal(tests[0]["difference"], tests[1]["difference"])
    within = [test[test["subgroup"] != OVERALL] for test in tests]
    pd.testing.assert_frame_equal(*within)


def test_a_comparison_of_averages_of_subgroups_has_them_as_strata() -> None:
    """Runs of equal bits: only images vary, and the interval is that of the textbook's stratified mean."""
    rng = np.random.default_rng(1)
    base, other = rng.uniform(0.5, 0.9, (2, 30))
    difference = other - base
    f1 = {"baseline": base[None].repeat(2, 0), "sme": other[None].repeat(2, 0)}
    row = compare(make_scores(f1, ["a"] * 24 + ["b"] * 6), SME, 0.01, "subgroups").set_index("subgroup").loc[OVERALL]
    a, b = difference[:24], difference[24:]
    assert row["difference"] == pytest.approx((a.mean() + b.mean()) / 2)
    parts = [part.var(ddof=1) / len(part) / 4 for part in (a, b)]
    df = sum(parts) ** 2 / (parts[0] ** 2 / 23 + parts[1] ** 2 / 5)
    half = stats.t.ppf(0.975, df) * np.sqrt(sum(parts))
    assert row["df"] == pytest.approx(df)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((row["difference"] - half, row["difference"] + half))


def test_a_gain_in_the_small_subgroup_shows_in_the_average_of_subgroups() -> None:
    gain = np.r_[np.zeros(48), np.full(12, 0.1)]
    f1 = simulate(np.random.default_rng(2), 60, arm_image=0.005, baseline=0.0, sme=gain)
    scores = make_scores(f1, ["large"] * 48 + ["small"] * 12)
    rows = {average: compare(scores, SME, 0.01, average).iloc[0] for average in ("images", "subgroups")}
    assert rows["images"]["difference"] == pytest.approx(0.02, abs=0.006)
    assert rows["subgroups"]["difference"] == pytest.approx(0.05, abs=0.006)
    assert rows["subgroups"]["verdict"] == "helps"


def test_no_effect_is_found_at_the_nominal_rate_in_averages_of_subgroups() -> None:
    rng, found = np.random.default_rng(3), []
    for _ in range(200):
        scores = make_scores(simulate(rng, 40, baseline=0.0, sme=0.0), ["a"] * 28 + ["b"] * 12)
        _, subgroup, matrix = next(score_matrices(scores, "subgroups"))
        assert (subgroup, len(matrix.effective)) == (OVERALL, 2)
        found.append(difference(matrix, "sme", "baseline"))
    assert 0.015 < np.mean([each.p < 0.05 for each in found]) < 0.09
    assert np.mean([each.ci_low < 0 < each.ci_high for each in found]) > 0.9


def test_units_lie_within_strata_in_averages_of_subgroups() -> None:
    scores = make_scores(simulate(np.random.default_rng(4), baseline=0.0, sme=0.0), ["a", "b"] * 20)
    found = {name: matrix for _, name, matrix in score_matrices(scores, "subgroups")}
    assert (found[OVERALL].effective.tolist(), found["a"].effective.tolist()) == ([20, 20], [20])


def test_a_run_counts_only_where_it_covers_all_images() -> None:
    """Seed 1 of the parted arm lacks the anomalies: its nuclei count, its overall mean would be of other images."""
    tables = {(arm, seed): whole(0.8) for arm in ("baseline", "one each") for seed in (0, 1)}
    tables["one each", 1] = part("nuclei", 0.7)
    scores = image_scores(collected_rows(tables), ["baseline", "one each"])
    cells = summarise(scores).set_index(["arm", "subgroup"])
    assert cells["n_seeds"].xs("one each").to_dict() == {OVERALL: 1, "anomaly": 1, "nuclei": 2}
    assert cells.loc[("one each", OVERALL), "mean"] == pytest.approx(0.8, abs=1e-3)
    tests = compare(scores, [Comparison("one each", "baseline")], 0.01).set_index("subgroup")
    assert tests.loc[OVERALL, "difference"] == pytest.approx(0)
    assert tests.loc["nuclei", "difference"] == pytest.approx(-0.05, abs=1e-3)


@pytest.mark.parametrize("baseline", ["sme", "one each"])
def test_what_an_arm_doesnt_cover_is_a_dash(tmp_path: Path, capsys: pytest.CaptureFixture[str], baseline: str) -> None:
    tables = {("one each", 0, task): part(task) for task in ("nuclei", "anomaly")}
    tables |= {("sme", 0, ""): whole()}
    write_parts(tmp_path, tables, baseline, unfinished=[("one each", 0, "anomaly")], metadata="task")
    result = report(FolderStorage(tmp_path), "parts")
    assert result.tests["subgroup"].tolist() == ["nuclei"]
    lines = (tmp_path / "reports" / "parts" / "table.md").read_text().splitlines()
    assert "| one each | - | - | **0.800** |" in lines
    assert [line.split(" | ")[0] for line in lines if line.startswith("| nuclei")] == ["| nuclei"]
    printed = " ".join(capsys.readouterr().out.split())
    assert "A dash: no run of the arm covers all images of the column." in printed
    assert "one network each for nuclei" in printed
    assert "are missing: one each seed 0 part anomaly" in printed
    assert "4 test images, 2 values of task" in printed


def test_the_report_says_what_the_average_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_parts(tmp_path, {(arm, 0, ""): whole() for arm in ("baseline", "sme")}, average="subgroups")
    report(FolderStorage(tmp_path), "parts")
    printed = " ".join(capsys.readouterr().out.split())
    assert "Average: the unweighted mean of the means of each line" in printed
    assert "In row Average each line counts the same." in printed


def test_an_arm_that_cant_be_compared_in_a_row_has_a_dash_there() -> None:
    rng = np.random.default_rng(4)
    scores = make_scores({arm: rng.uniform(0, 1, (2, 8)) for arm in ("baseline", "me", "sme")}, ["a", "b"] * 4)
    scores = scores[(scores["arm"] != "me") | (scores["subgroup"] == "b")]
    comparisons = [Comparison("me", "baseline"), *SME]
    (grid,) = verdict_grids(compare(scores, comparisons, 0.01), "title", "line")
    assert grid.columns == ("images", "me", "sme")
    assert [(label, cells[1].first == "-", cells[2].first == "-") for label, cells in grid.rows] == [
        (OVERALL, True, False), ("a", True, False), ("b", False, False),
    ]  # fmt: skip
