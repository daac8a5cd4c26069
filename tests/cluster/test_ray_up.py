"""`cluster/onprem.yaml` launched on two machines: `ray up`, `ray dashboard`, `ray job submit`, `ray down`."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest
import yaml

from cluster_head import ROOT, SMALL, free_ports
from machines import Machine, machines

pytestmark = pytest.mark.cluster


@dataclass(frozen=True)
class User:
    """Somebody at this computer, with a home of their own, who types commands in the repository's root."""

    home: Path
    cluster: Path
    """The filled-in cluster file."""
    port: int
    """Local port to which `ray dashboard` forwards the cluster's dashboard."""

    @property
    def environment(self) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
            "HOME": str(self.home),
            "TMPDIR": str(self.home),
            "RAY_TMPDIR": str(self.home),
            "RAY_AUTH_MODE": "token",
            "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{self.port}",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }

    def type(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=ROOT, env={**self.environment, **variables}, capture_output=True, text=True, timeout=280
        )

    @contextmanager
    def tunnel(self) -> Iterator[None]:
        """`ray dashboard` runs meanwhile."""
        command = ["ray", "dashboard", "--port", str(self.port), str(self.cluster)]
        process = subprocess.Popen(command, cwd=ROOT, env=self.environment, start_new_session=True)
        try:
            wait_until(lambda: self.answer(None) != 0, 60)
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()

    def answer(self, token: str | None) -> int:
        """The HTTP status with which the cluster's list of jobs is given or refused; 0 where nobody answers."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = Request(f"http://127.0.0.1:{self.port}/api/jobs/", headers=headers)
        try:
            with urlopen(request, timeout=5) as answer:
                return int(answer.status)
        except HTTPError as error:
            return error.code
        except (URLError, OSError):
            return 0


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[list[Machine]]:
    with machines(tmp_path / "machines", ["head", "worker"]) as started:
        yield started


@pytest.fixture
def user(tmp_path: Path, hosts: list[Machine]) -> User:
    """Has filled in what the cluster file's comments ask to fill in, and nothing else."""
    head, worker = hosts
    config = yaml.safe_load((ROOT / "cluster" / "onprem.yaml").read_text())
    config["provider"].update(head_ip=head.address, worker_ips=[worker.address])
    config["auth"]["ssh_private_key"] = str(head.key)
    cluster = tmp_path / "onprem.yaml"
    cluster.write_text(yaml.safe_dump(config, sort_keys=False))
    home = tmp_path / "home"
    (home / "ray").mkdir(parents=True)
    return User(home, cluster, free_ports(1)[0])


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def ok(done: subprocess.CompletedProcess[str]) -> str:
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return output


def test_a_study_runs_on_machines_reached_by_ssh(hosts, user, tmp_path):
    head, _ = hosts
    ok(user.type("ray", "get-auth-token", "--generate"))
    token = (user.home / ".ray" / "auth_token").read_text().strip()
    ok(user.type("ray", "up", "--yes", str(user.cluster)))
    assert head.run("stat --format %a ~/.ray/auth_token").strip() == "600"
    nodes = "cd ~/metaseg && RAY_AUTH_MODE=token .venv/bin/ray status"
    wait_until(lambda: "0.0/4.0 CPU" in head.run(nodes), 60)

    submit = ["ray", "job", "submit", "--", "python", "studies/seven_cells.py"]
    with user.tunnel():
        assert [user.answer(None), user.answer("0" * 64), user.answer(token)] == [401, 403, 200]
        refused = user.type(*submit, *SMALL, RAY_AUTH_MODE="disabled")
        assert refused.returncode != 0
        assert "token authentication is enabled" in refused.stderr

        shown = ok(user.type(*submit, *SMALL, "--seeds", "4", "--epochs", "24"))
        assert "Did metadata help?" in shown
        wrong = user.type(*submit, "--arms", "nonesuch")
        assert wrong.returncode != 0
        assert "nonesuch" in wrong.stdout + wrong.stderr
        assert token not in shown + refused.stderr + wrong.stderr

    store = tmp_path / "machines" / "shared" / "metaseg-store"
    runs = [json.loads((done.parent / "config.json").read_text()) for done in store.glob("runs/*/DONE")]
    assert len(runs) == 8
    assert {run["hardware"]["host"] for run in runs} == {"head", "worker"}
    assert list(store.glob("reports/seven_cells/*"))

    ok(user.type("ray", "down", "--yes", str(user.cluster)))
    # Workers aren't told: they end by themselves once they have missed the head for a minute.
    wait_until(lambda: [machine.processes() for machine in hosts] == [[], []], 120)
