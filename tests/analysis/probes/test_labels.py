"""Cost of missing and wrong metadata: the same networks told the truth, nothing, unknown, or a wrong value."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy import stats

from analysis.probes.controls import metadata_controls, swapped_matrices
from analysis.probes.labels import told_instead
from analysis.probes.response import responses
from analysis.report.sections.controls import swapped_caption
from analysis.report.sections.labels import WRONG, costs_caption, costs_grid, costs_in_words, label_costs
from analysis.report.study import report
from analysis.results.merge import collect
from analysis.wording import NAMES
from fake_controls import collected_rows, count_rows, told_rows, write_parts
from fake_store import write_study
from metaseg.schema import Average, Empty
from metaseg.store.folder import FolderStorage

SWAPS = {
    ("a", "a"): 0.9, ("a", "b"): 0.5, ("a", "c"): 0.3,
    ("b", "a"): 0.6, ("b", "b"): 0.8, ("b", "c"): 0.7,
    ("c", "a"): 0.2, ("c", "b"): 0.4, ("c", "c"): 0.7,
}  # fmt: skip


def costs(
    images: pd.DataFrame,
    leading: str = "nucleus",
    average: Average = "images",
    empty: Empty = "one",
    folds: Sequence[str] = (),
) -> pd.DataFrame:
    """Costs by arm, kind and column."""
    found = label_costs(told_instead(images, leading, "f1", average, empty, folds))
    return found.set_index(["arm", "kind", "column"])


def spread(
    truth: npt.ArrayLike, told: dict[str, npt.ArrayLike], line: Sequence[str] | None = None, **more: object
) -> pd.DataFrame:
    """Rows of a network with F1 by image, told the truth and otherwise."""
    truth = np.asarray(truth)
    names, line = [f"{i}.png" for i in range(len(truth))], line or ["a", "b"] * (len(truth) // 2)
    tables = [count_rows(truth, names, line, line=line, **more)]  # type: ignore[arg-type]
    tables += [
        count_rows(f1, names, line, evaluation, line=line, **more)  # type: ignore[arg-type]
        for evaluation, f1 in told.items()
    ]
    return pd.concat(tables, ignore_index=True)


def test_costs_by_hand() -> None:
    lower = {pair: f1 - 0.1 for pair, f1 in SWAPS.items()}
    images = collected_rows({
        ("baseline", 0): told_rows({("a", "a"): 0.5}, 2),
        ("sme", 0): told_rows(SWAPS, 3, zeros=0.1),
        ("sme", 1): told_rows(lower, 3, zeros=0.0),
    })  # fmt: skip
    found = costs(images)
    assert list(found.index) == [("sme", "nothing", ""), ("sme", "wrong", "line")]
    nothing, wrong = (row for _, row in found.iterrows())
    assert (nothing["truth"], nothing["score"], nothing["difference"]) == pytest.approx((0.75, 0.05, -0.7))
    all_wrong = np.mean([0.4, 0.65, 0.3]) - 0.05
    assert wrong["score"] == pytest.approx(0.95 * 0.75 + 0.05 * all_wrong)
    assert wrong["difference"] == pytest.approx(0.05 * (all_wrong - 0.75))
    assert found[["n_images", "n_seeds"]].to_numpy().tolist() == [[9, 2]] * 2


def test_intervals_are_those_of_a_paired_test_where_seeds_agree() -> None:
    """With the same differences in all seeds, images are all that varies: Student's test of their differences."""
    rng = np.random.default_rng(0)
    truth, lost, wrong = rng.uniform(0.7, 0.9, 24), rng.normal(0.05, 0.03, 24), rng.normal(0.2, 0.1, 24)
    tables = {}
    for seed in range(3):
        rows = spread(truth - seed / 50, {"unknown": truth - seed / 50 - lost, "line=c": truth - seed / 50 - wrong})
        tables["sme-robust", seed] = rows
    found = costs(collected_rows(tables))
    for kind, of, share in (("unknown", lost, 1.0), ("wrong", wrong, WRONG)):
        row = found.xs(kind, level="kind").iloc[0]
        interval = stats.ttest_1samp(-of, 0).confidence_interval()
        assert row["difference"] == pytest.approx(-share * of.mean(), abs=1e-4)
        assert (row["ci_low"], row["ci_high"]) == pytest.approx(
            (share * interval.low, share * interval.high), abs=5e-4 * share
        )


def test_seeds_that_differ_widen_the_interval() -> None:
    """Were seeds ignored, the interval would be that of images alone."""
    rng = np.random.default_rng(1)
    truth, noise = rng.uniform(0.7, 0.9, 40), rng.normal(0, 0.01, 40)
    alike, unlike = (
        costs(
            collected_rows({
                ("sme", seed): spread(truth, {"zeros": truth - 0.1 - apart * seed + noise}) for seed in range(3)
            })
        ).iloc[0]
        for apart in (0.0, 0.05)
    )  # fmt: skip
    assert unlike["se"] > 3 * alike["se"]


