"""The kill matrix: whatever dies, wherever it was, the same command ends with what an unbroken study has."""

import os
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch.distributed
import torch.multiprocessing
from kill_matrix import EPOCHS, STEPS, Attacked, Cluster, Fault, family, running_cluster, send

from metaseg.config import NetworkConfig, ScheduleConfig
from metaseg.data.dataset import Dataset
from metaseg.run import execute
from metaseg.store import Store
from metaseg.study import plan

pytestmark = pytest.mark.cluster

POINTS = ("step", "checkpoint", "report", "collection")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="km-", ignore_cleanup_errors=True) as folder:
        with running_cluster(Path(folder), nodes=2) as cluster:
            yield cluster


@pytest.fixture(scope="module")
def references(tiny_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """By number of workers: a store with the study's runs, trained by plain PyTorch and never interrupted."""
    folder = tmp_path_factory.mktemp("references")
    for workers in (1, 2):
        arguments = (workers, folder / f"rendezvous{workers}", tiny_dataset.path, folder / str(workers))
        torch.multiprocessing.spawn(train_undisturbed, arguments, nprocs=workers)
    return {workers: folder / str(workers) for workers in (1, 2)}


def train_undisturbed(rank: int, workers: int, rendezvous: Path, data: Path, store: Path) -> None:
    """The runs of `Attacked`, as one of `workers` processes."""
    if workers > 1:
        torch.distributed.init_process_group("gloo", f"file://{rendezvous}", rank=rank, world_size=workers)
    dataset = Dataset.open(data)
    schedule = ScheduleConfig(epochs=EPOCHS, cycles=1, lr_max=3e-3, batch_size=STEPS, crop=16, validate_every=4)
    for run in plan("", dataset, ["baseline", "sme"], 2, NetworkConfig(width=4, depth=2), schedule).runs:
        execute(run.config, dataset, Store.at(store), torch.device("cpu"))
    if workers > 1:
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


@dataclass
class Record:
    """What a row of the table tells."""

    what: str
    signal: str
    workers: int
    injected: list[Fault]
    commands: int
    """Times that the command was given."""
    steps: int
    """That were trained twice."""


@dataclass
class Table:
    """Of what was injected and survived."""

    records: list[Record] = field(default_factory=list)

    def to_markdown(self) -> str:
        rows = ["| what died | signal | workers a run | faults | survived | commands | steps trained twice, of all |"]
        rows.append("| --- | --- | --- | --- | --- | --- | --- |")
        for record in self.records:
            points = ", ".join(fault.point for fault in record.injected)
            steps = f"{record.steps} of {4 * EPOCHS * STEPS}"
            faults = len(record.injected)
            rows.append(
                f"| {record.what} | {record.signal} | {record.workers} | {faults}: {points} | {faults} "
                f"| {record.commands} | {steps} |"
            )
        total = sum(len(record.injected) for record in self.records)
        steps = sum(record.steps for record in self.records)
        rows.append(f"\n{total} faults injected, {total} survived, {steps} steps trained twice.")
        return "\n".join(rows)


@pytest.fixture(scope="module")
def table(pytestconfig: pytest.Config) -> Iterator[Table]:
    """Printed at the end, and written to the file that METASEG_KILL_MATRIX names."""
    table = Table()
    yield table
    with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\n" + table.to_markdown())
    if path := os.environ.get("METASEG_KILL_MATRIX"):
        Path(path).write_text(table.to_markdown() + "\n")


def hit(attacked: Attacked, fault: Fault, pid: int, node: str) -> None:
    """Send the fault's signal to its target; `pid` is the process that waits at the point, on `node`."""
    number = signal.Signals[fault.signal]
    if fault.target == "worker":
        send([pid], number)
    elif fault.target == "controller":
        controllers = attacked.cluster.actors("TrainController")
        assert controllers, "no controller of Ray Train is there"
        send(controllers, number)
    elif fault.target == "driver":
        send([attacked.driver.pid], number)
        attacked.driver.wait(timeout=30)
    else:
        send(family(attacked.cluster.raylet(node)), number)


CASES = [
    *(("worker", workers) for workers in (1, 2)),
    ("controller", 2),  # of one worker, it is in the worker's process
    *(("driver", workers) for workers in (1, 2)),
    *(("node", workers) for workers in (1, 2)),
]


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
@pytest.mark.parametrize(("target", "workers"), CASES)
def test_a_study_survives(target, workers, name, cluster, references, table, tiny_manifest, tmp_path):
    attacked = Attacked(tmp_path, cluster, tiny_manifest, "--workers-per-run", str(workers))
    for run, point in zip(attacked.runs(), POINTS, strict=True):
        attacked.arm(run, point)
    if target == "driver":
        attacked.arm("study", "collection")
    attacked.train(hit, target, signal.Signals[name])
    assert sorted(fault.point for fault in attacked.injected) == sorted([*POINTS, *["collection"] * (target == "driver")])
    attacked.check(references[workers])
    table.records.append(
        Record(target, name, workers, attacked.injected, attacked.starts, attacked.steps_repeated())
    )
