"""The pages under `studies/`, run as a user runs them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from checkout import ROOT


def run_page(page: str, *arguments: object, store: Path, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run `studies/PAGE.py` with its store at `store`, from a folder that is neither the page's nor the checkout."""
    environment = {**os.environ, "METASEG_STORE": str(store), "COLUMNS": "160", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, ROOT / "studies" / f"{page}.py", *map(str, arguments)],
        capture_output=True, text=True, timeout=timeout, env=environment, cwd=store.parent,
    )  # fmt: skip


@pytest.fixture
def own(tmp_path) -> Path:
    """A valid folder of 12 images with a table, for tests to damage."""
    folder = tmp_path / "own"
    folder.mkdir()
    rows = []
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 255, (24, 24), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"image{number}.png")
        Image.fromarray((pixels > 127).astype(np.uint8)).save(folder / f"mask{number}.png")
        rows.append({"image": f"image{number}.png", "mask": f"mask{number}.png", "line": "ab"[number % 2]})
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    return folder


def edit(folder: Path, row: int, **values: str) -> None:
    table = pd.read_csv(folder / "table.csv")
    for column, value in values.items():
        table.loc[row, column] = value
    table.to_csv(folder / "table.csv", index=False)


def truncated_image(folder: Path) -> None:
    content = (folder / "image3.png").read_bytes()
    (folder / "image3.png").write_bytes(content[: len(content) // 2])


def mask_of_another_size(folder: Path) -> None:
    Image.fromarray(np.ones((24, 30), dtype=np.uint8)).save(folder / "mask5.png")


def missing_file(folder: Path) -> None:
    edit(folder, 7, image="nowhere.png")


def path_out_of_the_folder(folder: Path) -> None:
    edit(folder, 2, image="../secret.png")


def a_name_with_brackets(folder: Path) -> None:
    edit(folder, 1, image="plate[old]/[red]a.png")


def nothing(folder: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("damage", "arguments", "expected"),
    [
        (truncated_image, [], ["table.csv", "row 4", "image3.png", "unreadable"]),
        (mask_of_another_size, [], ["row 6", "mask5.png", "24x24 and 30x24"]),
        (missing_file, [], ["row 8", "'nowhere.png'"]),
        (a_name_with_brackets, [], ["row 2", "'plate[old]/[red]a.png'"]),
        (path_out_of_the_folder, [], ["row 3", "'../secret.png'", "leaves the root"]),
        (nothing, ["--arms", "baseline", "smee"], ["unknown arm 'smee' (did you mean 'sme'?); known: baseline"]),
        (nothing, ["--metadata", "lines"], ["no column 'lines'; it has image, mask, line"]),
        (nothing, ["--group-by", "well"], ["no column 'well'"]),
        (nothing, ["--layout", "dicom"], ["layout is 'dicom'; expected one of table, dsb2018"]),
        (nothing, ["--storage", "ftps9://host/store"], ["storage is 'ftps9://host/store'; expected a folder, s3://"]),
        (nothing, ["--epochs", "0"], ["epochs is 0; expected at least 1"]),
        (nothing, ["--arms=baseline", "--arms", "sme"], ["--arms is given twice; expected once"]),
        (nothing, ["--seeds", "0"], ["seeds is 0; expected at least 1"]),
    ],
)
def test_what_is_wrong_is_one_readable_error_before_training(own, damage, arguments, expected):
    damage(own)
    metadata = [] if "--metadata" in arguments else ["--metadata", "line"]
    run = run_page("own_data", "--manifest", own / "table.csv", *metadata, *arguments, store=own.parent / "store")
    output = run.stdout + run.stderr
    assert run.returncode == 2, output
    assert "Traceback" not in output
    assert output.count("error:") == 1
    for part in expected:
        assert part in output
    assert not (own.parent / "store" / "runs").exists()


PAGES = sorted(path.stem for path in (ROOT / "studies").glob("[!_]*.py"))


@pytest.mark.parametrize("page", PAGES)
def test_help_names_the_options_of_every_study(page, tmp_path):
    run = run_page(page, "--help", store=tmp_path / "store")
    assert run.returncode == 0
    options = [
        "--preset",
        "--dry-run",
        "--seeds",
        "--epochs",
        "--storage",
        "--arms",
        "--workers-per-run",
        "--width",
        "--lr-max",
    ]
    assert all(option in run.stdout for option in options)


def test_a_study_of_own_images_trains_reports_and_computes_nothing_twice(own):
    """The whole way of the second README command, on images small enough for a test."""
    store = own.parent / "store"
    arguments = [
        "--manifest", own / "table.csv", "--metadata", "line", "--arms", "baseline", "sme", "--seeds", "1",
        "--epochs", "2", "--width", "4", "--depth", "2", "--crop", "16",
    ]  # fmt: skip
    dry = run_page("own_data", *arguments, "--dry-run", store=store)
    assert dry.returncode == 0, dry.stderr
    assert "2 runs are missing: about" in dry.stdout
    assert not (store / "runs").exists()

    first = run_page("own_data", *arguments, store=store, timeout=180)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "2 runs, 0 already done" in first.stdout
    assert "Differences by line from baseline" in first.stdout
    (results,) = (store / "results").rglob("*.parquet")
    rows = pd.read_parquet(results)
    assert (rows["evaluation"] == "as-trained").sum() == 2 * rows["image"].nunique()
    assert set(rows["evaluation"]) == {"as-trained", "zeros", "line=a", "line=b"}
    assert not rows.duplicated(["run_id", "image", "class", "evaluation"]).any()
    (report,) = (store / "reports").iterdir()
    files = {path.name for path in report.iterdir()}
    assert files >= {"table.md", "table.csv", "tests.csv", "f1.png", "controls.csv", "swapped.png", "distribution.csv"}
    assert "config.toml" in files

    stamps = {path: path.stat().st_mtime_ns for path in (store / "runs").rglob("*")}
    again = run_page("own_data", *arguments, store=store)
    assert again.returncode == 0, again.stderr
    assert "2 runs, 2 already done" in again.stdout
    assert "Starting Ray" not in again.stdout
    repeated = run_page("own_data", "--config", report / "config.toml", "--dry-run", store=store)
    assert repeated.returncode == 0, repeated.stderr
    assert "2 runs, 2 already done" in repeated.stdout
    assert {path: path.stat().st_mtime_ns for path in (store / "runs").rglob("*")} == stamps


def test_a_study_with_a_failed_run_says_which_and_exits_non_zero(own):
    store = own.parent / "store"
    run = run_page(
        "own_data", "--manifest", own / "table.csv", "--metadata", "line", "--arms", "baseline", "--seeds", "1",
        "--epochs", "2", "--width", "4", "--depth", "2", "--crop", "16", "--lr-min", "1e20", "--lr-max", "1e25",
        store=store, timeout=180,
    )  # fmt: skip
    assert run.returncode == 1, run.stdout + run.stderr
    assert "failed: baseline seed 0" in run.stdout
    assert "DivergedError" in run.stdout
    (record,) = store.glob("failures/*.json")
    assert "DivergedError" in json.loads(record.read_text())["error"]


SMALL = {
    "seven_cells": ["--synthetic.images-per-line", "6", "--synthetic.wells-per-line", "6"],
    "livecell": ["--synthetic.images-per-line", "6", "--synthetic.wells-per-line", "6"],
    "annotation_styles": ["--synthetic.images-per-line", "6", "--synthetic.wells-per-line", "6"],
    "anomalies": ["--synthetic.images", "24"],
    "kits": ["--synthetic.cases", "12", "--synthetic.slices-per-case", "1"],
}
"""Options that make a page's simulated images few."""

PICTURES = {
    "seven_cells": {"overlays.png", "swapped.png"},
    "livecell": {"overlays.png", "swapped.png"},
    "annotation_styles": {"overlays.png", "probabilities.png"},
    "anomalies": {"overlays.png", "swapped.png"},
    "kits": {"overlays.png", "sweep.png", "response.png"},
}


# LIVECell's page is that of the seven cell lines, on other images.
SLOW = {"livecell": pytest.mark.slow}


@pytest.mark.parametrize("page", [pytest.param(page, marks=SLOW.get(page, ())) for page in PICTURES])
def test_every_page_of_the_paper_leaves_its_tables_and_figures_and_says_that_they_are_simulated(page, tmp_path):
    baseline = "baseline-stratified" if page == "anomalies" else "baseline"
    tiny = ["--synthetic.size", "64", "--crop", "32", "--width", "4", "--depth", "1", "--epochs", "1", "--seeds", "1"]
    store = tmp_path / "store"
    run = run_page(page, *SMALL[page], *tiny, "--arms", baseline, "sme", store=store, timeout=180)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Data: SIMULATED" in run.stdout
    files = {path.name for path in (store / "reports" / page).iterdir()}
    assert files >= {"table.md", "table.csv", "tests.csv", "controls.csv", "distribution.csv"} | PICTURES[page]
    assert "SIMULATED" in (store / "reports" / page / "table.md").read_text()
