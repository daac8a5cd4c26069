"""Methods, limits and provenance in a report."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.report.data import Supplement, report_data
from analysis.report.section import Section
from analysis.report.sections import interaction, limits, methods, provenance, resampling, verdicts
from analysis.results.merge import collect
from analysis.results.store_rows import Collected
from fake_store import image_rows, run_id, seal, write_study
from metaseg import __version__
from metaseg.store.folder import FolderStorage


def rows(arm: str, seed: int) -> pd.DataFrame:
    return image_rows([0.5, 0.6, 0.7, 0.8], group=["w", "w", "v", "v"])


@pytest.fixture
def collected(tmp_path: Path) -> Collected:
    write_study(tmp_path, rows, margin=0.02, about="SIMULATED cells.", unfinished=[("sme", 1)])
    return collect(FolderStorage(tmp_path), "cells")


def methods_of(collected: Collected) -> tuple[str, ...]:
    """The paragraphs on methods, of what these three sections did."""
    data = report_data(collected, Supplement(), styled=False)
    made = (each.section(data) for each in (verdicts, interaction, resampling))
    return methods.section(replace(data, before=tuple(each for each in made if each))).words


def limits_of(collected: Collected) -> tuple[str, ...]:
    return limits.section(report_data(collected, Supplement(), styled=False)).words


def provenance_of(collected: Collected, runs: pd.DataFrame | None) -> Section:
    return provenance.section(report_data(collected, Supplement(runs=runs), styled=False))


def wells(arm: str, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng([len(arm), seed])
    scores = 0.7 + 0.01 * seed + rng.uniform(-0.05, 0.05, 24)
    return image_rows(scores, ["a", "b"] * 12, [f"w{k // 3}" for k in range(24)])


def test_methods_name_units_numbers_margin_software_and_what_is_pooled(tmp_path: Path) -> None:
    write_study(tmp_path, wells, seeds=3, margin=0.02)
    collected = collect(FolderStorage(tmp_path), "cells")
    text, cited = methods_of(collected)
    for part in (
        "F1 (Dice) = 2TP / (2TP + FP + FN)", "margin of 0.02 (the study's margin)",
        "24 test images in 8 groups and 2 values",
        "baseline (3) and sme (3)", "new groups of images and new seeds", "its own variance among seeds", "4999 draws",
        "9999 ",
        f"metaseg {__version__}", "sme with baseline (declared beforehand)",
    ):  # fmt: skip
        assert part in text, part
    for name in ("Dorfman", "Hillis", "Benjamini", "Schuirmann", "Rao", "Weng", "Phipson"):
        assert name in cited
    for name in ("Holm", "Kenward", "Owen", "Efron"):
        assert name not in cited, "one declared test, no test of arm x subgroup, no BCa"


def test_methods_say_nothing_of_what_wasnt_done(collected: Collected) -> None:
    (text,) = methods_of(collected)
    assert "Nothing was tested." in text
    for absent in ("Holm", "Dorfman", "bootstrap", "margin"):
        assert absent not in text


def test_methods_of_scores_from_elsewhere_name_what_these_are(collected: Collected) -> None:
    images = collected.images.drop(columns=["tp", "fp", "fn", "tn"]).assign(score=0.5, metric="nsd", group="g")
    images["group"] = images["image"]
    other = replace(collected, images=images, metric="nsd")
    text = methods_of(other)[0]
    assert "by nsd." in text
    assert "TP" not in text
    assert "groups" not in text


def test_caveats_begin_with_what_is_simulated(collected: Collected) -> None:
    assert limits_of(collected)[0].startswith("The images are simulated")
    real = replace(collected, study=replace(collected.study, about="Real images."))
    assert not any("simulated:" in paragraph for paragraph in limits_of(real))


def test_provenance_has_a_row_per_finished_run(collected: Collected, tmp_path: Path) -> None:
    runs = provenance.provenance(FolderStorage(tmp_path), collected)
    assert runs["run_id"].tolist() == [run_id("baseline", 0), run_id("sme", 0), run_id("baseline", 1)]
    assert runs["commit"].unique().tolist() == ["0123456789ab"]
    section = provenance_of(collected, runs)
    words = " ".join(section.words)
    for part in ("Command: study.py", "Commit: 0123456789ab.", "torch 2.0", "Device: cpu.", "Training version: 1."):
        assert part in words
    (grid,) = section.grids
    name, cells = grid.rows[0]
    assert (name, [cell.first for cell in cells]) == (run_id("baseline", 0), ["baseline", "0", "12"])


@pytest.mark.parametrize("seconds", [None, "absent", float("nan")])
def test_what_runs_dont_say_is_unknown_and_never_nan(collected: Collected, tmp_path: Path, seconds: object) -> None:
    for run in collected.study.runs[:2]:
        folder = tmp_path / "runs" / run.run_id
        config = json.loads((folder / "config.json").read_text())
        for key in ("versions", "git_commit", "hardware", "training_version", "seconds"):
            del config[key]
        (folder / "config.json").write_text(
            json.dumps(config if seconds == "absent" else config | {"seconds": seconds})
        )
        seal(folder)
    partly = provenance_of(collected, provenance.provenance(FolderStorage(tmp_path), collected))
    assert [cells[2].first for _, cells in partly.grids[0].rows] == ["-", "-", "12"]
    shown = " ".join(partly.words) + partly.grids[0].to_markdown()
    assert "nan" not in shown.lower()
    assert "None" not in shown


def test_without_configurations_the_declared_runs_are_listed(collected: Collected) -> None:
    section = provenance_of(collected, None)
    (grid,) = section.grids
    assert [name for name, _ in grid.rows] == [run_id("baseline", 0), run_id("sme", 0), run_id("baseline", 1)]
    assert section.files == {}
    assert np.all([len(cells) == 2 for _, cells in grid.rows])
