"""The report of a study as a reader gets it: its files, what is printed, and studies that aren't whole."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis.report.study import report
from analysis.stats.comparisons import FEWEST_UNITS
from fake_store import image_rows, run_id, write_study
from metaseg.schema import OVERALL
from metaseg.store.folder import FolderStorage

LINES = ["A549", "HT1080", "HeLa", "HepG2", "MCF7", "MDCK", "NIH3T3"]
ARMS = ["baseline", "me", "sme", "sme-dummy", "film"]
DECLARED = [
    *({"arm": arm, "reference": "baseline", "claim": "differs"} for arm in ("me", "sme", "film")),
    {"arm": "sme-dummy", "reference": "baseline", "claim": "equal"},
    {"arm": "sme", "reference": "sme-dummy", "claim": "differs"},
]


def seven_lines(arm: str, seed: int) -> pd.DataFrame:
    """12 images a line; sme is better on MDCK."""
    rng = np.random.default_rng([ARMS.index(arm), seed])
    line = np.repeat(LINES, 12)
    return image_rows(0.8 + 0.1 * ((arm == "sme") & (line == "MDCK")) + rng.uniform(-0.02, 0.02, len(line)), list(line))


def two_lines(arm: str, seed: int) -> pd.DataFrame:
    """12 images of each of two lines; me and sme are better."""
    rng = np.random.default_rng([ARMS.index(arm), seed])
    return image_rows(0.7 + 0.1 * (arm in ("me", "sme")) + rng.uniform(-0.02, 0.02, 24), ["A549", "HeLa"] * 12)


def test_the_report_of_a_study_is_complete_and_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_study(tmp_path, seven_lines, arms=ARMS, seeds=3, comparisons=DECLARED)
    result = report(FolderStorage(tmp_path), "cells")
    tests = result.tests.set_index(["subgroup", "arm", "reference"])
    for reference in ("baseline", "sme-dummy"):
        assert tests.loc[("MDCK", "sme", reference), "verdict"] == "helps"
    helped = tests.index[tests["verdict"].isin(["helps", "hurts"])].get_level_values("subgroup")
    assert set(helped) <= {"MDCK", OVERALL}
    assert tests.loc[(OVERALL, "sme-dummy", "baseline"), "verdict"] == "equal"
    assert result.missing == ()
    assert any("sme helps on MDCK (+0.1" in sentence for sentence in result.result)

    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert max(map(len, printed.splitlines()[:-4])) <= 110
    assert "Differences by cell_line from baseline" in printed
    assert "Differences by cell_line from sme-dummy" in printed
    assert "INCOMPLETE" not in printed
    assert " ".join(result.result) in " ".join(printed.split())

    out = tmp_path / "reports" / "cells"
    assert sorted(path.name for path in out.iterdir()) == [
        "difficulty.csv", "f1.png", "f1.svg", "forest.png", "forest.svg", "learning.png", "learning.svg", "paired.png",
        "paired.svg", "power.csv", "ranks.png", "ranks.svg", "report.html", "resampling.csv", "residuals.png",
        "residuals.svg", "run_means.png", "run_means.svg", "runs.csv", "seeds.csv", "size.png", "size.svg",
        "subgroups.csv", "table.csv", "table.md", "table.tex", "tests.csv", "variance.png", "variance.svg",
    ]  # fmt: skip
    assert all(Path(path).exists() for path in result.files)
    table, written = pd.read_csv(out / "table.csv"), pd.read_csv(out / "tests.csv")
    assert list(table.columns) == [
        "class", "arm", "subgroup", "n_images", "n_groups", "n_folds", "n_runs", "n_seeds", "n_partial", "n_lacking",
        "mean", "sd",
    ]  # fmt: skip
    assert (len(table), len(written)) == (5 * 8, 5 * 8)
    assert written["verdict"].tolist() == result.tests["verdict"].tolist()
    markdown = (out / "table.md").read_text()
    assert markdown.startswith("# Study cells: F1 with and without metadata\n\n> Compared with baseline")
    row = next(line for line in markdown.split("from baseline")[-2].splitlines() if line.startswith("| MDCK"))
    assert row.split(" | ")[1] == "12"
    assert any(cell.startswith("**helps** +0.1") for cell in row.split(" | "))
    for words in ("new images with new seeds", "Holm", "Benjamini", "both empty scores 1: 0 of 1260"):
        assert words in markdown
    for name in ("f1", "forest", "learning", "paired", "ranks", "size", "variance"):
        assert f"({name}.png)" in markdown
        with Image.open(out / f"{name}.png") as figure:
            assert (figure.format, figure.width > 400) == ("PNG", True)


def contents(paths: Iterable[str]) -> dict[str, bytes]:
    """Bytes of the files, without the folder of rows."""
    return {path: Path(path).read_bytes() for path in paths if Path(path).is_file()}


def test_a_report_again_writes_the_same_files(tmp_path: Path) -> None:
    write_study(tmp_path, two_lines)
    before = contents(report(FolderStorage(tmp_path), "cells").files)
    assert set(before) > {str(tmp_path / "reports" / "cells" / name) for name in ("report.html", "f1.svg", "tests.csv")}
    assert contents(report(FolderStorage(tmp_path), "cells").files) == before


def test_an_incomplete_study_says_so_wherever_it_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_study(tmp_path, two_lines, arms=ARMS[:3], unfinished=[("sme", 1)])
    result = report(FolderStorage(tmp_path), "cells", FolderStorage(tmp_path / "out"))
    assert [run.run_id for run in result.missing] == [run_id("sme", 1)]
    texts = [(tmp_path / "out" / name).read_text() for name in ("table.md", "report.html")]
    for text in (capsys.readouterr().out, *texts):
        assert "INCOMPLETE: 1 of 6 runs are missing: sme seed 1" in text
        assert "(INCOMPLETE)" in text
    verdicts = result.tests.set_index(["subgroup", "arm"])["verdict"][OVERALL]
    assert verdicts.to_dict() == {"me": "helps", "sme": "one seed"}


@pytest.mark.parametrize("unfinished", ["baseline", "sme"])
def test_a_study_of_a_single_arm_has_a_table_but_no_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], unfinished: str
) -> None:
    write_study(tmp_path, two_lines, unfinished=[(unfinished, 0), (unfinished, 1)])
    result = report(FolderStorage(tmp_path), "cells")
    assert result.tests.empty
    assert result.result == ("No conclusion: finished runs of baseline and of another arm are needed.",)
    assert "No comparison: finished runs of baseline and of another arm are needed." in capsys.readouterr().out
    files = {path.name for path in (tmp_path / "reports" / "cells").iterdir()}
    assert {"table.csv", "tests.csv", "report.html", "f1.png"} <= files
    assert not files & {"forest.png", "paired.png", "ranks.png", "variance.png", "power.csv"}


def test_one_seed_an_arm_is_a_table_without_a_single_p_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(tmp_path, two_lines, arms=ARMS[:3], seeds=1)
    result = report(FolderStorage(tmp_path), "cells")
    assert result.tests["verdict"].eq("one seed").all()
    printed = capsys.readouterr().out
    assert "No conclusion: with one seed in an arm" in printed
    assert "one seed: an arm has a single seed, so any difference may be due to that seed alone." in " ".join(
        printed.split()
    )
    tables = printed.partition("Differences")[2].partition("Numbers are")[0]
    assert "p=" not in tables
    assert "p<" not in tables


def test_images_in_groups_are_announced_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    group = [f"well {i // 6}" for i in range(24)]
    rng = np.random.default_rng(0)
    write_study(tmp_path, lambda arm, seed: image_rows(rng.uniform(0.5, 0.9, 24), ["a"] * 12 + ["b"] * 12, group))
    result = report(FolderStorage(tmp_path), "cells")
    printed = " ".join(capsys.readouterr().out.split())
    assert "24 test images in 4 groups" in printed
    assert "a 12 in 2 too few" in printed
    assert (
        f"too few: with fewer than {FEWEST_UNITS} groups of images (those of unequal size count as fewer: n_effective"
        in printed
    )
    assert result.result[0].startswith("No conclusion: 4 groups of images are too few for a test")


def test_a_study_without_subgroups_has_no_rows_for_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_study(tmp_path, lambda arm, seed: two_lines(arm, seed).assign(subgroup="all").drop(columns="meta_cell_line"))
    result = report(FolderStorage(tmp_path), "cells")
    assert result.tests["subgroup"].tolist() == [OVERALL]
    printed = capsys.readouterr().out
    assert "F1 of each arm\n" in printed
    assert "in alphabetical order" not in printed
    assert len(result.result) == 1


def test_several_classes_are_concluded_on_by_their_macro_average_or_the_endpoint(tmp_path: Path) -> None:
    def both(arm: str, seed: int) -> pd.DataFrame:
        rng = np.random.default_rng([len(arm), seed])
        worse = image_rows(
            0.7 - 0.2 * (arm == "sme") + rng.uniform(-0.02, 0.02, 24), ["A549", "HeLa"] * 12, name="debris"
        )
        return pd.concat([two_lines(arm, seed), worse], ignore_index=True)

    write_study(tmp_path, both)
    result = report(FolderStorage(tmp_path), "cells")
    verdicts = result.tests.set_index(["class", "subgroup"])["verdict"].xs(OVERALL, level="subgroup")
    assert verdicts.to_dict() == {"nucleus": "helps", "debris": "hurts", "macro": "hurts"}
    assert "sme -0.05" in result.result[0] or "sme -0.04" in result.result[0]
    path = tmp_path / "studies" / "cells.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"endpoint": "nucleus"}))
    assert "sme +0." in report(FolderStorage(tmp_path), "cells").result[0]
