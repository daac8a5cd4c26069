"""Real clusters and real deaths: `ray start`, `ray job submit`, and drivers that are killed."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent
SMALL = [
    "--arms", "baseline", "sme", "--seeds", "2", "--epochs", "4", "--width", "4", "--crop", "64",
    "--synthetic.wells-per-line", "6", "--synthetic.images-per-line", "6", "--synthetic.size", "64",
]  # fmt: skip


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
    """Of 8 runs, those in slots may still end after the kill; those that the driver hadn't given out can't."""
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
    rows = pd.read_parquet(store / "results" / "study=seven_cells" / "images.parquet")
    assert not rows.duplicated(["run_id", "image", "class"]).any()
    assert rows["run_id"].nunique() == 8
    assert len(rows) == 8 * rows["image"].nunique()

    finish(start(whole, "--seeds", "4"))
    for path in whole.glob("runs/*/images.parquet"):
        assert path.read_bytes() == (store / path.relative_to(whole)).read_bytes(), "bit-identical to an unbroken study"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def head(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A head node of its own on free ports; yields the environment of its clients. Its processes end with it.

    Its address is noted in a folder of its own too, not where other tests' Ray would look; a short one, for sockets.
    """
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    (folder / "ray").mkdir()
    ray = Path(sys.executable).parent / "ray"
    gcs, dashboard, agent = free_port(), free_port(), free_port()
    environment = {
        **os.environ,
        "RAY_AUTH_MODE": "token",
        "HOME": str(tmp_path),
        "RAY_TMPDIR": str(folder),
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
        "PATH": f"{ray.parent}{os.pathsep}{os.environ['PATH']}",
    }
    command = [
        str(ray), "start", "--head", "--block", "--num-cpus=2", f"--port={gcs}", f"--dashboard-port={dashboard}",
        f"--dashboard-agent-listen-port={agent}", "--disable-usage-stats",
    ]  # fmt: skip
    subprocess.run([str(ray), "get-auth-token", "--generate"], env=environment, check=True, capture_output=True)
    log = tmp_path / "head.log"
    with log.open("w") as output:
        node = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 120
    while "Ray runtime started" not in log.read_text():
        assert node.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)
    yield environment
    node.send_signal(signal.SIGTERM)
    node.wait(timeout=60)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.cluster
def test_a_study_runs_on_a_started_cluster_and_as_a_submitted_job(head, tmp_path):
    store = tmp_path / "store"
    submit = ["ray", "job", "submit", "--working-dir", ".", "--", "python", "studies/seven_cells.py", *SMALL]
    job = subprocess.run(
        [*submit, "--storage", str(store)], cwd=ROOT, env=head, capture_output=True, text=True, timeout=400
    )
    assert job.returncode == 0, job.stdout + job.stderr
    assert "succeeded" in job.stdout + job.stderr
    assert len(list(store.glob("runs/*/DONE"))) == 4

    attached = subprocess.run(
        [sys.executable, "studies/seven_cells.py", *SMALL, "--seeds", "3", "--storage", str(store)],
        cwd=ROOT, env=head, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert attached.returncode == 0, attached.stdout + attached.stderr
    assert "6 runs, 4 already done" in attached.stdout

    failing = subprocess.run(
        [*submit, "--storage", str(tmp_path / "other"), "--lr-min", "1e20", "--lr-max", "1e25"],
        cwd=ROOT, env=head, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert failing.returncode != 0
    assert "failed: baseline seed 0" in failing.stdout
