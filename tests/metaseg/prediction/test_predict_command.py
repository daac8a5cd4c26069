"""`metaseg predict` and `metaseg response` on trained runs, as they are typed."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from metaseg.__main__ import main
from metaseg.config import NetworkConfig, RunConfig, ScheduleConfig
from metaseg.data.dataset import Dataset
from metaseg.store.runs import Store
from metaseg.study.execution import execute
from metaseg.study.predict import Predictor
from metaseg.study.run_id import run_id


@pytest.fixture(scope="module")
def store(tiny_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with a study `tiny`: two seeds of arm `sme`, and an arm that isn't trained."""
    store = Store.at(tmp_path_factory.mktemp("store"))
    network, schedule = NetworkConfig(width=2, depth=1), ScheduleConfig(epochs=1, batch_size=4, crop=16)
    runs: list[dict[str, Any]] = [{"run_id": "0" * 16, "arm": "baseline", "seed": 0}]
    for seed in (0, 1):
        config = RunConfig("sme", "true", seed, tiny_dataset.fingerprint, network, schedule)
        execute(config, tiny_dataset, store, torch.device("cpu"))
        runs.append({"run_id": run_id(config), "arm": "sme", "seed": seed})
    store.write_study("tiny", {"name": "tiny", "runs": runs})
    return store


@pytest.fixture
def folder(tiny_manifest: Path, tmp_path: Path) -> Path:
    """The test images in a folder of their own, with a table of their metadata, and their masks in another."""
    frame = pd.read_csv(tiny_manifest).query("split == 'test'")
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for row in frame.itertuples():
        Image.open(tiny_manifest.parent / str(row.image)).save(tmp_path / f"images/{row.image}")
        Image.open(tiny_manifest.parent / str(row.mask)).save(tmp_path / f"masks/{row.image}")
    frame[["image", "line", "dose"]].to_csv(tmp_path / "table.csv", index=False)
    return tmp_path


def call(*arguments: object) -> int:
    """Exit code of the command."""
    before, sys.argv = sys.argv, ["metaseg", *map(str, arguments)]
    try:
        main()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.argv = before
    return 0


def arm(store: Store) -> list[object]:
    return ["--store", store.where, "--study", "tiny", "--arm", "sme"]


def test_an_arm_segments_a_folder_with_a_table_and_goes_on_from_there(
    store: Store, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["predict", "--images", folder / "images", "--metadata-table", folder / "table.csv", *arm(store)]
    typed += ["--masks", folder / "masks", "--out", folder / "out"]
    assert call(*typed) == 0
    first = capsys.readouterr().out
    assert "6 images, 2 networks" in first
    assert "6 images segmented" in first
    assert "6 of the images have names of the study's own images" in " ".join(first.split())
    assert call(*typed) == 0
    assert "0 images segmented, 6 were segmented before" in capsys.readouterr().out
    table = pd.read_csv(folder / "out/predictions.csv").set_index("image")
    predictors = [Predictor.load(store.run_folder(run)) for run in sorted(store.done())]
    for row in pd.read_csv(folder / "table.csv").itertuples():
        pixels = np.asarray(Image.open(folder / f"images/{row.image}"))[..., None]
        told = {"line": str(row.line), "dose": float(str(row.dose))}
        mean = np.mean([each.probabilities(pixels, told) for each in predictors], axis=0)[0]
        mask = np.asarray(Image.open(folder / f"out/masks/{row.image}"))
        assert (mask == 255 * (mean > 0.5)).mean() > 0.99  # batches sum in another order
        assert table.loc[row.image, "area_px"] == (mask > 0).sum()
    assert (folder / f"out/overlays/{row.image}").is_file()


def test_a_run_in_a_bucket_is_opened_and_its_checksums_are_verified(
    store: Store, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = min(store.done())
    bucket = Store.at(f"memory://bucket/{folder.name}")
    files = {name: (Path(store.run_folder(run)) / name).read_bytes() for name in store.open_run(run).checksums}
    bucket.commit_run(run, files)
    typed = ["predict", "--images", folder / "images", "--metadata", "line=a", "dose=0.5", "--run"]
    assert call(*typed, bucket.run_folder(run), "--out", folder / "bucket") == 0
    assert call(*typed, store.run_folder(run), "--out", folder / "local") == 0
    tables = [(folder / name / "predictions.csv").read_bytes() for name in ("bucket", "local")]
    assert tables[0] == tables[1]
    bucket.storage.write(f"runs/{run}/weights.safetensors", files["weights.safetensors"][:-8] + b"12345678")
    capsys.readouterr()
    assert call(*typed, bucket.run_folder(run), "--out", folder / "damaged") == 1
    assert re.match(r"error: .*weights.safetensors: corrupt: its SHA-256 is", capsys.readouterr().err)


def test_the_response_to_a_category_is_a_table_and_a_figure(store: Store, folder: Path) -> None:
    typed = ["response", "--images", folder / "images", "--metadata-table", folder / "table.csv", "--vary", "line"]
    assert call(*typed, *arm(store), "--out", folder / "out") == 0
    table = pd.read_csv(folder / "out/response.csv")
    assert sorted(table["told"].unique()) == ["a", "b", "c"]
    assert len(table) == 6 * 3
    assert (folder / "out/response.png").read_bytes().startswith(b"\x89PNG")


def test_a_number_is_varied_over_the_range_of_the_tested_images(store: Store, folder: Path) -> None:
    typed = ["response", "--images", folder / "images", "--metadata", "line=a", "--vary", "dose"]
    assert call(*typed, *arm(store), "--out", folder / "out") == 0
    told = pd.read_csv(folder / "out/response.csv")["told"]
    tested = pd.read_csv(folder / "table.csv")["dose"]
    assert told.min() == pytest.approx(tested.min(), rel=1e-3)
    assert told.max() == pytest.approx(tested.max(), rel=1e-3)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"--study": "other"}, "unknown study 'other' in .*; known: tiny"),
        ({"--arm": "film"}, "study 'tiny' has no arm 'film'; it has baseline, sme"),
        ({"--arm": "baseline"}, "none of the 1 runs of arm 'baseline' is finished"),
        ({"--arm": None}, "which networks is unclear; expected --run RUN, or --store STORE --study STUDY --arm ARM"),
        ({"--images": "nowhere"}, "images is nowhere, which is not there"),
        ({"--metadata-table": "nowhere.csv"}, "nowhere.csv doesn't exist"),
        ({"--out": "mask.jpg"}, r"out is mask.jpg; expected a mask NAME.png, or a folder"),
        ({"--out": "mask.png"}, "out is mask.png, a file, and images is .*; expected a folder for several images"),
        ({"--metadata": "line"}, "metadata is 'line'; expected COLUMN=VALUE"),
    ],
)
def test_wrong_input_is_one_line(
    store: Store, folder: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, str | None], message: str
) -> None:
    options: dict[str, object] = {
        "--images": folder / "images", "--metadata-table": folder / "table.csv", "--store": store.where,
        "--study": "tiny", "--arm": "sme", "--out": folder / "out",
    }  # fmt: skip
    given = [each for pair in (options | changed).items() if pair[1] is not None for each in pair]
    assert call("predict", *given) == 2
    error = capsys.readouterr().err.strip()
    assert re.match(f"error: .*{message}", error)
    assert len(error.splitlines()) == 1
    assert not (folder / "out").exists()


