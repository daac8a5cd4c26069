"""Scores, tables, figure and the report as a reader gets it."""

import errno
import subprocess
import sys
from io import BytesIO, StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_store import image_rows, run_id, seal, write_study
from PIL import Image
from rich.console import Console

from analysis.__main__ import main
from analysis.collect import ResultsError
from analysis.figure import Title, draw
from analysis.report import report
from analysis.scores import OVERALL, f1, image_scores, summarise
from analysis.table import format_p, score_grids, verdict_grids
from metaseg.storage import FolderStorage

LINES = ["A549", "HT1080", "HeLa", "HepG2", "MCF7", "MDCK", "NIH3T3"]
ARMS = ["baseline", "me", "sme", "sme-dummy", "film"]


def seven_lines(arm: str, seed: int) -> pd.DataFrame:
    """12 images a line; sme is better on MDCK."""
    rng = np.random.default_rng([ARMS.index(arm), seed])
    line = np.repeat(LINES, 12)
    return image_rows(0.8 + 0.1 * ((arm == "sme") & (line == "MDCK")) + rng.uniform(-0.02, 0.02, len(line)), list(line))


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
    assert scores["f1"].tolist() == [1.0, 0.5]
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
    assert image_scores(pd.concat([images, swapped]), ["sme"])["f1"].tolist() == [0.5]


def test_several_classes_have_a_macro_average_of_each_image() -> None:
    images = pd.concat([image_rows([0.2, 0.4]), image_rows([0.6, 1.0], name="debris")]).assign(arm="sme", seed=0)
    scores = image_scores(images, ["sme"])
    assert scores[scores["class"] == "macro"]["f1"].tolist() == pytest.approx([0.4, 0.7])
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


def test_names_cant_break_the_markdown_table() -> None:
    images = collected({("sme", 0): [0.5, 0.5]}, ["a|b", "*c*"])
    (grid,) = score_grids(summarise(image_scores(images, ["sme"])), ["sme"], "F1")
    assert "| arm | Average | \\*c\\* | a\\|b |" in grid.to_markdown()


@pytest.mark.parametrize(
    ("p", "text"), [(0.0004, "p<0.001"), (0.0123, "p=0.012"), (0.25, "p=0.25"), (0.999, "p=1"), (1.0, "p=1")]
)
def test_p_values_read_well(p: float, text: str) -> None:
    assert format_p(p) == text


def test_the_report_of_a_study_is_complete_and_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_study(tmp_path, seven_lines, arms=ARMS, seeds=3)
    result = report(FolderStorage(tmp_path), "cells")
    verdicts = result.tests.set_index(["subgroup", "arm"])["verdict"]
    assert verdicts["MDCK", "sme"] == "helps"
    assert (verdicts.drop(index=[("MDCK", "sme"), (OVERALL, "sme")]) == "no evidence").all()
    assert result.missing == ()

    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert max(map(len, printed.splitlines()[:-6])) <= 110
    assert "Did metadata help? Each arm against baseline by cell_line" in printed
    assert "INCOMPLETE" not in printed

    out = tmp_path / "reports" / "cells"
    files = ["difficulty.csv", "f1.png", "table.csv", "table.md", "tests.csv"]
    assert sorted(path.name for path in out.iterdir()) == files
    assert all(Path(path).exists() for path in result.files)
    table, tests = pd.read_csv(out / "table.csv"), pd.read_csv(out / "tests.csv")
    assert list(table.columns) == ["class", "arm", "subgroup", "n_images", "n_groups", "n_seeds", "mean", "sd"]
    assert len(table) == 5 * 8
    assert len(tests) == 4 * 8
    markdown = (out / "table.md").read_text()
    assert markdown.startswith("# Study cells: F1")
    row = next(line for line in markdown.split("Did metadata help?")[1].splitlines() if line.startswith("| MDCK"))
    assert row.split(" | ")[1] == "12"
    assert row.split(" | ")[3].startswith("**helps** +0.")
    for said in ("conditional on these seeds", "Holm", "Wilcoxon", "both empty counts as F1 = 1: 0 of 1260"):
        assert said in markdown
    with Image.open(out / "f1.png") as figure:
        assert figure.format == "PNG"
        assert figure.width > figure.height


def test_a_report_again_writes_the_same_files(tmp_path: Path) -> None:
    write_study(tmp_path, seven_lines, arms=ARMS[:3])
    before = {path: Path(path).read_bytes() for path in report(FolderStorage(tmp_path), "cells").files}
    assert {path: Path(path).read_bytes() for path in report(FolderStorage(tmp_path), "cells").files} == before


