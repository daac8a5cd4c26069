"""Networks that aren't told the truth: swaps, zeros, series of values, and what the report says of them."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from PIL import Image

from analysis.figures.controls import draw_response, draw_swapped
from analysis.figures.scores import Title
from analysis.probes.controls import metadata_controls, swapped_matrices, swapped_matrix
from analysis.probes.response import offset_curves, response, response_curves, responses
from analysis.report.sections.controls import controls_grid
from analysis.report.study import report
from analysis.results.declaration import ResultsError
from fake_controls import collected_rows, count_rows, told_rows, write_parts
from metaseg.store.folder import FolderStorage

SWAPS = {
    ("a", "a"): 0.9, ("a", "b"): 0.5, ("a", "c"): 0.3,
    ("b", "a"): 0.6, ("b", "b"): 0.8, ("b", "c"): 0.7,
    ("c", "a"): 0.2, ("c", "b"): 0.4, ("c", "c"): 0.7,
}  # fmt: skip


def png() -> bytes:
    content = BytesIO()
    Image.new("RGB", (8, 6), "red").save(content, "png")
    return content.getvalue()


def sized(
    true: Sequence[float], told: Sequence[float], area: npt.ArrayLike, f1: npt.ArrayLike = 0.5, name: str = "tumour"
) -> pd.DataFrame:
    """Rows of a network that is told sizes: `area` and `f1` broadcast to (told, images); 0.9 as it was trained."""
    names = [f"{i}.png" for i in range(len(true))]
    shape = len(told), len(true)
    areas, scores = np.broadcast_to(area, shape), np.broadcast_to(f1, shape)
    tables = [count_rows([0.9] * len(true), names, name=name, size=true)]
    tables += [
        count_rows(scores[i], names, None, f"size={value:g}", name, area=areas[i], size=true)
        for i, value in enumerate(told)
    ]
    return pd.concat(tables, ignore_index=True)


def test_the_matrix_has_each_true_and_told_value() -> None:
    better = {pair: f1 + 0.1 for pair, f1 in SWAPS.items()}
    images = collected_rows({("sme", 0): told_rows(SWAPS, 3), ("sme", 1): told_rows(better, 3)})
    matrix = swapped_matrix(images, "sme", "line").set_index(["true", "given"])
    assert list(matrix.index) == sorted(SWAPS)
    np.testing.assert_allclose(matrix["f1"], [SWAPS[pair] + 0.05 for pair in matrix.index], atol=1e-9)
    np.testing.assert_allclose(matrix["sd"], np.std([0, 0.1], ddof=1))
    assert (matrix["n_images"].unique(), matrix["n_seeds"].unique()) == (3, 2)


def test_values_may_hold_the_sign_between_column_and_value() -> None:
    swaps = {("x=1", "x=1"): 0.9, ("x=1", "x=2"): 0.1, ("x=2", "x=2"): 0.9, ("x=2", "x=1"): 0.2}
    matrix = swapped_matrix(collected_rows({("sme", 0): told_rows(swaps, 2)}), "sme", "line")
    assert dict(zip(zip(matrix["true"], matrix["given"], strict=True), matrix["f1"], strict=True)) == pytest.approx(
        swaps
    )


def test_seeds_without_swaps_dont_enter_the_truth_they_are_compared_with() -> None:
    trained_only = told_rows(SWAPS, 2).query("evaluation == 'as-trained'").assign(tp=0)
    images = collected_rows({("sme", 0): told_rows(SWAPS, 2), ("sme", 1): trained_only})
    matrix = swapped_matrix(images, "sme", "line").set_index(["true", "given"])
    assert matrix.loc[("a", "a"), ["f1", "n_seeds"]].tolist() == [pytest.approx(0.9), 1]


def test_several_classes_are_scored_by_their_mean_in_each_image() -> None:
    lower = {pair: f1 / 2 for pair, f1 in SWAPS.items()}
    both = pd.concat([told_rows(SWAPS, 2), told_rows(lower, 2).assign(**{"class": "debris"})])
    matrix = swapped_matrix(collected_rows({("sme", 0): both}), "sme", "line").set_index(["true", "given"])
    assert matrix.loc[("a", "b"), "f1"] == pytest.approx(0.375)
    assert matrix["n_images"].eq(2).all()


def test_an_image_with_two_tasks_is_swapped_in_each() -> None:
    rows = [
        count_rows([f1], ["a.png"], [task], evaluation, task=[task])
        for task, evaluation, f1 in (
            ("nuclei", "as-trained", 0.9), ("anomaly", "as-trained", 0.8),
            ("nuclei", "task=anomaly", 0.1), ("anomaly", "task=nuclei", 0.0),
        )
    ]  # fmt: skip
    matrix = swapped_matrix(collected_rows({("sme", 0): pd.concat(rows)}), "sme", "task").set_index(["true", "given"])
    assert matrix["f1"].to_dict() == pytest.approx({
        ("anomaly", "anomaly"): 0.8, ("anomaly", "nuclei"): 0.0, ("nuclei", "anomaly"): 0.1, ("nuclei", "nuclei"): 0.9,
    })  # fmt: skip


def test_controls_by_hand() -> None:
    images = collected_rows({
        ("baseline", 0): told_rows({("a", "a"): 0.5, ("b", "b"): 0.5, ("c", "c"): 0.5}, 2),
        ("sme", 0): told_rows(SWAPS, 2, zeros=0.1),
        ("heads", 0): told_rows(dict.fromkeys(SWAPS, 0.5), 2),
    })  # fmt: skip
    controls = metadata_controls(images).set_index(["arm", "control"])
    assert list(controls.index) == [
        ("sme", "zeros"), ("sme", "wrong"), ("sme", "worst"), ("heads", "wrong"), ("heads", "worst"),
    ]  # fmt: skip
    zeros, wrong, worst = (controls.loc[("sme", name)] for name in ("zeros", "wrong", "worst"))
    assert (zeros["as_trained"], zeros["f1"], zeros["difference"]) == pytest.approx((0.8, 0.1, -0.7))
    assert wrong["f1"] == pytest.approx(np.mean([0.4, 0.65, 0.3]))
    assert (worst["true"], worst["given"], worst["n_images"]) == ("c", "a", 2)
    assert (worst["as_trained"], worst["f1"], worst["difference"]) == pytest.approx((0.7, 0.2, -0.5))
    assert controls.loc[("heads", "wrong"), "difference"] == pytest.approx(0)


def test_controls_have_the_average_of_the_table_of_scores() -> None:
    rows = pd.concat([
        told_rows({("a", "a"): 0.9, ("a", "b"): 0.5}, 6), told_rows({("b", "b"): 0.5, ("b", "a"): 0.3}, 2),
    ])  # fmt: skip
    images = collected_rows({("sme", 0): rows})
    means = {average: metadata_controls(images, average).iloc[0] for average in ("images", "subgroups")}
    assert means["images"][["as_trained", "f1"]].tolist() == pytest.approx([0.8, 0.45])
    assert means["subgroups"][["as_trained", "f1"]].tolist() == pytest.approx([0.7, 0.4])


def test_the_spread_is_of_differences_across_seeds() -> None:
    lower = {pair: f1 - 0.2 for pair, f1 in SWAPS.items()}
    images = collected_rows({("sme", 0): told_rows(SWAPS, 2, zeros=0.1), ("sme", 1): told_rows(lower, 2, zeros=0.1)})
    controls = metadata_controls(images).set_index("control")
    assert controls["sd"].to_dict() == pytest.approx({"zeros": np.std([0.7, 0.5], ddof=1), "wrong": 0, "worst": 0})


def test_controls_are_a_table_of_arms() -> None:
    images = collected_rows({
        ("sme", 0): told_rows(SWAPS, 2, zeros=0.1), ("heads", 0): told_rows(dict.fromkeys(SWAPS, 0.5), 2),
    })  # fmt: skip
    lines = controls_grid(metadata_controls(images), "title").to_markdown().splitlines()
    assert lines[2] == "| arm | as trained | zeros | wrong line | worst line |"
    assert lines[4] == "| sme | 0.800 | 0.100 -0.700 | 0.450 -0.350 | 0.200 (-0.500) c as a |"
    assert lines[5] == "| heads | 0.500 | - | 0.500 +0.000 | 0.500 (+0.000) a as b |"


def test_without_such_evaluations_there_are_no_controls() -> None:
    images = collected_rows({("sme", 0): count_rows([0.5], ["a"], line=["x"], size=[1.0])})
    other = pd.concat([images, images.assign(evaluation="unheard of"), images.assign(evaluation="gone=x")])
    for rows in (images, other):
        assert metadata_controls(rows).empty
        assert swapped_matrices(rows).empty
        assert responses(rows).empty


def test_areas_follow_a_planted_response() -> None:
    """Predicted area is 100 pixels for each unit told, of a reference of 1000."""
    told, true = [2.0, 5.0, 10.0, 20.0], [5.0, 10.0, 20.0]
    area = 100 * np.array(told)[:, None]
    images = collected_rows({("sme", 0): sized(true, told, area), ("sme", 1): sized(true, told, area * 1.2)})
    rows = response(images, "size", "tumour")
    assert len(rows) == 2 * 4 * 3
    one = rows[(rows["seed"] == 0) & (rows["image"] == "1.png")]
    assert one[["given", "true", "area", "reference"]].to_numpy().tolist() == [
        [2, 10, 200, 1000], [5, 10, 500, 1000], [10, 10, 1000, 1000], [20, 10, 2000, 1000],
    ]  # fmt: skip
    curves = response_curves(responses(images)).set_index("given")
    np.testing.assert_allclose(curves["relative"], 0.11 * np.array(told))
    np.testing.assert_allclose(curves["sd"], np.std([0.1, 0.12], ddof=1) * np.array(told))
    assert curves["n_images"].eq(3).all()


def test_images_without_the_class_count_in_areas_but_have_no_share_of_their_own() -> None:
    rows = sized([1.0, 2.0], [4.0], 500)
    empty = rows["image"] == "1.png"
    rows.loc[empty, "fn"] = 0
    rows.loc[empty & (rows["evaluation"] != "as-trained"), ["tp", "fp"]] = [0, 500]
    curves = response_curves(responses(collected_rows({("sme", 0): rows})))
    assert curves.loc[0, "relative"] == pytest.approx((500 + 500) / 1000)
    assert curves.loc[0, "area"] == 500


def test_f1_changes_with_how_far_a_value_is_from_the_truth() -> None:
    true, told = np.linspace(1, 10, 10), np.linspace(1, 10, 7)
    f1 = 0.9 - 0.05 * np.abs(told[:, None] - true)
    rows = responses(collected_rows({("sme", 0): sized(list(true), list(told), 1000, f1)}))
    offsets = offset_curves(rows)
    assert offsets["offset"].is_monotonic_increasing
    assert offsets["n_images"].gt(0).all()
    np.testing.assert_allclose(offsets["change"], -0.05 * offsets["offset"].abs(), atol=0.03)
    assert offsets.loc[offsets["offset"].abs().idxmin(), "change"] == offsets["change"].max()


def test_an_image_isnt_missing_from_the_curve_where_the_value_given_is_its_own() -> None:
    """It isn't evaluated a second time there, and the mean over the other images would jump."""
    rows = sized([1.0, 2.0, 3.0], [2.0, 4.0], 1000)
    rows = rows[~((rows["evaluation"] == "size=2") & (rows["meta_size"] == 2.0))]
    untold = rows[rows["evaluation"] == "as-trained"]
    found = response(collected_rows({("sme", 0): rows, ("baseline", 0): untold}), "size", "tumour")
    counts = found.groupby("given")["image"].nunique()
    assert counts.to_dict() == {2.0: 3, 4.0: 3}
    assert set(found["arm"]) == {"sme"}
    own = found[(found["given"] == 2.0) & (found["true"] == 2.0)]
    assert own["f1"].tolist() == own["as_trained"].tolist()
    assert own["f1"].tolist() == pytest.approx([0.9], abs=0.01)


