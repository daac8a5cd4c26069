"""Several runs on one GPU: Ray is told of a GPU that isn't there, since only its bookkeeping is looked at."""

import subprocess
import sys

import pytest

from checkout import ROOT

pytestmark = pytest.mark.cluster

SCRIPT = """
import io, sys, time
from pathlib import Path
import ray
from rich.console import Console
from metaseg.config import EngineConfig, NetworkConfig, ScheduleConfig
from metaseg.data.dataset import Dataset
from metaseg.engine import run_study
from metaseg.study.run_id import run_id
from metaseg.store.runs import Store
from metaseg.study.plan import plan

def nap(config, dataset, store, device, on_epoch, engine):
    began = time.time()
    time.sleep(2)
    gpus = ray.get_runtime_context().get_accelerator_ids()["GPU"]
    store.commit_run(run_id(config), {"times": f"{began} {time.time()} {','.join(gpus)}".encode()})

ray.init("local", num_cpus=4, num_gpus=1, include_dashboard=False, log_to_driver=False)
study = plan("gpu", Dataset.open(Path(sys.argv[1])), ["baseline"], 8, NetworkConfig(), ScheduleConfig())
store = Store.at(sys.argv[2])
console = Console(file=io.StringIO(), width=200)
outcome = run_study(study, store, EngineConfig(cpus_per_worker=0.5, gpus_per_worker=0.25), console, nap)
assert "a worker is 0.5 CPU and 0.25 GPU, Ray has room for 4 now" in console.file.getvalue()
times = [store.storage.read(f"runs/{run.run_id}/times").decode().split() for run in outcome.trained]
assert {gpu for *_, gpu in times} == {"0"}
print(len(times), max(sum(float(b) <= float(t) < float(e) for b, e, _ in times) for t, *_ in times))
"""


def test_a_quarter_of_a_gpu_a_worker_packs_four_runs_on_one(tiny_dataset, tmp_path):
    command = [sys.executable, "-c", SCRIPT, str(tiny_dataset.path), str(tmp_path / "store")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["8", "4"], "runs, and runs at once"
