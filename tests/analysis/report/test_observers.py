"""Networks beside humans: the table of who comes closer to an annotator's masks."""

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy import stats

from analysis.probes.observers import beside_humans, human_scores
from analysis.report.sections.observers import SAID, against_humans, humans_grid, in_words, verdict
from analysis.report.study import report
from analysis.scores.image_scores import image_scores
from fake_controls import collected_rows, count_rows
from fake_store import write_study
from metaseg.schema import OVERALL, observers_file
from metaseg.store.folder import FolderStorage

Scores = npt.NDArray[np.float64]
ANNOTATORS = ("ah", "vk")


def masks(f1: dict[str, Scores]) -> pd.DataFrame:
    """Rows of a run with the F1 of each annotator's masks of the same images."""
    names = [f"{k}.png" for k in range(len(next(iter(f1.values()))))]
    tables = [
        count_rows(values, names, [name] * len(names), group=names, annotator=[name] * len(names))
        for name, values in f1.items()
    ]
    return pd.concat(tables, ignore_index=True)


def observed(f1: Scores, others: int = 1) -> pd.DataFrame:
    """Counts of each annotator against the other, with F1 as given for both; `others` masks each, alike."""
    rows = masks(dict.fromkeys(ANNOTATORS, f1)).assign(other="x")[
        ["image", "subgroup", "class", "other", "tp", "fp", "fn", "tn"]
    ]
    return pd.concat([rows] * others, ignore_index=True)


def table(runs: dict[tuple[str, int], dict[str, Scores]], human: Scores, margin: float = 0.01) -> pd.DataFrame:
    images = collected_rows({run: masks(f1) for run, f1 in runs.items()})
    scores = image_scores(images, list(dict.fromkeys(arm for arm, _ in runs)))
    found = against_humans(beside_humans(scores, human_scores(observed(human), "nucleus", "f1", "one")), margin)
    return found.set_index(["arm", "annotator"])


def test_scores_by_hand() -> None:
    human = np.array([0.7, 0.8, 0.6, 0.7])
    found = table(
        {
            ("sme", 0): {"ah": np.array([0.8, 0.8, 0.8, 0.8]), "vk": np.array([0.5, 0.7, 0.5, 0.7])},
            ("sme", 1): {"ah": np.array([0.9, 0.9, 0.9, 0.9]), "vk": np.array([0.5, 0.7, 0.5, 0.7])},
        },
        human,
    )
    assert list(found.index) == [("sme", OVERALL), ("sme", "ah"), ("sme", "vk")]
    assert found["n_images"].tolist() == [8, 4, 4]
    assert found["n_units"].tolist() == [4, 4, 4]  # two masks of an image are one unit
    assert found["network"].tolist() == pytest.approx([0.725, 0.85, 0.6])
    assert found["human"].tolist() == pytest.approx([0.7] * 3)
    assert found["difference"].tolist() == pytest.approx([0.025, 0.15, -0.1])


def test_intervals_are_those_of_a_paired_test_where_seeds_agree() -> None:
    rng = np.random.default_rng(0)
    human, gain = rng.uniform(0.6, 0.8, 20), rng.normal(0.05, 0.03, 20)
    own = dict.fromkeys(ANNOTATORS, human + gain)
    found = table({("sme", seed): own for seed in range(3)}, human).loc["sme", "ah"]
    scores = [np.rint(1000 * f1) / 1000 for f1 in (human + gain, human)]  # as counts have them
    test = stats.ttest_rel(*scores)
    assert found["p"] == pytest.approx(test.pvalue, rel=1e-6)
    assert (found["ci_low"], found["ci_high"]) == pytest.approx(tuple(test.confidence_interval()))
    assert found["verdict"] == "better"


def test_the_human_is_the_mean_over_other_masks_of_the_image() -> None:
    low, high = observed(np.array([0.4, 0.6])), observed(np.array([0.8, 0.6]), others=2)
    both = human_scores(pd.concat([low, high]), "nucleus", "f1", "one")
    own = both[both["subgroup"] == "ah"].set_index("image")["human"]
    assert own.to_dict() == pytest.approx({"0.png": (0.4 + 0.8 + 0.8) / 3, "1.png": 0.6})


def test_masks_without_the_class_score_as_the_study_says() -> None:
    rows = observed(np.array([0.5, 0.5])).assign(fn=[0, 500] * 2, tp=[0, 500] * 2, fp=[0, 500] * 2)
    assert human_scores(rows, "nucleus", "f1", "one")["human"].tolist() == [1.0, 0.5] * 2
    assert human_scores(rows, "nucleus", "f1", "left out")["human"].tolist() == [0.5] * 2


def test_verdicts() -> None:
    intervals = {
        (0.01, 0.2): "better", (-0.2, -0.01): "worse", (-0.2, 0.2): "undecided", (-0.009, 0.009): "equal",
        (0.001, 0.009): "equal", (np.nan, np.nan): "not tested",
    }  # fmt: skip
    for (low, high), expected in intervals.items():
        assert verdict(low, high, 0.01) == expected
        assert expected in SAID


def test_one_seed_is_not_tested_and_said_so() -> None:
    f1 = np.linspace(0.6, 0.8, 12)
    found = table({("sme", 0): dict.fromkeys(ANNOTATORS, f1)}, f1 - 0.1).reset_index()
    assert set(found["verdict"]) == {"not tested"}
    assert list(in_words(found, "F1")) == [
        "sme wasn't tested against the other humans: that needs several seeds: F1 0.700 against 0.600 (+0.100)."
    ]
    assert [name for name, _ in humans_grid(found, "title").rows] == ["other humans", "sme"]


def test_a_report_answers_the_question_from_the_store_alone(tmp_path) -> None:
    rng = np.random.default_rng(1)
    human = rng.uniform(0.6, 0.8, 20)

    def rows(arm: str, seed: int) -> pd.DataFrame:
        gain = 0.1 if arm == "sme" else 0.0
        return masks({name: human + gain + rng.normal(0, 0.01, 20) for name in ANNOTATORS})

    write_study(tmp_path, rows, folds=2)
    storage = FolderStorage(tmp_path)
    assert "humans.csv" not in {name.rpartition("/")[2] for name in report(storage, "cells").files}
    path = tmp_path / observers_file("cells")
    path.parent.mkdir()
    observed(human).to_parquet(path)
    report(storage, "cells")
    folder = tmp_path / "reports" / "cells"
    found = pd.read_csv(folder / "humans.csv").set_index(["arm", "annotator"])
    assert found.loc[("sme", OVERALL), "verdict"] == "better"
    assert found.loc[("baseline", OVERALL), "verdict"] in ("undecided", "equal")
    text = (folder / "table.md").read_text()
    assert "sme is closer to an annotator's mask than the other humans are: F1 0." in text
    assert "Is a network closer to an annotator than another human is?" in (folder / "report.html").read_text()