def test_an_incomplete_study_says_so_wherever_it_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_study(tmp_path, seven_lines, arms=ARMS[:3], unfinished=[("sme", 1)])
    result = report(FolderStorage(tmp_path), "cells", FolderStorage(tmp_path / "out"))
    assert [run.run_id for run in result.missing] == [run_id("sme", 1)]
    for text in (capsys.readouterr().out, (tmp_path / "out" / "table.md").read_text()):
        assert "INCOMPLETE: 1 of 6 runs are missing: sme seed 1" in text
        assert "(INCOMPLETE)" in text


def test_a_study_without_its_baseline_has_a_table_but_no_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(tmp_path, seven_lines, seeds=1, unfinished=[("baseline", 0)])
    assert report(FolderStorage(tmp_path), "cells").tests.empty
    assert "No comparison: finished runs of baseline and of another arm are needed." in capsys.readouterr().out


def test_images_in_groups_are_announced_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    group = [f"well {i // 4}" for i in range(24)]
    rng = np.random.default_rng(0)
    write_study(tmp_path, lambda arm, seed: image_rows(rng.uniform(0.5, 0.9, 24), ["a"] * 12 + ["b"] * 12, group))
    report(FolderStorage(tmp_path), "cells")
    printed = " ".join(capsys.readouterr().out.split())
    assert "24 test images in 6 groups" in printed
    assert "a 12 in 3 too few" in printed
    assert "n=3 (smallest possible p 0.25, corrected 0.5): a, b" in printed


def test_wide_tables_continue_below_instead_of_breaking() -> None:
    images = collected({("sme", 0): [0.5] * 40}, [f"line {i:02}" for i in range(40)])
    (grid,) = score_grids(summarise(image_scores(images, ["sme"])), ["sme"], "F1")
    console = Console(width=100, record=True, file=StringIO())
    for table in grid.to_rich(100, styled=False):
        console.print(table)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 100
    assert text.count("0.500") == 41
    assert "…" not in text


def test_no_comparisons_make_no_verdict_table() -> None:
    assert verdict_grids(pd.DataFrame(columns=["class", "n_units", "n_images"]), "title", "line") == []


@pytest.mark.parametrize("lines", [["all"], [f"a long name {i}" for i in range(20)]])
def test_the_figure_copes_with_one_and_with_many_subgroups_and_arms(lines: list[str]) -> None:
    arms = ["baseline", *(f"arm {i}" for i in range(9))]
    scores = image_scores(collected({(arm, 0): [0.5] * len(lines) for arm in arms}, lines), arms)
    content = draw(scores, arms, "baseline", Title("title"), "line")
    with Image.open(BytesIO(content)) as figure:
        assert figure.format == "PNG"


def test_the_command_reports_on_all_studies_and_fails_for_a_corrupt_one(tmp_path: Path) -> None:
    write_study(tmp_path, seven_lines, name="good")
    write_study(tmp_path / "other", seven_lines, name="bad")
    command = [sys.executable, "-m", "analysis", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "reports" / "good" / "table.md").exists()

    folder = tmp_path / "other" / "runs" / run_id("sme", 0)
    (folder / "images.parquet").write_bytes(b"")
    seal(folder)
    (folder / "images.parquet").write_bytes(b"PAR1")
    command = [
        sys.executable,
        "-m",
        "analysis",
        str(tmp_path / "other"),
        "--study",
        "bad",
        "--out",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"error: {folder / 'images.parquet'}: corrupt" in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_command_on_no_store_is_one_readable_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["analysis", str(tmp_path)])
    with pytest.raises(SystemExit, match="1"):
        main()
    assert capsys.readouterr().err == f"error: {tmp_path / 'studies'}: no study there\n"


def test_the_command_on_a_store_that_cant_be_opened_is_one_readable_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["analysis", "nothing://here"])
    with pytest.raises(SystemExit, match="1"):
        main()
    assert capsys.readouterr().err.startswith("error: storage is 'nothing://here'; expected a folder, s3://BUCKET/")


def test_a_disk_that_is_full_is_one_readable_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(tmp_path, seven_lines)

    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("metaseg.storage._write_flushed", full)
    monkeypatch.setattr(sys, "argv", ["analysis", str(tmp_path)])
    assert main() == 1
    assert capsys.readouterr().err == f"error: [Errno 28] {tmp_path} is full: No space left on device\n"