def test_a_missing_true_value_has_a_response_but_no_offset() -> None:
    rows = responses(collected_rows({("sme", 0): sized([np.nan, 2.0], [1.0, 3.0], 1000)}))
    assert len(rows) == 4
    assert offset_curves(rows)["n_images"].tolist() == [1, 1]


def test_a_value_that_is_no_number_is_named() -> None:
    rows = sized([1.0], [2.0], 1000).replace({"evaluation": {"size=2": "size=large"}})
    with pytest.raises(ResultsError, match="evaluation 'size=large': expected a number"):
        response(collected_rows({("sme", 0): rows}), "size", "tumour")


@pytest.mark.parametrize("values", [2, 18])
def test_heat_maps_are_drawn_for_few_and_many_values(values: int) -> None:
    names = [f"a long name {i}" for i in range(values)]
    swaps = {(true, told): 0.5 for true in names for told in names}
    images = collected_rows({(arm, 0): told_rows(swaps, 1) for arm in ("me", "sme")})
    with Image.open(BytesIO(draw_swapped(swapped_matrices(images), Title("title", "SIMULATED. " * 30)))) as figure:
        assert figure.format == "PNG"


def test_responses_are_drawn_where_no_image_has_the_class_or_a_true_value() -> None:
    rows = pd.concat([sized([np.nan], [1.0, 2.0], 500), sized([np.nan], [1.0, 2.0], 0, name="cyst").assign(fn=0, tp=0)])
    content = draw_response(
        responses(collected_rows({("me", 0): rows})), ["baseline", "me"], "baseline", Title("title")
    )
    with Image.open(BytesIO(content)) as figure:
        assert figure.format == "PNG"


