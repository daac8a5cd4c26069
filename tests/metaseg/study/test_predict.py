"""Using a trained run on an image, with the metadata that it was trained with."""

import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load, save

from metaseg.config import ConfigError, NetworkConfig, RunConfig, ScheduleConfig
from metaseg.data.metadata import UnknownMetadataError
from metaseg.store.runs import DamagedRunError, Store
from metaseg.study.execution import execute
from metaseg.study.predict import Predictor
from metaseg.study.run_id import run_id


@pytest.fixture(scope="module")
def trained(tiny_dataset, tmp_path_factory) -> Path:
    """Folder of a finished run of `sme`."""
    store = Store.at(tmp_path_factory.mktemp("store"))
    network, schedule = NetworkConfig(width=4, depth=2), ScheduleConfig(epochs=2, batch_size=4, crop=16)
    config = RunConfig("sme", "true", 0, tiny_dataset.fingerprint, network, schedule)
    execute(config, tiny_dataset, store, torch.device("cpu"))
    return Path(store.run_folder(run_id(config)))


def test_a_prediction_is_the_evaluated_one(trained, tiny_dataset):
    images = pd.read_parquet(trained / "images.parquet")
    told_c = images[images["evaluation"] == "line=c"].set_index("image")
    images = images[images["evaluation"] == "as-trained"].set_index("image")
    predictor = Predictor.load(trained)
    for sample in tiny_dataset.indices("test"):
        row = tiny_dataset.table.iloc[sample]
        mask = predictor.predict(tiny_dataset.image(sample), {"line": row["line"], "dose": row["dose"]})
        counts = images.loc[row["image"]]
        assert int(mask.sum()) == counts["tp"] + counts["fp"]
        assert int((mask & tiny_dataset.mask(sample)).sum()) == counts["tp"]
        assert (row["image"] in told_c.index) == (row["line"] != "c")
        if row["line"] != "c":
            mask = predictor.predict(tiny_dataset.image(sample), {"line": "c", "dose": row["dose"]})
            assert int(mask.sum()) == told_c.loc[row["image"], ["tp", "fp"]].sum()


def test_probabilities_are_above_one_half_where_the_mask_is(trained, tiny_dataset):
    predictor = Predictor.load(trained)
    image, metadata = tiny_dataset.image(0), {"line": "a", "dose": 1.0}
    probabilities = predictor.probabilities(image, metadata)
    assert probabilities.shape == (1, *image.shape[:2])
    np.testing.assert_array_equal(probabilities[0] > 0.5, predictor.predict(image, metadata) > 0)


def test_an_unknown_value_or_column_is_one_readable_error(trained):
    predictor = Predictor.load(trained)
    pixels = np.zeros((16, 16, 1), dtype=np.uint8)
    with pytest.raises(UnknownMetadataError, match=r"'line' has value.* 'HeLa' .*known: 'a', 'b', 'c'"):
        predictor.predict(pixels, {"line": "HeLa", "dose": 1.0})
    with pytest.raises(ConfigError, match=r"columns are \['line'\]; this run expects \['dose', 'line'\]"):
        predictor.predict(pixels, {"line": "a"})


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="isn't a finished run"):
        Predictor.load(tmp_path)


def test_dummy_arms_see_zeros(trained, tiny_dataset):
    predictor = dataclasses.replace(Predictor.load(trained), metadata_mode="zeros")
    assert not predictor.encode({"line": "b", "dose": 2.0}).any()


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "metaseg", "predict", *map(str, arguments)], capture_output=True, text=True, timeout=60
    )


def test_the_command_writes_a_mask_and_names_what_it_doesnt_know(trained, tiny_manifest, tmp_path):
    arguments = ["--run", trained, "--image", tiny_manifest.parent / "image0.png", "--out", tmp_path / "mask.png"]
    done = command(*arguments, "--metadata", "line=a", "dose=0.5")
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "mask.png") as mask:
        assert set(np.unique(np.asarray(mask))) <= {0, 255}
    assert json.loads((trained / "config.json").read_text())["dataset"]["classes"][0] in done.stdout

    unknown = command(*arguments, "--metadata", "line=HeLa", "dose=0.5")
    assert unknown.returncode == 2
    assert unknown.stderr.strip().startswith("error: metadata column 'line' has value(s) 'HeLa'")
    assert len(unknown.stderr.strip().splitlines()) == 1


