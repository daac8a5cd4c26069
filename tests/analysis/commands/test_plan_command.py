"""`analysis plan` as a user gives it: from a pilot, from standard deviations; and one clear error for bad input."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.results.merge import collect
from analysis.results.run_costs import run_costs, sample_counts
from analysis.stats.mrmc import Components
from analysis.stats.power import power
from fake_store import image_rows, seal, write_study
from metaseg.store.folder import FolderStorage

Capture = pytest.CaptureFixture[str]

SDS = ["--seed-sd", "0.006", "--arm-image-sd", "0.03", "--residual-sd", "0.02", "--images", "100"]


def rows(arm: str, seed: int) -> pd.DataFrame:
    """20 images, SDs of seeds 0.01, of arm x image 0.03, of the rest 0.02."""
    images, arms = np.random.default_rng(1), np.random.default_rng([2, len(arm)])
    own = np.random.default_rng([3, len(arm), seed])
    f1 = 0.7 + images.normal(0, 0.05, 20) + arms.normal(0, 0.03, 20) + own.normal(0, 0.01) + own.normal(0, 0.02, 20)
    return image_rows(f1.clip(0, 1))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A pilot of three seeds, and its dataset of 100 images; runs took 12.3 s on a CPU."""
    write_study(tmp_path, rows, seeds=3)
    (tmp_path / "cache" / "f00d").mkdir(parents=True)
    splits = ["train"] * 55 + ["val"] * 25 + ["test"] * 20
    pd.DataFrame({"split": splits}).to_parquet(tmp_path / "cache" / "f00d" / "table.parquet")
    return tmp_path


def said(capsys: Capture, *arguments: object, code: int = 0) -> str:
    assert main(["plan", *map(str, arguments)]) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def test_standard_deviations_are_enough(capsys: Capture, tmp_path: Path) -> None:
    out = tmp_path / "designs.csv"
    text = said(capsys, *SDS, "--difference", 0.02, "--minutes", 2, "--out", out)
    assert "To find a difference of 0.02 four times in five: 5 folds x 6 seeds (60 runs of 2 arms, about 2 h)." in text
    assert "On one split, no number of seeds finds it: 20 images alone" in text
    table = pd.read_csv(out)
    pilot = Components(0.006**2, 0.0, 0.03**2, 0.02**2)
    split, folds = (table[(table["folds"] == k) & (table["seeds"] == r)].iloc[0] for k, r in ((1, 10), (5, 2)))
    assert split["power"] == pytest.approx(float(power(pilot, 10, 20, 0.02)))
    assert folds["power"] == pytest.approx(float(power(pilot, 2, 100, 0.02, folds=5)))
    assert f"{100 * folds['power']:.0f} %" in text


def test_arms_of_unlike_seeds_can_be_stated(capsys: Capture) -> None:
    alike, unlike = (said(capsys, *SDS, "--difference", 0.02, *more) for more in ([], ["--seed-sd", "0.006", "0.03"]))
    found = "To find a difference of 0.02 four times in five: 5 folds x 6 seeds"
    assert found in alike
    assert found not in unlike


def test_a_pilot_tells_variances_images_and_cost(capsys: Capture, store: Path) -> None:
    text = said(capsys, store, "--difference", 0.05, "--out", store / "designs.csv")
    sizes = pd.read_csv(store / "designs.csv").groupby("folds")["units"].unique()
    assert (sizes[1].tolist(), sizes[5].tolist()) == ([20], [100])
    assert "Pilot: study cells on fake, sme against baseline: 3 seeds an arm, 20 test images of 100." in text
    assert "5 folds" in text
    assert "may be 0.6 to 2.9 times what they show" in text
    assert "CPU time" in text
    runs = run_costs(FolderStorage(store), collect(FolderStorage(store), "cells"))
    assert runs["seconds"].tolist() == [12.3] * 6
    assert set(runs["device"]) == {"cpu"}


def test_a_pilot_over_folds_has_tested_all_images(capsys: Capture, tmp_path: Path) -> None:
    write_study(tmp_path, rows, seeds=3, folds=4)
    text = said(capsys, tmp_path, "--difference", 0.05, "--out", tmp_path / "designs.csv")
    assert "3 seeds an arm in 4 folds, 20 test images." in text
    sizes = pd.read_csv(tmp_path / "designs.csv").groupby("folds")["units"].unique()
    assert (sizes[1].tolist(), sizes[5].tolist()) == ([5], [20])


def test_where_the_dataset_is_gone_images_are_asked_for(capsys: Capture, store: Path) -> None:
    (store / "cache" / "f00d" / "table.parquet").unlink()
    text = said(capsys, store)
    assert "How many images there are in all isn't known here; --images N plans folds, too." in text
    assert "5 folds" not in text
    assert "5 folds" in said(capsys, store, "--images", 100)
    assert sample_counts(FolderStorage(store), "f00d") is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--compare", "film:baseline"], "arm 'film' has no runs; the pilot has baseline, sme"),
        (["--study", "cells2"], "unknown study 'cells2'"),
    ],
)
def test_what_the_pilot_lacks_is_one_line(capsys: Capture, store: Path, options: list[str], message: str) -> None:
    text = said(capsys, store, *options, code=1)
    assert text.startswith("error: ")
    assert message in text
    assert text.count("\n") == 1


def test_a_pilot_of_one_seed_is_none(capsys: Capture, tmp_path: Path) -> None:
    write_study(tmp_path, rows, seeds=1)
    assert "expected a pilot with them, or standard deviations" in said(capsys, tmp_path, code=1)


def test_a_damaged_table_of_the_dataset_is_said(capsys: Capture, store: Path) -> None:
    (store / "cache" / "f00d" / "table.parquet").write_bytes(b"PAR1")
    assert "not a dataset's table" in said(capsys, store, code=1)


def test_runs_without_a_duration_cost_nothing_known(capsys: Capture, store: Path) -> None:
    for path in store.glob("runs/*/config.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"seconds": None}))
        (path.parent / "DONE").unlink()
        seal(path.parent)
    assert "cost" not in said(capsys, store, "--images", 100)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--seed-sd is missing; expected a STORE with a pilot, or --seed-sd"),
        (SDS[:6], "--images is missing"),
        ([*SDS, "--study", "cells"], "--study and --compare are for a STORE"),
        (["store", "--seed-sd", "0.1"], "--seed-sd is given with a STORE"),
        ([*SDS, "--difference", "0"], "--difference is 0.0; expected a number above 0"),
        ([*SDS, "--arm-image-sd", "-1"], "--arm-image-sd is -1.0; expected 0 or more"),
        ([*SDS, "--folds", "1"], "--folds has 1; expected numbers from 2"),
        ([*SDS, "--out", "plan.txt"], "expected a file called .csv"),
        ([*SDS, "--seed-sd", "0.1", "0.1", "0.1"], "--seed-sd has 3 values"),
    ],
)
def test_options_that_cant_be_meant_are_refused(capsys: Capture, arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["plan", *arguments])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
