"""A study without a cluster at hand, whose driver is killed together with the Ray that it started."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

from cluster_head import ROOT, SMALL


def start(store: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "studies" / "seven_cells.py"), *SMALL, *arguments, "--storage", str(store)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def stamps(store: Path) -> dict[Path, int]:
    """When each file of a finished run was last written."""
    done = (path.parent for path in store.glob("runs/*/DONE"))
    return {path: path.stat().st_mtime_ns for folder in done for path in folder.iterdir()}


def test_a_killed_driver_loses_nothing_that_was_done(tmp_path):
    """Runs in slots may still end after the kill, but of all 8 runs those that the driver hadn't started can't."""
    store, whole = tmp_path / "killed", tmp_path / "whole"
    driver = start(store, "--seeds", "4")
    deadline = time.monotonic() + 240
    while not list(store.glob("runs/*/DONE")):
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    time.sleep(5)  # for Ray's processes to notice
    before = stamps(store)
    done = len(list(store.glob("runs/*/DONE")))
    assert 1 <= done < 8, "killed halfway"

    output = finish(start(store, "--seeds", "4"))
    assert f"8 runs, {done} already done" in output
    assert {path: stamp for path, stamp in stamps(store).items() if path in before} == before
    rows = pd.read_parquet(store / "results" / "study=seven_cells")
    assert not rows.duplicated(["run_id", "image", "class", "evaluation"]).any()
    assert rows["run_id"].nunique() == 8
    assert (rows["evaluation"] == "as-trained").sum() == 8 * rows["image"].nunique()

    finish(start(whole, "--seeds", "4"))
    for path in whole.glob("runs/*/images.parquet"):
        assert path.read_bytes() == (store / path.relative_to(whole)).read_bytes(), "bit-identical to an unbroken study"
