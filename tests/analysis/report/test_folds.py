"""Reports of studies with folds say what was tested on what, and what results are conditional on."""

import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.figures.learning import build_learning, learning_curves, read_history
from analysis.figures.run_means import build_run_means
from analysis.figures.size import size_curves
from analysis.report.conclusion import conclude
from analysis.report.data import ReportData, Supplement, report_data
from analysis.report.opening import describe, missing_runs
from analysis.report.sections import limits, methods, provenance, resampling, scores, seeds, verdicts
from analysis.results.dataset import read_results
from analysis.results.external_study import adopt
from analysis.results.external_tables import Table
from analysis.results.merge import collect
from analysis.scores.example import example_scores
from analysis.stats.comparisons import _verdicts
from analysis.stats.seeds import run_means
from fake_store import image_rows, run_id, write_study
from metaseg.schema import OVERALL
from metaseg.store.folder import FolderStorage

LINES = ["HeLa", "MCF7"] * 12
WELLS = [f"well {k // 2}" for k in range(24)]
BASE = np.random.default_rng(0).uniform(0.6, 0.8, 24)


def rows(arm: str, seed: int) -> pd.DataFrame:
    noise = np.random.default_rng([len(arm), seed]).normal(0, 0.01, 24)
    return image_rows(BASE + 0.05 * (arm == "sme") + noise, LINES, WELLS)