def test_networks_that_ignore_what_they_are_told_lose_nothing() -> None:
    rows = spread([0.8] * 12, {name: [0.8] * 12 for name in ("zeros", "unknown", "line=a", "line=b")})
    rows = rows[rows["evaluation"].str[5:] != rows["meta_line"]]
    found = costs(collected_rows({("sme", seed): rows for seed in range(3)}))
    assert len(found) == 3
    assert (found[["difference", "ci_low", "ci_high"]].abs() < 1e-9).all(axis=None)


def test_an_image_without_a_value_isnt_told_a_wrong_one() -> None:
    swaps = {("a", "a"): 0.9, ("a", "b"): 0.5, ("b", "b"): 0.9, ("b", "a"): 0.5}
    unknown = {("unknown", "unknown"): 0.3, ("unknown", "a"): 0.8, ("unknown", "b"): 0.8}
    rows = told_rows(swaps | unknown, 4, zeros=0.2)
    withheld = told_rows({("a", "unknown"): 0.7, ("b", "unknown"): 0.7}, 4).assign(evaluation="unknown")
    images = collected_rows({("sme", seed): pd.concat([rows, withheld]) for seed in (0, 1)})
    found = costs(images).droplevel(["arm", "column"])
    assert found.loc["nothing", ["truth", "n_images"]].tolist() == pytest.approx([0.7, 12])
    assert found.loc["unknown", ["truth", "score", "n_images"]].tolist() == pytest.approx([0.9, 0.7, 8])
    assert found.loc["wrong", ["truth", "score", "n_images"]].tolist() == pytest.approx([0.9, 0.88, 8])
    controls = metadata_controls(images).set_index("control")
    assert controls.loc["wrong", ["as_trained", "f1"]].tolist() == pytest.approx([0.9, 0.5])
    assert set(swapped_matrices(images)["true"]) == {"a", "b"}
    assert "unknown" not in swapped_caption(swapped_matrices(images))


def test_a_withheld_number_is_no_value_that_was_told() -> None:
    size = np.arange(12.0)
    f1 = {"size=0": 0.7, "size=5": 0.7, "size=unknown": 0.75, "line=unknown": 0.6}
    told = {name: [score] * 12 for name, score in f1.items()}
    rows = spread([0.8] * 12, told, size=np.where(size == 3, np.nan, size))
    images = collected_rows({("sme", seed): rows for seed in (0, 1)})
    found = costs(images).droplevel("arm")
    assert found.loc[("without", "size"), "difference"] == pytest.approx(-0.05)
    assert found.loc[("without", "line"), "difference"] == pytest.approx(-0.2)
    assert found.loc[("wrong", "size"), ["difference", "n_images"]].tolist() == pytest.approx([-0.05 * 0.1, 11])
    assert ("wrong", "line") not in found.index
    assert set(responses(images)["given"]) == {0, 5}
    withheld_only = images[~images["evaluation"].isin(["size=0", "size=5"])]
    assert responses(withheld_only).empty
    assert metadata_controls(withheld_only).empty


def test_scores_follow_the_studys_rules() -> None:
    """The mean of subgroups, several classes, and images without a class."""
    rows = pd.concat([
        told_rows({("a", "a"): 0.9}, 6, zeros=0.5), told_rows({("b", "b"): 0.5}, 2, zeros=0.3),
    ])  # fmt: skip
    images = collected_rows({("sme", 0): rows})
    assert costs(images)[["truth", "score"]].iloc[0].tolist() == pytest.approx([0.8, 0.45])
    assert costs(images, average="subgroups")[["truth", "score"]].iloc[0].tolist() == pytest.approx([0.7, 0.4])

    lower = told_rows({("a", "a"): 0.5}, 6, zeros=0.1).assign(**{"class": "debris"})
    both = collected_rows({("sme", 0): pd.concat([told_rows({("a", "a"): 0.9}, 6, zeros=0.5), lower])})
    assert costs(both, "macro")[["truth", "score"]].iloc[0].tolist() == pytest.approx([0.7, 0.3])
    assert costs(both, "debris")[["truth", "score"]].iloc[0].tolist() == pytest.approx([0.5, 0.1])

    gone = rows.assign(tp=rows["tp"].where(rows["subgroup"] == "a", 0), fn=rows["fn"].where(rows["subgroup"] == "a", 0))
    found = costs(collected_rows({("sme", 0): gone}), empty="left out").iloc[0]
    assert (found["truth"], found["score"], found["n_images"]) == pytest.approx((0.9, 0.5, 6))