def both_kinds(arm: str, seed: int) -> pd.DataFrame:
    """Twelve images with a categorical and a continuous column; sme is told otherwise."""
    rng = np.random.default_rng([len(arm), seed])
    names, line, size = [f"{i}.png" for i in range(12)], np.array([*"ab"] * 6), np.arange(12.0)
    base = rng.uniform(0.6, 0.9, 12)
    tables = [count_rows(base, names, line, line=line, size=size)]
    if arm == "sme":
        tables.append(count_rows(base - 0.3, names, line, "zeros", line=line, size=size))
        tables += [
            count_rows(base[line != told] - 0.4, np.array(names)[line != told], line[line != told], f"line={told}",
                       line=line[line != told], size=size[line != told])
            for told in "ab"
        ]  # fmt: skip
        tables += [
            count_rows(base / 2, names, line, f"size={told}", area=[100 * told] * 12, line=line, size=size)
            for told in (2, 5, 9)
        ]
    return pd.concat(tables, ignore_index=True)


def test_the_report_has_the_controls_and_what_they_are_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    about, tables = "SIMULATED discs.", {"distribution": pd.DataFrame({"split": ["train", "test"], "all": [30, 12]})}
    runs = {(arm, seed, ""): both_kinds(arm, seed) for arm in ("baseline", "sme") for seed in (0, 1)}
    write_parts(tmp_path, runs, about=about)
    result = report(FolderStorage(tmp_path), "parts", None, {"overlays.png": png()}, tables)
    out = tmp_path / "reports" / "parts"
    assert sorted(path.name for path in out.iterdir()) == [
        "controls.csv", "difficulty.csv", "distribution.csv", "f1.png", "f1.svg", "forest.png", "forest.svg",
        "labels.csv", "learning.png", "learning.svg", "overlays.json", "overlays.png",
        "paired.png", "paired.svg", "power.csv", "ranks.png",
        "ranks.svg", "report.html", "resampling.csv", "residuals.png", "residuals.svg", "response.csv", "response.png",
        "response.svg", "run_means.png", "run_means.svg", "runs.csv", "seeds.csv", "size.png", "size.svg",
        "subgroups.csv", "swapped.csv", "swapped.png", "swapped.svg", "table.csv", "table.md", "table.tex",
        "tests.csv", "variance.png", "variance.svg",
    ]  # fmt: skip
    assert all(Path(path).exists() for path in result.files)
    assert (out / "overlays.png").read_bytes() == png()
    assert (out / "distribution.csv").read_text() == "split,all\ntrain,30\ntest,12\n"
    assert pd.read_csv(out / "controls.csv")["control"].tolist() == ["zeros", "wrong", "worst", "wrong", "worst"]

    markdown = (out / "table.md").read_text()
    assert markdown.split("\n\n")[1] == f"**Data: {about}**"
    sections = {section.splitlines()[0]: section for section in markdown.split("\n## ")[1:]}
    assert list(sections) == [
        "F1 of each arm by line", "Differences by line from baseline", "In full: against baseline, on all test images",
        "Is the difference the same for every line?", "Predicted differences by line",
        "Difference detected with 80 % power: sme", "Where does variance come from?", "Which images gain?",
        "Which arm is best?", "Does size matter?", "Seeds of each arm", "Did networks learn?",
        "F1 of networks that see metadata, when the metadata are wrong", "F1 when metadata are missing or wrong",
        "How much of baseline's F1 do metadata alone explain?", "The comparisons by resampling", "Distribution",
        "Methods", "Caveats", "Runs",
    ]  # fmt: skip
    assert all(f"Computed on: {about}" in sections[name] for name in ("F1 of each arm by line", "Distribution", "Runs"))
    for shown in (
        "![Overlays](overlays.png)",
        "(swapped.png)",
        "(response.png)",
        "| train | 30 |",
        "Worst swaps: sme, ",
    ):
        assert shown in markdown

    printed = capsys.readouterr().out
    assert f"Data: {about}" in printed
    assert "when the metadata are wrong" in printed
    assert printed.count("Difficulty: share of the variance of baseline's F1") == 1
    assert "Distribution" not in printed


def test_a_study_that_isnt_told_of_its_data_says_nothing_of_them(tmp_path: Path) -> None:
    write_parts(tmp_path, {("baseline", 0, ""): both_kinds("baseline", 0)})
    report(FolderStorage(tmp_path), "parts")
    markdown = (tmp_path / "reports" / "parts" / "table.md").read_text()
    assert "Computed on" not in markdown
    assert "Data:" not in markdown


@pytest.mark.parametrize(
    ("name", "message"), [("tests", "called tests.csv"), ("../a", "expected letters"), ("", "expected letters")]
)
def test_names_of_what_is_handed_in_cant_hide_other_files(tmp_path: Path, name: str, message: str) -> None:
    write_parts(tmp_path, {("baseline", 0, ""): both_kinds("baseline", 0)})
    with pytest.raises(ValueError, match=message):
        report(FolderStorage(tmp_path), "parts", tables={name: pd.DataFrame({"a": [1]})})
    assert not (tmp_path / "reports").exists()
