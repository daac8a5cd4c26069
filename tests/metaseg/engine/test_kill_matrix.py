"""The kill matrix: whatever dies, wherever it was, the same command ends with what an unbroken study has."""

import signal

import pytest

from kill_matrix import Attacked, Fault, family, send

pytestmark = pytest.mark.cluster

POINTS = ("step", "checkpoint", "report", "collection")


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


def expect_a_killed_driver(code: int, output: str) -> None:
    assert code in (-signal.SIGKILL, 128 + signal.SIGTERM), output


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
    attacked.train(target, name, hit, on_end=expect_a_killed_driver if target == "driver" else None)
    hits = [(fault.run == "study", fault.point) for fault in attacked.injected]
    assert sorted(hits) == sorted(
        [*((False, point) for point in POINTS), *[(True, "collection")] * (target == "driver")]
    )
    table.judge(attacked, references[workers], workers)
