"""`metaseg export`: what it prints, and one clear error for each misuse."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from exported_arms import train
from metaseg.config import ConfigError
from metaseg.export import bioimageio_package
from metaseg.export.export import count_images, export_run
from metaseg.store.runs import DamagedRunError, FinishedRun, Store
from metaseg.store.storage import open_storage


@pytest.fixture(scope="module")
def run(tiny_dataset, tmp_path_factory) -> Path:
    """Folder of a finished run of `sme`."""
    return train("sme", tiny_dataset, Store.at(tmp_path_factory.mktemp("store")))


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "metaseg", "export", *map(str, arguments)], capture_output=True, text=True, timeout=120
    )


def test_the_command_says_what_it_wrote_and_how_that_was_checked(run, tmp_path):
    done = command(run, tmp_path / "model", "--format", "safetensors", "--license", "MIT", "--author", "A. Author")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].endswith("model: README.md, model.safetensors, passport.json")
    assert "Checked against PyTorch on 7 images of several sizes: the same masks" in done.stdout
    assert sorted(os.listdir(tmp_path)) == ["model"]
    with pytest.raises(ConfigError, match=r"out is .*model, which exists; expected a folder to make"):
        export_run(str(run), tmp_path / "model", "safetensors")


@pytest.mark.parametrize(
    ("where", "out", "options", "message"),
    [
        ("gone", "model", {}, "isn't a finished run; expected a folder STORE/runs/RUN_ID"),
        ("", "gone/model", {}, "whose folder isn't there or can't be written to"),
        ("", "model", {"format_name": "coreml"}, "format is 'coreml'; expected one of onnx, torch.export"),
        ("", "model", {"licence": "all rights reserved"}, "license is 'all rights reserved'; expected an SPDX"),
        ("", "model", {"format_name": "bioimageio", "authors": ("A",)}, "needs a licence and authors; expected --lic"),
        ("", "model", {"format_name": "monai-bundle", "licence": "MIT"}, "authors; expected --author NAME"),
    ],
)
def test_what_cant_be_exported_is_said_and_nothing_is_written(run, tmp_path, where, out, options, message):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ConfigError, match=message):
        export_run(str(run / where if where else run), tmp_path / out, **{"format_name": "safetensors"} | options)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("package", "name"), [("onnxruntime", "onnx"), ("onnxscript", "onnx"), ("bioimageio.core", "bioimageio")]
)
def test_a_missing_package_is_an_error_that_says_how_to_install_it(monkeypatch, run, tmp_path, package, name):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(bioimageio_package, "find_spec", lambda package: None)
    with pytest.raises(ConfigError, match=f"pip install '.*{name}"):
        export_run(str(run), tmp_path / "model", name, ("A. Author",), "MIT")
    assert not any(tmp_path.iterdir())


def test_corrupt_weights_are_refused(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    content = bytearray((copy / "weights.safetensors").read_bytes())
    content[-50:] = bytes(50)
    (copy / "weights.safetensors").write_bytes(content)
    with pytest.raises(DamagedRunError, match=r"weights\.safetensors: corrupt: its SHA-256 is"):
        export_run(str(copy), tmp_path / "model", "safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_table_that_is_none_is_refused(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "images.parquet").write_bytes(b"")
    with pytest.raises(DamagedRunError, match=r"images\.parquet: corrupt"):
        export_run(str(copy), tmp_path / "model", "safetensors")


def test_images_are_counted_where_the_store_has_the_dataset(run, tiny_dataset, tmp_path):
    store = tmp_path / "store"
    shutil.copytree(run, store / "runs" / run.name)
    opened = FinishedRun.open(open_storage(str(store / "runs")), run.name)
    assert count_images(opened) == {"test": 6}
    shutil.copytree(tiny_dataset.path, store / "cache" / tiny_dataset.fingerprint)
    assert count_images(opened) == {"test": 6, "train": 16, "val": 4}