def test_a_folder_that_cannot_be_written_is_one_line(
    store: Store, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "file").write_text("in the way")
    typed = ["predict", "--images", folder / "images", "--metadata-table", folder / "table.csv", *arm(store)]
    assert call(*typed, "--out", folder / "file") == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_the_record_names_networks_by_their_weights(store: Store, folder: Path) -> None:
    call("predict", "--images", folder / "images", "--metadata-table", folder / "table.csv", *arm(store),
         "--out", folder / "out")  # fmt: skip
    record = json.loads((folder / "out/predictions.json").read_text())
    assert record["networks"] == {run: store.open_run(run).checksums["weights.safetensors"] for run in store.done()}


def test_runs_of_an_arm_that_are_not_finished_are_told(
    store: Store, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads(Path(store.where, "studies/tiny.json").read_text())
    store.write_study("half", {**record, "runs": [*record["runs"], {"run_id": "1" * 16, "arm": "sme", "seed": 2}]})
    typed = ["predict", "--images", folder / "images", "--metadata-table", folder / "table.csv", "--store", store.where]
    assert call(*typed, "--study", "half", "--arm", "sme", "--out", folder / "out") == 0
    assert "warning: 1 of the 3 runs of arm 'sme' aren't finished" in capsys.readouterr().err


def test_files_of_the_user_are_never_written_over(
    store: Store, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Natural layouts have `images` and `masks` beside each other."""
    before = {path: path.read_bytes() for path in sorted(folder.rglob("*.png"))}
    typed = ["predict", "--metadata", "line=a", "dose=1", *arm(store), "--images"]
    image = min((folder / "images").iterdir())
    for images, out, message in (
        (folder / "images", folder, "where masks/ holds files that aren't metaseg's predictions"),
        (folder / "images", folder / "images", "the folder of the images; expected another one"),
        (image, image, "which is the image itself; expected another file"),
    ):
        assert call(*typed, images, "--out", out) == 2
        assert message in capsys.readouterr().err
    assert {path: path.read_bytes() for path in sorted(folder.rglob("*.png"))} == before


def test_ctrl_c_is_one_word(
    store: Store, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("metaseg.prediction.ensemble.Ensemble.predict", interrupted)
    typed = ["predict", "--metadata", "line=a", "dose=1", *arm(store), "--images", folder / "images"]
    assert call(*typed, "--out", folder / "out") == 130
    assert capsys.readouterr().err.strip() == "interrupted"
