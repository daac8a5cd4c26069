"""A study that is hit while it trains: starts it, waits for its points, sends signals, and looks at what is left."""

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import psutil
import torch.distributed

from checkout import ROOT
from metaseg.config import NetworkConfig, ScheduleConfig
from metaseg.data.dataset import Dataset
from metaseg.store.runs import Store
from metaseg.study.execution import execute
from metaseg.study.plan import plan

FAULTS = Path(__file__).parent / "faults"

RUNS, EPOCHS, STEPS = 4, 3, 4
"""Runs of the study, epochs of a run, steps of an epoch; a checkpoint is kept after each epoch."""


@dataclass
class Cluster:
    """A running `faults/cluster.py`."""

    process: subprocess.Popen[str]
    address: str
    environment: dict[str, str]
    raylets: dict[str, int] = field(default_factory=dict)

    def raylet(self, node: str) -> int:
        """Process of a node that there is, or was; those that were added since are read first."""
        while node not in self.raylets:
            assert self.process.stdout is not None
            name, pid = self.process.stdout.readline().split()
            self.raylets[name] = int(pid)
        return self.raylets[node]

    def actors(self, name: str) -> list[int]:
        """Processes of this cluster's actors of a class."""
        mark = f"RAY_TMPDIR={self.environment['RAY_TMPDIR']}"
        found = []
        for process in psutil.process_iter():
            try:
                if f"ray::{name}" in " ".join(process.cmdline()) and mark in _environment(process):
                    found.append(process.pid)
            except psutil.Error:
                continue
        return found


def _environment(process: psutil.Process) -> str:
    return Path(f"/proc/{process.pid}/environ").read_bytes().decode(errors="replace")


