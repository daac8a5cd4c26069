"""`cluster/onprem.yaml` launched on two machines: `ray up`, `ray dashboard`, `ray job submit`, `ray down`."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest
import yaml

from machines import Machine, machines
from test_cluster import ROOT, SMALL, free_port

pytestmark = pytest.mark.cluster


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[list[Machine]]:
    with machines(tmp_path / "machines", ["head", "worker"]) as started:
        yield started


def fill_in(folder: Path, head: Machine, worker: Machine) -> Path:
    """The cluster file with what its comments ask to fill in, and nothing else."""
    config = yaml.safe_load((ROOT / "cluster" / "onprem.yaml").read_text())
    config["provider"].update(head_ip=head.address, worker_ips=[worker.address])
    config["auth"]["ssh_private_key"] = str(head.key)
    path = folder / "onprem.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def status(url: str, token: str | None) -> int:
    """The HTTP status of an answer; 0 where there is none."""
    try:
        with urlopen(Request(url, headers={"Authorization": f"Bearer {token}"} if token else {}), timeout=5) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code
    except (URLError, OSError):
        return 0


def wait(seconds: float, condition) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, condition
        time.sleep(1)


def test_a_study_runs_on_machines_reached_by_ssh(hosts, tmp_path):
    head, worker = hosts
    file = fill_in(tmp_path, head, worker)
    home = tmp_path / "home"
    (home / "tmp" / "ray").mkdir(parents=True)
    port = free_port()
    environment = {
        **os.environ,
        "HOME": str(home),
        "RAY_TMPDIR": str(home / "tmp"),
        "RAY_AUTH_MODE": "token",
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{port}",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }

    def ray(*arguments: str) -> subprocess.CompletedProcess[str]:
        print("$ ray", *arguments, flush=True)
        done = subprocess.run(
            ["ray", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500
        )
        print(done.stdout, done.stderr)
        return done

    assert ray("get-auth-token", "--generate").returncode == 0
    token = (home / ".ray" / "auth_token").read_text().strip()
    assert ray("up", "--yes", str(file)).returncode == 0
    t = time.monotonic()
    time.sleep(1)
    wait(60, lambda: "raylet" in "".join(worker.processes()))
    print("worker", time.monotonic() - t)
    tunnel = subprocess.Popen(
        ["ray", "dashboard", "--port", str(port), str(file)], cwd=ROOT, env=environment, start_new_session=True
    )
    try:
        jobs = f"http://127.0.0.1:{port}/api/jobs/"
        wait(60, lambda: status(jobs, token) == 200)
        assert [status(jobs, None), status(jobs, "0" * 64)] == [401, 403]

        job = ray("job", "submit", "--", "python", "studies/seven_cells.py", *SMALL)
        assert job.returncode == 0
        store = tmp_path / "machines" / "shared" / "metaseg-store"
        assert len(list(store.glob("runs/*/DONE"))) == 4
        for path in store.glob("runs/*/config.json"):
            print(json.loads(path.read_text()))
        failing = ray("job", "submit", "--", "python", "studies/seven_cells.py", "--arms", "nonesuch")
        assert failing.returncode != 0
        print(ray("exec", str(file), "ray status"))
    finally:
        os.killpg(tunnel.pid, signal.SIGTERM)
        tunnel.wait()
    print("\n".join(head.processes()), "\n\n", "\n".join(worker.processes()))
    assert ray("down", "--yes", str(file)).returncode == 0
    t = time.monotonic()
    wait(120, lambda: not head.processes())
    print("head", time.monotonic() - t)
    wait(120, lambda: not worker.processes())
    print("worker", time.monotonic() - t)