def study(folder: Path, **options: object) -> ReportData:
    write_study(folder, rows, folds=4, **options)  # type: ignore[arg-type]
    store = FolderStorage(folder)
    collected = collect(store, "cells")
    history = read_history(store, collected.study)
    return report_data(collected, Supplement(history, provenance.provenance(store, collected)), styled=False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    return study(tmp_path_factory.mktemp("whole"), seeds=3)


@pytest.fixture(scope="module")
def partial(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    return study(tmp_path_factory.mktemp("partial"), seeds=2, unfinished=[("sme", 1, "2"), ("baseline", 0, "3")])


def test_it_opens_with_what_folds_are(whole: ReportData) -> None:
    about, _, arms = describe(whole.collected)
    assert "24 of 24 runs are finished. 4 folds of whole groups: each of the 24 images is tested by networks" in about
    assert "networks that didn't train on it." in about
    assert "trained once per seed and fold" in arms


def test_missing_runs_are_named_with_their_fold(partial: ReportData) -> None:
    said = missing_runs(partial.collected)
    assert "2 of 16 runs are missing: baseline seed 0 fold 3 (" in said
    assert "sme seed 1 fold 2 (" in said


def test_a_fold_that_nobody_finished_is_named(tmp_path: Path) -> None:
    gone = [(arm, seed, "1") for arm in ("baseline", "sme") for seed in range(2)]
    data = study(tmp_path, seeds=2, unfinished=gone)
    assert "each of the 18 images" in describe(data.collected)[0]
    assert describe(data.collected)[0].endswith("No run of fold 1 is finished.")
    assert data.tests["n_folds"].max() == 3


def test_tables_say_how_many_seeds_and_what_the_spread_is_of(whole: ReportData, partial: ReportData) -> None:
    (said,) = scores.section(whole).parts[0].words
    assert "(3 an arm in each of 4 folds; ± the SD of a run's mean across the seeds of its fold)" in said
    assert "left out" not in said
    (said,) = scores.section(partial).parts[0].words
    assert "(up to 2 an arm in each of 4 folds;" in said
    assert "A seed without a run of some fold is left out in that fold" in said
    assert "lack" not in said.replace("lacks a class", "")


def test_the_verdict_is_meant_for_new_images_seeds_and_training_sets(whole: ReportData) -> None:
    section = verdicts.section(whole)
    said = " ".join(section.parts[0].words)
    assert "it is meant for new groups of images, new seeds and training sets like these." in said
    assert "Intervals are widened because folds share training images, by a rule that isn't exact." in said
    assert "The 4 folds are strata" in section.methods[0]
    assert (
        "multiplied by 1 + J / (K - 1) where J of the study's K folds are tested, which is 2.33 for 4 of 4"
        in section.methods[0]
    )
    assert "Nadeau, Bengio (2003), Machine Learning 52:239." in section.sources
    assert "Where an arm has one seed in each fold" not in section.methods[0]
    (first, *_) = conclude(whole.tests, [], whole.study, "cell_line", whole.names)
    assert "(3 seeds an arm in each of 4 folds, 24 images in 12 groups)" in first


def test_methods_and_caveats_name_folds(whole: ReportData) -> None:
    text = methods.section(whole).parts[0].words[0]
    assert "(number of runs, one for each seed and fold): baseline (12) and sme (12)" in text
    assert "divided into 4 folds, whole groups together; the networks of a fold were trained without it" in text
    checks = resampling.section(whole)
    assert checks is not None
    assert "permutations take folds for independent of each other" in checks.parts[0].words[0]
    said = " ".join(limits.section(whole).parts[0].words)
    assert "conditional on one partition of one dataset into 4 folds" in said
    assert "Intervals are widened for that, and p-values raised." in said
    assert "at most 2 % are called different at p < 0.05 where folds are independent of each other" in said
    assert "split" not in said


def test_a_study_with_one_split_says_nothing_of_folds(tmp_path: Path) -> None:
    write_study(tmp_path, rows, seeds=2)
    collected = collect(FolderStorage(tmp_path), "cells")
    data = report_data(collected, Supplement(runs=provenance.provenance(FolderStorage(tmp_path), collected)), False)
    sections = [each(data) for each in (scores.section, verdicts.section, methods.section, limits.section)]
    words = [word for section in sections for part in section.parts for word in part.words] + describe(collected)
    assert "fold" not in " ".join(words)
    assert "fold" not in provenance.section(data).parts[0].grids[0].columns
    assert data.tests["n_folds"].eq(1).all()


def test_each_run_is_listed_with_its_fold(whole: ReportData) -> None:
    for data in (whole, replace(whole, supplement=Supplement())):
        (grid,) = provenance.section(data).parts[0].grids
        assert grid.columns[:3] == ("arm", "seed", "fold")
        found = dict(grid.rows)[run_id("sme", 2, "3")]
        assert [cell.first for cell in found][:3] == ["sme", "2", "3"]


def test_a_run_that_collapsed_in_one_fold_is_counted(tmp_path: Path) -> None:
    """A third of the seed's mean over all folds stays, but one of its networks learnt nothing."""

    def collapsing(arm: str, seed: int) -> pd.DataFrame:
        table = rows(arm, seed)
        lost = ((arm, seed) == ("sme", 1)) & (pd.factorize(table["group"])[0] % 4 == 2)
        return table.assign(tp=table["tp"].where(~lost, 10))

    write_study(tmp_path, collapsing, seeds=3, folds=4)
    data = report_data(collect(FolderStorage(tmp_path), "cells"), Supplement(), styled=False)
    section = seeds.section(data)
    assert section is not None
    table = pd.read_csv(BytesIO(section.files["seeds.csv"])).set_index("arm")
    assert table.loc["sme", ["n_seeds", "n_runs", "n_collapsed"]].tolist() == [3, 12, 1]
    assert table.loc["baseline", ["n_runs", "n_collapsed"]].tolist() == [12, 0]
    assert "1 of 12 of sme" in " ".join(section.parts[0].words)


def test_learning_curves_are_over_seeds_and_folds(whole: ReportData) -> None:
    history = whole.supplement.history
    assert history is not None
    assert learning_curves(history, "train_loss")["n_runs"].eq(12).all()
    assert "means over seeds and folds (of each arm: 12)" in " ".join(
        text.get_text() for text in build_learning(history, "baseline").texts
    )


def test_a_row_of_the_heat_map_is_a_seed_over_folds(whole: ReportData) -> None:
    means = run_means(dict(whole.matrices))
    assert len(means) == 6
    said = " ".join(text.get_text() for text in build_run_means(means, whole.names, whole.folds).texts)
    assert "a seed of an arm, over 4 folds" in said.replace("\n", " ")


def test_sizes_are_of_all_images_whatever_fold_a_run_is_of(whole: ReportData, partial: ReportData) -> None:
    for data in (whole, partial):
        curves = size_curves(data.collected.images, "baseline")
        assert curves["n_images"].sum() == 2 * 24
        by_image = data.own.groupby(["arm", "image"], observed=True)["score"].mean().groupby("arm", observed=True)
        weighted = curves.assign(total=curves["mean"] * curves["n_images"]).groupby("arm", observed=True)["total"].sum()
        assert (weighted / 24).to_dict() == pytest.approx(by_image.mean().to_dict())


def test_tables_from_elsewhere_with_folds_are_reported_on(tmp_path: Path) -> None:
    example_scores(seeds=2, images=20, folds=4).to_csv(tmp_path / "scores.csv", index=False)
    out = FolderStorage(tmp_path / "out")
    adopt(out, [Table(tmp_path / "scores.csv")], "theirs")
    data = report_data(read_results(out, "theirs"), Supplement(), styled=False)
    about = describe(data.collected)[0]
    assert "scored for 16 runs (arm, seed and fold). 4 folds: each of the 20 images is taken to be tested by" in about
    assert data.tests.set_index("subgroup").loc[OVERALL, ["n_folds", "n_seeds"]].tolist() == [4, 2]


def test_arms_that_have_no_fold_in_common_yet_are_incomplete(whole: ReportData) -> None:
    tests = whole.tests.assign(difference=np.nan, se=np.nan, p_adjusted=np.nan)
    tests["verdict"] = _verdicts(tests)
    assert tests["verdict"].eq("incomplete").all()
    (words,) = [part.words for part in verdicts.section(replace(whole, tests=tests)).parts]
    assert words[-1] == "incomplete: the two arms have no finished run of a common fold."
    said = conclude(tests, [], whole.study, "cell_line", whole.names)
    assert said == ["No conclusion: arms are compared once they have finished runs of a common fold."]
    both = pd.concat([tests.assign(arm="me"), whole.tests.astype({"arm": str})])
    assert conclude(both, [], whole.study, "cell_line", whole.names)[0].endswith("Not tested, for lack of runs: me.")


def test_values_that_networks_are_not_told_are_named_with_what_is_said_of_metadata(tmp_path: Path) -> None:
    write_study(tmp_path, rows, folds=4)
    file = tmp_path / "studies/cells.json"
    lacking = {"hospital": {"0": ["a"], "2": ["b", "c"]}}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"untold": lacking}))
    collect(FolderStorage(tmp_path), "cells")
    data = report_data(read_results(tmp_path / "results", "cells"), Supplement(), styled=False)
    said = (
        "In 2 of 4 folds, test images have values of hospital that training lacks: networks are given zeros for these."
    )
    assert data.study.untold == lacking, "in the results dataset, too"
    assert said in describe(data.collected)
    assert said in " ".join(limits.section(data).parts[0].words)
    assert "training lacks" not in " ".join(describe(replace(data.collected, study=replace(data.study, untold={}))))


def test_an_arm_without_most_folds_is_what_a_conclusion_waits_for(tmp_path: Path) -> None:
    data = study(tmp_path, seeds=2, unfinished=[("sme", seed, fold) for seed in (0, 1) for fold in "012"])
    assert data.uncounted == ("sme",)
    (said,) = conclude(data.tests, [], data.study, "cell_line", data.names, data.uncounted)
    assert said.startswith("No conclusion: sme lacks more than half of the images")
    assert "No comparison: sme lacks more than half" in " ".join(verdicts.section(data).parts[0].words)