@contextmanager
def running_cluster(folder: Path, nodes: int) -> Iterator[Cluster]:
    """A cluster of nodes with one CPU each; `folder`'s path must be short, since sockets lie in it."""
    (folder / "ray").mkdir(parents=True)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "RAY_TMPDIR": str(folder),
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": f"{FAULTS}{os.pathsep}{ROOT}",
    }
    process = subprocess.Popen(
        [sys.executable, str(FAULTS / "cluster.py"), str(nodes)],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address, "the cluster didn't start"
        yield Cluster(process, address, environment | {"RAY_ADDRESS": address})
    finally:
        process.communicate("end")


@dataclass
class Fault:
    """One that was injected."""

    run: str
    point: str
    target: str
    signal: str
    """Its name; empty where there is none."""


class Attacked:
    """A study's command, given again and again until the study is done, and what is done to it meanwhile."""

    def __init__(self, folder: Path, cluster: Cluster, manifest: Path, *options: str) -> None:
        self.store, self.faults, self.cluster = folder / "store", folder / "faults", cluster
        self.faults.mkdir(parents=True)
        page = [
            "studies/own_data.py", "--manifest", str(manifest), "--metadata", "line", "dose", "--name", "attacked",
            "--arms", "baseline", "sme", "--seeds", "2", "--epochs", str(EPOCHS), "--batch-size", "4", "--crop", "16",
            "--width", "4", "--depth", "2", "--cycles", "1", "--checkpoint-epochs", "1", "--storage", str(self.store),
        ]  # fmt: skip
        self.command = [sys.executable, str(FAULTS / "study.py"), str(self.faults), *page, *options]
        self.environment: dict[str, str] = {}
        self.injected: list[Fault] = []
        self.starts = 0
        self.output = ""
        self._stamps: dict[Path, tuple[int, int]] = {}
        self._driver: subprocess.Popen[str] | None = None

    def runs(self) -> list[str]:
        """Ids of the study's runs, in order."""
        listing = subprocess.run(
            [*self.command, "--dry-run"], cwd=ROOT, env=self.cluster.environment, capture_output=True, text=True
        )
        assert listing.returncode == 0, listing.stdout + listing.stderr
        return re.findall(r"^\W*([0-9a-f]{16})\b", listing.stdout, re.MULTILINE)

    def arm(self, run: str, point: str) -> None:
        """Make a run wait at a point, once."""
        (self.faults / f"{run}.{point}.armed").touch()

    def reached(self) -> list[Path]:
        """Files of the points at which a process waits."""
        return sorted(self.faults.glob("*.reached"))

    def start(self, *prefix: str) -> subprocess.Popen[str]:
        """Give the command, by another one's mediation if need be."""
        self.starts += 1
        self._driver = subprocess.Popen(
            [*prefix, *self.command], cwd=ROOT, env=self.cluster.environment | self.environment,
            stdout=(self.faults / f"output{self.starts}").open("w"), stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        return self._driver

    def text(self) -> str:
        """Output of the command since it was last given."""
        return (self.faults / f"output{self.starts}").read_text()

    def train(self, target: str, name: str, hit: "Hit", on_end: Callable[[int, str], None] | None = None) -> None:
        """Give the command until it succeeds.

        Args:
            target: what dies or fails.
            name: of the signal.
            hit: called for each point that is reached, with the process that waits there and its node.
            on_end: called with the exit code and the output when the command fails; None where it mustn't.
        """
        deadline = time.monotonic() + 900
        driver = self.start()
        while True:
            assert time.monotonic() < deadline, self.text()
            for path in self.reached():
                run, point, _ = path.name.split(".")
                about = json.loads(path.read_text())
                if psutil.pid_exists(about["pid"]):
                    self.keep_stamps()
                    fault = Fault(run, point, target, name)
                    hit(self, fault, about["pid"], about["node"])
                    self.injected.append(fault)
                    path.rename(path.with_suffix(".done"))
                else:  # it died by a fault that was meant for another run
                    path.with_suffix(".taken").unlink()
                    path.rename(path.with_suffix(".armed"))
            if driver.poll() is not None:
                if driver.returncode == 0:
                    return
                assert on_end, self.text()
                on_end(driver.returncode, self.text())
                driver = self.start()
            time.sleep(0.02)

    @property
    def driver(self) -> subprocess.Popen[str]:
        """The command's process."""
        assert self._driver is not None
        return self._driver

    def keep_stamps(self) -> None:
        """Remember the finished runs' files as they are."""
        for done in self.store.glob("runs/*/DONE"):
            for path in done.parent.iterdir():
                self._stamps.setdefault(path, (path.stat().st_ino, path.stat().st_mtime_ns))

    def check(self, reference: Path) -> None:
        """Check that the study is the same as without faults."""
        for path in self._stamps:
            assert (path.stat().st_ino, path.stat().st_mtime_ns) == self._stamps[path], f"{path} was written again"
        whole = sorted(path.parent.name for path in reference.glob("runs/*/DONE"))
        assert sorted(path.name for path in (self.store / "runs").iterdir()) == whole
        for run in whole:
            for name in ("weights.safetensors", "images.parquet"):
                expected, found = ((where / "runs" / run / name).read_bytes() for where in (reference, self.store))
                assert expected == found, f"{name} of {run} has other bits"
            histories = [pd.read_parquet(where / "runs" / run / "history.parquet") for where in (reference, self.store)]
            assert list(histories[1]["epoch"]) == list(range(1, EPOCHS + 1))
            same = ["epoch", "train_loss", "val_f1", "learning_rate"]
            pd.testing.assert_frame_equal(histories[0][same], histories[1][same], check_exact=True)
        rows = pd.read_parquet(self.store / "results" / "study=attacked")
        assert rows["run_id"].nunique() == len(whole)
        assert not rows.duplicated(["run_id", "image", "class", "evaluation"]).any()
        for folder in ("claims", "sessions", "checkpoints", "failures"):
            assert not list((self.store / folder).glob("*")), f"{folder} aren't tidied up"

    def steps_repeated(self, interval: int) -> int:
        """Training steps that were done again; checks that none was left out, and how many a fault has cost."""
        total = 0
        for path in self.faults.glob("*.attempts"):
            attempts = len(path.read_text().splitlines())
            done = Counter(path.with_suffix(".steps").read_text().splitlines())
            assert set(done) == {f"{epoch} {step}" for epoch in range(1, EPOCHS + 1) for step in range(1, STEPS + 1)}
            repeated = done.total() - len(done)
            assert repeated <= interval * (attempts - 1), f"{repeated} steps repeated in {attempts} attempts"
            total += repeated
        return total


Hit = Callable[[Attacked, Fault, int, str], None]


def send(pids: list[int], number: int) -> None:
    """Send a signal to processes, those that are gone excepted."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def family(pid: int) -> list[int]:
    """A process and all below it."""
    parent = psutil.Process(pid)
    return [pid, *(child.pid for child in parent.children(recursive=True))]


@dataclass
class Record:
    """A row of the table."""

    workers: int
    injected: list[Fault]
    commands: int
    """Times that the command was given."""
    survived: int = 0
    steps: int = 0
    """Steps that were trained again."""


@dataclass
class Table:
    """Table of injected and survived faults."""

    records: list[Record] = field(default_factory=list)

    def judge(self, attacked: Attacked, reference: Path, workers: int = 1, interval: int = STEPS) -> None:
        """Enter what was done to the study, check it, and enter that it has survived.

        Args:
            attacked: the study.
            reference: a store with the same runs, trained in peace.
            workers: that a run had.
            interval: steps between checkpoints.
        """
        record = Record(workers, attacked.injected, attacked.starts)
        self.records.append(record)
        attacked.check(reference)
        record.steps = attacked.steps_repeated(interval)
        record.survived = len(record.injected)

    def to_markdown(self) -> str:
        rows = ["| what failed | signal | workers a run | faults, at | survived | commands given | steps repeated |"]
        rows.append("| --- | --- | --- | --- | --- | --- | --- |")
        for record in self.records:
            points = Counter(fault.point for fault in record.injected)
            where = ", ".join(point if times == 1 else f"{point} ({times})" for point, times in points.items())
            fault = record.injected[0]
            rows.append(
                f"| {fault.target} | {fault.signal} | {record.workers} | {points.total()}: {where} | {record.survived} "
                f"| {record.commands} | {record.steps} of {RUNS * EPOCHS * STEPS} |"
            )
        injected, survived, steps = (
            sum(column) for column in zip(*((len(r.injected), r.survived, r.steps) for r in self.records), strict=True)
        )
        rows.append(f"\n{injected} faults injected, {survived} survived, {steps} steps repeated.")
        return "\n".join(rows)


def train_undisturbed(rank: int, workers: int, rendezvous: Path, data: Path, store: Path) -> None:
    """The runs of `Attacked`, as one of `workers` processes."""
    if workers > 1:
        torch.distributed.init_process_group("gloo", f"file://{rendezvous}", rank=rank, world_size=workers)
    dataset = Dataset.open(data)
    schedule = ScheduleConfig(epochs=EPOCHS, cycles=1, lr_max=3e-3, batch_size=4, crop=16, validate_every=4)
    for run in plan("", dataset, ["baseline", "sme"], 2, NetworkConfig(width=4, depth=2), schedule).runs:
        execute(run.config, dataset, Store.at(store), torch.device("cpu"))
    if workers > 1:
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