def test_runs_of_before_there_were_such_evaluations_dont_enter_the_truth() -> None:
    older = spread([0.2] * 12, {"zeros": [0.1] * 12})
    newer = spread([0.8] * 12, {"zeros": [0.5] * 12, "unknown": [0.7] * 12})
    found = costs(collected_rows({("sme", 0): older, ("sme", 1): newer})).droplevel(["arm", "column"])
    assert found.loc["nothing", ["truth", "n_seeds"]].tolist() == pytest.approx([0.5, 2])
    assert found.loc["unknown", ["truth", "score", "n_seeds"]].tolist() == pytest.approx([0.8, 0.7, 1])
    assert np.isnan(found.loc["unknown", "ci_low"])


def test_the_table_has_a_column_a_question_and_a_dash_where_it_wasnt_asked() -> None:
    rows = spread([0.8] * 12, {"zeros": [0.5] * 12})
    robust = spread([0.75] * 12, {"zeros": [0.6] * 12, "unknown": [0.7] * 12, "line=c": [0.35] * 12})
    tables = {"sme": rows, "sme-robust": robust}
    images = collected_rows({(arm, seed): table for arm, table in tables.items() for seed in (0, 1)})
    found = label_costs(told_instead(images, "nucleus"))
    lines = costs_grid(found, "title").to_markdown().splitlines()
    assert lines[2] == "| arm | told the truth | told nothing | told unknown | line wrong in 5 % |"
    assert lines[4] == "| sme | 0.800 | 0.500 -0.300 \\[-0.300, -0.300\\] | - | - |"
    assert lines[5].startswith("| sme-robust | 0.750 | 0.600 -0.150 \\[-0.150, -0.150\\] | 0.700 -0.050")
    assert lines[5].endswith("| 0.7300 -0.0200 \\[-0.0200, -0.0200\\] |")
    assert list(costs_in_words(found, "F1")) == [
        "F1 of sme changes by -0.300 when networks are told nothing.",
        "F1 of sme-robust changes by -0.150 when networks are told nothing, by -0.050 when networks are told that "
        "metadata are unknown and by -0.0200 when line is wrong in 5 % of images.",
    ]
    unclear = found.assign(ci_high=np.where(found["kind"] == "nothing", 0.01, found["ci_high"]))
    assert list(costs_in_words(unclear, "F1")) == [
        "F1 of sme shows no clear change when networks are told nothing.",
        "F1 of sme-robust changes by -0.050 when networks are told that metadata are unknown and by -0.0200 when line "
        "is wrong in 5 % of images; it shows no clear change when networks are told nothing.",
    ]
    caption = costs_caption(found, NAMES)
    assert "told unknown: " in caption
    assert "without a column" not in caption
    assert "95 % interval" in caption
    one = label_costs(told_instead(images[images["seed"] == 0], "nucleus"))
    assert "[" not in costs_grid(one, "title").to_markdown()
    assert "an interval needs several seeds" in costs_caption(one, NAMES)


def test_the_report_answers_the_question(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    tables = {}
    for arm in ("baseline", "sme"):
        for seed in (0, 1, 2):
            truth = rng.uniform(0.7, 0.9, 24)
            told = {"zeros": truth - 0.1, "line=c": truth - 0.3} if arm == "sme" else {}
            tables[arm, seed, ""] = spread(truth, told)
    write_parts(tmp_path, tables)
    report(FolderStorage(tmp_path), "parts")
    out = tmp_path / "reports" / "parts"
    written = pd.read_csv(out / "labels.csv")
    assert written[["arm", "kind"]].to_numpy().tolist() == [["sme", "nothing"], ["sme", "wrong"]]
    assert written["difference"].tolist() == pytest.approx([-0.1, -0.015], abs=2e-3)
    page, markdown = (out / "report.html").read_text(), (out / "table.md").read_text()
    assert "What does it cost when the label is missing, or wrong in 5 % of images?" in page
    assert "## F1 when metadata are missing or wrong" in markdown
    assert "networks were paired with themselves" in markdown
    assert "F1 of sme changes by -0.1" in capsys.readouterr().out


def test_folds_are_paired_within_each(tmp_path: Path) -> None:
    def rows(arm: str, seed: int) -> pd.DataFrame:
        truth = np.random.default_rng([len(arm), seed]).uniform(0.7, 0.9, 24)
        return spread(truth, {"zeros": truth - 0.1, "unknown": truth - 0.05} if arm == "sme" else {})

    write_study(tmp_path, rows, folds=3, seeds=2, unfinished={("sme", 1, "2")}, name="folded")
    found = collect(FolderStorage(tmp_path), "folded")
    folds = [str(fold) for fold in sorted(found.images["fold"].unique())]
    table = costs(found.images, folds=folds).droplevel(["arm", "column"])
    assert table["n_images"].tolist() == [24, 24]
    assert table["difference"].tolist() == pytest.approx([-0.1, -0.05], abs=1e-3)
    assert table[["ci_low", "ci_high"]].notna().all(axis=None)
