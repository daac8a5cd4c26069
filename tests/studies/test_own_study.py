"""The page that says how to write one's own study: its code is run, from outside the repository, with its own block."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from checkout import ROOT

PAGE = (ROOT / "docs" / "how-to" / "own-study.md").read_text()
STUDY, FROM_PYTHON, SWEEP = re.findall(r"```python\n(.*?)```", PAGE, re.S)
NETWORK = """
from torch import nn


def make(in_channels, out_channels, width=4):
    level = nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1), nn.GroupNorm(2, width), nn.ReLU())
    return nn.Sequential(level, nn.Conv2d(width, out_channels, 1))
"""
TINY = ["--epochs", "1", "--validate-every", "1", "--width", "4", "--depth", "2", "--crop", "16"]


@pytest.fixture
def folder(tmp_path: Path, tiny_manifest: Path) -> Path:
    """A folder with the page's two files, and the tiny images as its own."""
    (tmp_path / "shift_study.py").write_text(STUDY)
    (tmp_path / "shift_sweep.py").write_text(SWEEP)
    table = (tiny_manifest.parent / "manifest.csv").read_text().replace("line", "cell_line", 1)
    (tiny_manifest.parent / "cells.csv").write_text(table)
    return tmp_path


def call(folder: Path, *command: str) -> str:
    environment = {**os.environ, "METASEG_STORE": str(folder / "store"), "COLUMNS": "200", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def data(tiny_manifest: Path) -> list[str]:
    return ["--manifest", str(tiny_manifest.parent / "cells.csv"), "--metadata", "cell_line"]


def test_its_own_block_and_network_are_trained_by_rays_workers_and_used_afterwards(
    folder: Path, tiny_manifest: Path
) -> None:
    (folder / "my_network.py").write_text(NETWORK)
    network = ["--network", "my_network.py:make(width=8)"]
    options = [*data(tiny_manifest), *TINY, "--seeds", "1", "--arms", "baseline", "shift", *network]
    said = call(folder, "shift_study.py", *options)
    assert (folder / "store" / "reports" / "shift" / "report.html").is_file(), said
    assert (folder / "store" / "reports" / "shift" / "overlays.png").is_file(), "of the first arm that sees metadata"
    configs = [json.loads(path.read_text()) for path in (folder / "store").glob("runs/*/config.json")]
    own = next(config for config in configs if config["arm"]["block"] != "se")
    assert re.fullmatch(r"Shift@[0-9a-f]{12}", own["arm"]["block"])
    files = [str(folder / name) for name in ("shift_study.py", "my_network.py")]
    assert [each["file"] for each in own["own_blocks"]] == files
    assert re.fullmatch(r'make\{"width": 8\}@[0-9a-f]{12}', own["architecture"]["network"])
    assert "Arms, all with the network make(width=8): baseline (block se," in " ".join(said.split())

    image, run = str(tiny_manifest.parent / "image0.png"), str(folder / "store" / "runs" / own["run_id"])
    command = ["-m", "metaseg", "predict", "--run", run, "--image", image, "--out", "mask.png", "--metadata"]
    call(folder, *command, "cell_line=a", "--blocks", "shift_study.py:Shift", "my_network.py:make")
    assert Image.open(folder / "mask.png").size == Image.open(image).size

    edited = STUDY.replace("features + channelwise", "features - channelwise")
    assert edited != STUDY
    (folder / "shift_study.py").write_text(edited)
    assert "2 runs, 1 already done" in call(folder, "shift_study.py", *options, "--dry-run")
    (folder / "shift_study.py").write_text(STUDY.replace("import sys", "import sys  # a comment makes no other block"))
    assert "2 runs, 2 already done" in call(folder, "shift_study.py", *options, "--dry-run")


def test_it_is_planned_from_python_and_swept(folder: Path, tiny_manifest: Path) -> None:
    said = call(folder, "shift_sweep.py", *data(tiny_manifest), "--arm", "shift", "--dry-run")
    assert "shift_sweep-" in said
    assert ".shift: 24 trials" in said
    tuned = ["--tune-each-arm", "--arms", "baseline", "shift", "--dry-run"]
    assert said.count("24 trials") == 1
    assert call(folder, "shift_sweep.py", *data(tiny_manifest), *tuned).count("24 trials") == 2

    (folder / "images").symlink_to(tiny_manifest.parent)
    (tiny_manifest.parent / "table.csv").write_text((tiny_manifest.parent / "cells.csv").read_text())
    (folder / "planned.py").write_text(FROM_PYTHON + "\nprint(sorted({run.arm.name for run in study.runs}))")
    assert "['baseline', 'shift', 'shift-dummy', 'sme']" in call(folder, "planned.py")


def test_the_study_fits_on_a_screen() -> None:
    assert len(STUDY.splitlines()) <= 45
