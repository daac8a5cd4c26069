"""Outages other than killed processes: the store's disk is full or away, clocks disagree, drivers meet, power fails."""

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster_head import SMALL
from kill_matrix import EPOCHS, ROOT, STEPS, Attacked, Fault, family, running_cluster, send
from metaseg.store.runs import Store

pytestmark = pytest.mark.cluster


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[], None]]:
    """The store of `Attacked(tmp_path, ...)` is a disk of 8 MB: calling this takes it away, or brings it back."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("only root can mount a disk")
    medium, store = tmp_path / "medium", tmp_path / "store"
    medium.mkdir()
    store.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(medium)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    there = False

    def toggle() -> None:
        nonlocal there
        command = ["umount", "--lazy", str(store)] if there else ["mount", "--bind", str(medium), str(store)]
        subprocess.run(command, check=True)
        there = not there

    toggle()
    yield toggle
    if there:
        toggle()
    subprocess.run(["umount", "--lazy", str(medium)], check=True)


def test_a_full_disk_ends_the_study_which_goes_on_when_there_is_room(
    disk, cluster, references, table, tiny_manifest, tmp_path
):
    attacked = Attacked(tmp_path, cluster, tiny_manifest)
    attacked.arm(attacked.runs()[0], "checkpoint")
    ballast = attacked.store / "ballast"
    ended = []

    def fill(attacked: Attacked, fault: Fault, pid: int, node: str) -> None:
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def make_room(code: int, output: str) -> None:
        ended.append((code, output))
        ballast.unlink()

    attacked.train("the store's disk is full", "", fill, on_end=make_room)
    ((code, output),) = ended
    assert code == 1
    assert "no checkpoint of run" in output, "for want of one, training doesn't stop"
    assert "is full: No space left on device" in output
    table.judge(attacked, references[1], interval=EPOCHS * STEPS)  # a full disk takes no checkpoints


def test_a_store_that_is_away_is_waited_for(disk, cluster, references, table, tiny_manifest, tmp_path):
    attacked = Attacked(tmp_path, cluster, tiny_manifest)
    attacked.arm(attacked.runs()[0], "step")
    back = threading.Timer(25, disk)

    def take_away(attacked: Attacked, fault: Fault, pid: int, node: str) -> None:
        disk()
        back.start()

    attacked.train("the store is away for 25 s", "", take_away)
    back.join()
    table.judge(attacked, references[1])


def test_a_driver_takes_over_from_a_dead_one_of_another_machine_whose_clock_is_wrong(
    cluster, references, table, tiny_manifest, tmp_path
):
    if not shutil.which("faketime"):
        pytest.skip("Debian's package faketime isn't installed")
    attacked = Attacked(tmp_path, cluster, tiny_manifest)
    attacked.arm(attacked.runs()[0], "step")
    attacked.environment["FAULTS_MACHINE"] = "one"
    first = attacked.start("faketime", "-f", "+1d")
    attacked.environment["FAULTS_MACHINE"] = "another"
    while not attacked.reached():
        assert first.poll() is None, attacked.text()
        time.sleep(0.1)

    def kill_the_first(attacked: Attacked, fault: Fault, pid: int, node: str) -> None:
        while "runs to train" not in attacked.text():
            assert attacked.driver.poll() is None, attacked.text()
            time.sleep(0.1)
        send(family(first.pid), signal.SIGKILL)
        first.wait()

    attacked.train("one of two drivers, clock a day ahead", "SIGKILL", kill_the_first)
    table.judge(attacked, references[1])


def test_a_power_cut_costs_an_interval(cluster, references, table, tiny_manifest, tmp_path):
    """All processes die at once, Ray's head among them, and the command finds another Ray."""
    folder = Path(tempfile.mkdtemp(prefix="km-"))
    with running_cluster(folder, nodes=2) as dying:
        attacked = Attacked(tmp_path, dying, tiny_manifest)
        attacked.arm(attacked.runs()[2], "step")

        def cut(attacked: Attacked, fault: Fault, pid: int, node: str) -> None:
            send(family(dying.process.pid) + family(attacked.driver.pid), signal.SIGKILL)
            attacked.driver.wait()
            attacked.cluster = cluster

        attacked.train("everything", "SIGKILL", cut, on_end=lambda code, output: None)
    shutil.rmtree(folder, ignore_errors=True)
    table.judge(attacked, references[1])


RUNS = 200


def test_a_study_of_200_runs_killed_at_random_moments_has_200_complete_runs(tmp_path):
    """It has a Ray of its own with two cores; a failure reports the moments."""
    seed = int(os.environ.get("METASEG_KILL_SEED", random.SystemRandom().randrange(10**6)))
    moments = random.Random(seed)
    store = Store.at(tmp_path / "store")
    command = [
        sys.executable, "studies/seven_cells.py", *SMALL, "--seeds", str(RUNS // 2), "--epochs", "2",
        "--storage", store.where,
    ]  # fmt: skip
    kills = []
    for _ in range(3):
        target = len(store.done()) + moments.randrange(10, 50)
        driver = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        while len(store.done()) < target:
            assert driver.poll() is None, f"seed {seed}"
            time.sleep(moments.uniform(0.0, 0.2))
        driver.kill()
        driver.wait()
        kills.append(len(store.done()))
    last = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert last.returncode == 0, f"seed {seed}: {last.stdout}"
    folders = list((tmp_path / "store" / "runs").iterdir())
    assert len(store.done()) == RUNS == len(folders)
    for folder in folders:
        checksums = json.loads((folder / "DONE").read_text())["sha256"]
        assert checksums == {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.name != "DONE"
        }
    print(f"killed after {kills} of {RUNS} runs (METASEG_KILL_SEED={seed})")
