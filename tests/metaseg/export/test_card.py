"""The model card: its numbers are those of analysis and of textbooks, and its head is what the Hub reads."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

from analysis import image_scores, summarise
from metaseg.data.metadata import CategoricalCode, ContinuousCode, MetadataEncoder
from metaseg.export.card import hub_metadata, interval, text, write_card
from metaseg.export.card_scores import CardScores, Mean, mean_over_groups, score
from metaseg.export.model import Checked

LINES = ("a", "b")
ENCODER = MetadataEncoder((CategoricalCode("line", LINES), ContinuousCode("dose", 1.0, 0.5)))


def rows(classes: tuple[str, ...] = ("cell",), seed: int = 0) -> pd.DataFrame:
    """Rows as a run's images.parquet has them: 12 images in 6 groups, some without the class."""
    generator = np.random.default_rng(seed)
    made: list[dict[str, Any]] = []
    for number in range(12):
        line, dose = LINES[number % 2], number / 10
        other = LINES[1 - number % 2]
        names = ["as-trained", "zeros", "line=unknown", "dose=unknown", f"line={other}", "dose=0.1", "dose=10"]
        for evaluation in names:
            for name in classes:
                tp, fp, fn = generator.integers(0, 50, 3) * (number % 5 > 0)
                counts = {"tp": tp, "fp": fp, "fn": fn * (number % 4 > 0), "tn": 400}
                made.append(
                    {"image": f"image{number}", "class": name, "evaluation": evaluation, "group": f"well{number // 2}"}
                    | {"subgroup": line, "meta_line": line, "meta_dose": dose}
                    | counts
                )
    return pd.DataFrame(made)


def as_run(images: pd.DataFrame) -> pd.DataFrame:
    return images.assign(arm="sme", seed=0)


@pytest.mark.parametrize("classes", [("cell",), ("nucleus", "cytoplasm")])
def test_scores_of_subgroups_are_those_of_analysis(classes: tuple[str, ...]) -> None:
    images = rows(classes)
    table = summarise(image_scores(as_run(images), ["sme"])).set_index(["class", "subgroup"])
    found = score(images, ENCODER).subgroups
    assert len(found) == len(classes) * (1 + len(LINES))
    for name, subgroup, mean in found:
        row = table.loc[(name, "Average" if subgroup == "all" else subgroup)]
        assert mean.value == pytest.approx(row["mean"])
        assert (mean.images, mean.groups) == (row["n_images"], row["n_groups"])


def test_empty_references_count_as_in_analysis() -> None:
    images = rows()
    trained = images[images["evaluation"] == "as-trained"]
    empty = trained[["tp", "fp", "fn"]].sum(axis=1) == 0
    assert empty.any()
    assert (image_scores(as_run(images), ["sme"])["score"].to_numpy()[empty.to_numpy()] == 1).all()


def test_the_interval_is_that_of_a_mean_where_each_image_is_a_group_of_its_own() -> None:
    values = np.random.default_rng(1).random(9)
    found = mean_over_groups(values, list(map(str, range(9))))
    low, high = stats.t.interval(0.95, 8, values.mean(), stats.sem(values))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_copies_of_an_image_in_its_group_add_no_certainty() -> None:
    values = np.random.default_rng(2).random(6)
    once = mean_over_groups(values, list("abcdef"))
    thrice = mean_over_groups(np.repeat(values, 3), list("aaabbbcccdddeeefff"))
    assert (thrice.low, thrice.high) == (pytest.approx(once.low), pytest.approx(once.high))
    assert (thrice.images, thrice.groups) == (18, 6)
    assert not mean_over_groups(values, ["a"] * 6).is_certain


def test_intervals_hold_the_truth_in_95_percent_of_samples() -> None:
    generator, held = np.random.default_rng(3), 0
    for _ in range(600):
        groups = np.repeat(np.arange(20), 3)
        found = mean_over_groups(generator.normal(size=20)[groups] + generator.normal(size=60), groups.astype(str))
        held += found.low <= 0 <= found.high
    assert 0.92 < held / 600 < 0.98


def mean_f1(images: pd.DataFrame) -> float:
    tp, fp, fn = (images[name].to_numpy(float) for name in ("tp", "fp", "fn"))
    total = 2 * tp + fp + fn
    return float(np.where(total > 0, 2 * tp / np.maximum(total, 1), 1).mean())


def test_the_matrix_of_what_was_told_has_the_truth_on_its_diagonal() -> None:
    images = rows()
    line, dose = score(images, ENCODER).told
    for true in LINES:
        for told in LINES:
            name = "as-trained" if told == true else f"line={told}"
            part = images[(images["evaluation"] == name) & (images["meta_line"] == true)]
            assert line.scores.loc[true, told] == pytest.approx(mean_f1(part))
    assert list(dose.scores) == ["0.1", "10"]  # in the order of numbers, and unknown isn't one
    assert dose.scores.loc["any", "10"] == pytest.approx(mean_f1(images[images["evaluation"] == "dose=10"]))


