"""Seeds in a report: their spread, failed seeds, and the conditions of the test's promise."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.report.study import report
from analysis.scores.score_matrix import score_matrices
from analysis.stats.calibration import calibration_sentence, unlike_comparisons
from analysis.stats.seeds import collapsed, residuals, run_means, seed_table, upper_limit
from fake_store import image_rows, run_id, write_study
from metaseg.schema import OVERALL
from metaseg.store.folder import FolderStorage


@pytest.mark.parametrize(("count", "of", "limit"), [(0, 3, 1 - 0.05 ** (1 / 3)), (0, 10, 0.2589), (3, 3, 1.0)])
def test_the_upper_limit_is_exact(count: int, of: int, limit: float) -> None:
    assert upper_limit(count, of) == pytest.approx(limit, abs=1e-4)


@pytest.mark.parametrize(("count", "of"), [(1, 3), (2, 9)])
def test_a_chance_at_the_upper_limit_gives_no_more_in_a_twentieth_of_draws(count: int, of: int) -> None:
    assert stats.binom.cdf(count, of, upper_limit(count, of)) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("means", "expected"),
    [
        ([0.8, 0.79, 0.2], [False, False, True]),
        ([0.8, 0.1, 0.1], [False, True, True]),
        ([0.8, 0.5, 0.41], [False, False, False]),
        ([-10.0, -12.0, -40.0], [False, False, True]),
    ],
)
def test_a_run_far_below_its_arms_best_has_collapsed_however_many_have(
    means: list[float], expected: list[bool]
) -> None:
    assert collapsed(np.array(means)).tolist() == expected


def collapsing(arm: str, seed: int) -> pd.DataFrame:
    """sme's third seed finds next to nothing on one of two lines."""
    rng = np.random.default_rng([len(arm), seed])
    lines = np.array(["A549", "HeLa"] * 20)
    lost = 0.75 * ((arm, seed) == ("sme", 2)) * (lines == "HeLa")
    return image_rows(0.8 + rng.uniform(-0.02, 0.02, 40) - lost, list(lines))


def test_a_report_shows_a_collapsed_seed_and_what_three_good_ones_leave_open(tmp_path: Path) -> None:
    write_study(tmp_path, lambda arm, seed: collapsing(arm, seed), seeds=4, unfinished=[("baseline", 3), ("sme", 3)])
    (tmp_path / "failures").mkdir()
    (tmp_path / "failures" / f"{run_id('baseline', 3)}.json").write_text("{}")
    result = report(FolderStorage(tmp_path), "cells")
    out = tmp_path / "reports" / "cells"
    seeds = pd.read_csv(out / "seeds.csv").set_index("arm")
    assert seeds["n_seeds"].tolist() == [3, 3]
    assert seeds["n_failed"].tolist() == [1, 0]
    assert seeds["n_missing"].tolist() == [0, 1]
    assert seeds.loc["sme", "worst_run"] == pytest.approx(0.8 - 0.75 / 2, abs=0.02)
    assert seeds.loc["sme", "low_images"] < seeds.loc["baseline", "low_images"] - 0.2
    assert seeds["failure_limit"].tolist() == pytest.approx([upper_limit(1, 4), upper_limit(0, 3)], abs=1e-5)
    text = (out / "table.md").read_text()
    assert "63 %" in text
    assert "tests. Ratio of SDs" in text
    assert "2 to 6 % are called different" in text
    assert {"run_means.png", "residuals.png"} <= {Path(file).name for file in result.files}


def scored(f1: dict[str, np.ndarray]) -> pd.DataFrame:
    rows = [
        {"arm": arm, "seed": seed, "image": f"{k}", "group": f"{k}", "subgroup": "ab"[k % 2], "score": value}
        for arm, runs in f1.items() for seed, run in enumerate(runs) for k, value in enumerate(run)
    ]  # fmt: skip
    frame = pd.DataFrame(rows).assign(**{"class": "c"}, empty=False)
    orders = {"class": ["c"], "arm": list(f1), "subgroup": [OVERALL, "a", "b"]}
    return frame.astype({column: pd.CategoricalDtype(order, ordered=True) for column, order in orders.items()})


def test_runs_by_subgroups_and_residuals_are_what_they_say() -> None:
    rng = np.random.default_rng(0)
    f1 = {"baseline": rng.uniform(0.5, 1, (3, 10)), "sme": rng.uniform(0.5, 1, (2, 10))}
    scores = scored(f1)
    laid = {subgroup: matrix for _, subgroup, matrix in score_matrices(scores)}
    means = run_means(laid)
    assert means.index.tolist() == [("baseline", 0), ("baseline", 1), ("baseline", 2), ("sme", 0), ("sme", 1)]
    assert means.loc[("sme", 1)].to_numpy() == pytest.approx(
        [f1["sme"][1].mean(), f1["sme"][1][::2].mean(), f1["sme"][1][1::2].mean()]
    )
    left = residuals(laid[OVERALL])
    assert left["residual"].mean() == pytest.approx(0, abs=1e-12)
    assert (left["fitted"] + left["residual"]).sum() == pytest.approx(scores["score"].sum())
    table = seed_table(laid[OVERALL], scores, "baseline").set_index("arm")
    assert table.loc["sme", "sd"] == pytest.approx(f1["sme"].mean(axis=1).std(ddof=1))
    assert table.loc["sme", "sd_ratio"] == pytest.approx(table.loc["sme", "sd"] / table.loc["baseline", "sd"])
    assert table.loc["sme", "low_images"] == pytest.approx(np.quantile(f1["sme"], 0.1, axis=1).mean())


def row(seeds: tuple[int, int] = (3, 3), sds: tuple[float, float] | None = (0.004, 0.003), units: float = 60):
    known = {"arm": "sme", "reference": "se", "n_seeds": seeds[0], "n_seeds_reference": seeds[1], "n_effective": units}
    return pd.Series(known | ({} if sds is None else {"seed_sd": sds[0], "seed_sd_reference": sds[1]}))


@pytest.mark.parametrize(
    ("design", "expected"),
    [
        (row(), "(3 seeds each, 60 effective units), 2 to 6 % are called different"),
        (row((5, 8)), "(5 and 8 seeds, 60 effective units), 3 to 6 %"),
        (row((2, 2)), "1 to 6 %"),
        (row(units=20), "and up to 7 % with so few"),
        (row(sds=(0.012, 0.003)), "also where the arms' seeds vary unlike"),
        (
            pd.Series({**row((1, 1)), "n_folds": 5}),
            "(one seed each in each of 5 folds, 60 effective units), at most 2 %",
        ),
    ],
)
def test_designs_are_told_what_is_known_of_them(design: pd.Series, expected: str) -> None:
    assert expected in calibration_sentence(design)


def test_where_nothing_is_tested_nothing_is_promised() -> None:
    assert calibration_sentence(row((1, 3))) == "Nothing is tested."
    assert calibration_sentence(row(units=4)) == "Nothing is tested."


def test_the_arm_whose_seeds_vary_more_is_named() -> None:
    rows = [row(sds=(0.012, 0.003)), row(sds=(0.001, 0.003)), row(sds=(0.0, 0.003)), row(), row((10, 3)), row((1, 3))]
    tests = pd.DataFrame([each | {"arm": arm} for each, arm in zip(map(dict, rows), "abcdef", strict=True)])
    assert unlike_comparisons(tests) == [
        "the seeds of a vary more than those of se (4.0 times, 12 in 100): more seeds of a would tell most",
        "the seeds of se vary more than those of b (3.0 times, 20 in 100), c (many times, fewer than 1 in 100): more "
        "seeds of se would tell most",
    ]