@pytest.fixture
def damaged(trained, tmp_path) -> Path:
    """A copy of the run, to be altered."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def reseal(folder: Path, name: str, content: bytes) -> None:
    """Replace a file, and its checksum in DONE: as if it had been written so."""
    (folder / name).write_bytes(content)
    done = json.loads((folder / "DONE").read_text())
    done["sha256"][name] = hashlib.sha256(content).hexdigest()
    (folder / "DONE").write_text(json.dumps(done))


def test_altered_weights_are_refused_and_no_mask_is_written(damaged, tiny_manifest, tmp_path):
    weights = bytearray((damaged / "weights.safetensors").read_bytes())
    weights[-200:-100] = bytes(100)
    (damaged / "weights.safetensors").write_bytes(weights)
    image, out = tiny_manifest.parent / "image0.png", tmp_path / "mask.png"
    done = command("--run", damaged, "--image", image, "--out", out, "--metadata", "line=a", "dose=0.5")
    assert done.returncode == 1
    assert "weights.safetensors: corrupt: its SHA-256 is" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", b"{}", "not a run's configuration: no 'dataset'"),
        ("config.json", b'{"dataset": 1, "arm": 2, "network": 3}', "not a run's configuration"),
        ("config.json", b"[" * 100_000, "not a run's configuration"),
        ("config.json", b"", "not a run's configuration"),
        ("weights.safetensors", b"", "not this network's weights"),
        ("weights.safetensors", b"\x00" * 50, "not this network's weights"),
        ("weights.safetensors", save({"a": torch.zeros(3)}), "not this network's weights"),
        ("weights.safetensors", save({str(k): torch.zeros(3) for k in range(99)}), "not this network's weights: Error"),
    ],
)
def test_contents_that_are_something_else_are_named(damaged, name, content, message):
    reseal(damaged, name, content)
    with pytest.raises(DamagedRunError, match=f"{name}: {message}"):
        Predictor.load(damaged)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("network", "depth"), 10**9),
        (("network", "hidden_layers"), 10**30),
        (("network", "width"), 10**6),
        (("dataset", "channels"), 10**9),
        (("dataset", "metadata", 0, "column"), None),
        (("dataset", "metadata", 0, "vocabulary"), ["a", "a", "b"]),
        (("dataset", "metadata", 0, "vocabulary"), ["a", "b", 7]),
        (("dataset", "metadata", 0, "vocabulary"), ["a", "b", "\ud800"]),
        (("dataset", "metadata", 1, "mean"), "low"),
        (("dataset", "metadata", 1, "std"), 0),
        (("dataset", "metadata", 1, "missing"), "perhaps"),
        (("arm", "block"), ["sme"]),
    ],
)
def test_a_value_that_cant_be_in_a_configuration_is_named(damaged, where, value):
    config = json.loads((damaged / "config.json").read_text())
    inner = config
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = value
    reseal(damaged, "config.json", json.dumps(config).encode())
    with pytest.raises(DamagedRunError, match=r"not a run's configuration|not this network's weights"):
        Predictor.load(damaged)


def test_weights_that_are_no_numbers_are_named(damaged):
    """They would give an empty mask, in silence."""
    weights = load((damaged / "weights.safetensors").read_bytes())
    name = next(iter(weights))
    reseal(damaged, "weights.safetensors", save({**weights, name: weights[name] * float("nan")}))
    with pytest.raises(DamagedRunError, match=f"not this network's weights: {name} holds NaN or infinity"):
        Predictor.load(damaged)


@pytest.mark.parametrize(
    ("out", "message"), [("folder.png", "which is a folder"), ("gone/mask.png", "whose folder isn't there")]
)
def test_a_mask_that_cant_be_written_is_said_before_the_run_is_opened(trained, tiny_manifest, tmp_path, out, message):
    (tmp_path / "folder.png").mkdir()
    image = tiny_manifest.parent / "image0.png"
    done = command("--run", trained, "--image", image, "--out", tmp_path / out)
    assert done.returncode == 2
    assert done.stderr.strip() == f"error: out is {tmp_path / out}, {message}; expected a file to write"


def test_a_file_that_is_gone_and_a_seal_that_is_none_are_named(damaged):
    (damaged / "weights.safetensors").unlink()
    with pytest.raises(DamagedRunError, match=r"weights\.safetensors: missing, though its run is done"):
        Predictor.load(damaged)
    (damaged / "DONE").write_text('{"half')
    with pytest.raises(DamagedRunError, match="DONE: no JSON object with the files' sha256"):
        Predictor.load(damaged)


def test_a_folder_in_the_place_of_the_image_is_named(trained, tmp_path):
    done = command("--run", trained, "--image", tmp_path, "--out", tmp_path / "mask.png")
    assert done.returncode == 2
    out = tmp_path / "mask.png"
    assert (
        done.stderr.strip()
        == f"error: out is {out}, a file, and images is {tmp_path}; expected a folder for several images"
    )