def test_the_cost_of_missing_metadata_is_of_the_same_images() -> None:
    images = rows()
    images = images[~((images["evaluation"] == "line=unknown") & images["image"].isin(["image0", "image1"]))]
    costs = {cost.evaluation: cost for cost in score(images, ENCODER).costs}
    assert list(costs) == ["zeros", "line=unknown", "dose=unknown"]
    known = images[~images["image"].isin(["image0", "image1"])]
    trained = mean_f1(known[known["evaluation"] == "as-trained"])
    withheld = mean_f1(images[images["evaluation"] == "line=unknown"])
    assert costs["line=unknown"].with_metadata == pytest.approx(trained)
    assert costs["line=unknown"].difference.value == pytest.approx(withheld - trained)
    assert costs["line=unknown"].difference.images == 10


PASSPORT: dict[str, Any] = {
    "name": "sme on cells", "arm": {"block": "sme", "metadata_mode": "true"}, "classes": ["cell"],
    "image": {"channels": 1, "values": "0 to 255", "reading": {"kept": False, "every_channel": False, "shrink": 2}},
    "metadata": {
        "is_input": True, "size": 3, "elements": ["line=a", "line=b", "dose"],
        "columns": [
            {"kind": "categorical", "column": "line", "vocabulary": ["a", "b"], "elements": ["line=a", "line=b"],
             "may_be_unknown": False},
            {"kind": "continuous", "column": "dose", "mean": 1.0, "std": 0.5, "elements": ["dose"],
             "may_be_unknown": False},
        ],
    },
    "training": {
        "dataset": "cells", "about": "", "fingerprint": "ab12", "subset": None, "fold": "0", "images": {"test": 12},
        "schedule": {"epochs": 8}, "best_epoch": 6,
    },
    "provenance": {
        "run_id": "0123456789abcdef", "seed": 0, "parameters": 10, "weights_sha256": "cd", "training_version": 3,
        "versions": {"torch": "2.13.0"}, "git_commit": None, "exported_by": "metaseg 0.1.0",
    },
    "authors": ["A. Author"], "license": "CC-BY-4.0",
}  # fmt: skip
CHECKED = Checked(5, 1e-7, 100, 0)


def card(**changes: Any) -> str:
    return write_card({**PASSPORT, **changes}, score(rows(), ENCODER), CHECKED, "onnx", "Run it.")


def head(content: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(content.split("---\n")[1])
    return found


def test_the_card_says_what_a_user_needs() -> None:
    content = card()
    for title in (
        "Intended use",
        "How to use",
        "Inputs and outputs",
        "Validation",
        "Training",
        "Provenance",
        "Licence",
    ):
        assert f"\n## {title}" in content
    scores = score(rows(), ENCODER)
    name, subgroup, mean = scores.subgroups[1]
    assert f"| {name} | {subgroup} | {mean.images} | {mean.groups} | {interval(mean)} |" in content
    assert "| line | told a | told b |" in content
    assert "| zeros in place of the vector | 12 |" in content
    assert "at 1/2 of their size" in content
    assert " nan" not in content


def test_the_head_has_the_hubs_fields() -> None:
    found = head(card())
    assert found["license"] == "cc-by-4.0"
    assert found["pipeline_tag"] == "image-segmentation"
    metrics = found["model-index"][0]["results"][0]["metrics"]
    assert [metric["value"] for metric in metrics] == [round(m.value, 4) for *_, m in score(rows(), ENCODER).subgroups]
    assert "license" not in head(card(license=None))
    other = head(card(license="LicenseRef-Ours"))
    assert (other["license"], other["license_name"]) == ("other", "licenseref-ours")
    assert head(card(license="GPL-3.0-or-later"))["license"] == "gpl-3.0"


def test_the_hubs_own_code_reads_the_head() -> None:
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub isn't installed")
    found = hub.ModelCard(card(), ignore_metadata_errors=False)
    assert [each.metric_value for each in found.data.eval_results] == [
        round(mean.value, 4) for *_, mean in score(rows(), ENCODER).subgroups
    ]
    assert found.data.license == "cc-by-4.0"
    assert found.data.model_name == "sme on cells"


def test_names_are_shown_and_do_nothing() -> None:
    nasty = "a|b\n# <script>alert(1)</script> [x](http://y) \x1b[31m"
    assert not set(text(nasty)) & {"\n", "\x1b"}
    content = card(name=nasty, classes=[nasty])
    assert "<script>" not in content.split("---\n", 2)[2]
    assert head(content)["model-index"][0]["name"] == nasty


def test_a_network_that_is_told_nothing_has_no_table_of_what_it_was_told() -> None:
    images = rows()
    scores = score(images[images["evaluation"] == "as-trained"], ENCODER)
    assert not scores.told
    assert not scores.costs
    metadata = {"is_input": False, "size": 0, "elements": [], "columns": []}
    content = write_card({**PASSPORT, "metadata": metadata}, scores, CHECKED, "onnx", "")
    assert "No metadata input." in content
    assert content.count("No such test") == 2


def test_an_interval_ends_where_scores_do() -> None:
    assert interval(Mean(0.98, 0.93, 1.03, 9, 9)) == "0.980 (0.930 to 1.000)"
    assert interval(Mean(0.98, np.nan, np.nan, 1, 1)) == "0.980 (-)"
    assert interval(Mean(-0.2, -0.3, -0.1, 9, 9), signed=True) == "-0.200 (-0.300 to -0.100)"
    empty = hub_metadata(PASSPORT, CardScores((), (), ()), "onnx")
    assert empty["datasets"] == ["cells"]
