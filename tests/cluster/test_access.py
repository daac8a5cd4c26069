"""Access to a real cluster: its token, the address of its dashboard, and what others can see."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster_head import ROOT, SMALL, Head, started_head

pytestmark = pytest.mark.cluster

METASEG_SUBMIT = [sys.executable, "-m", "metaseg", "submit"]


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """One head node for all tests here."""
    with started_head(tmp_path_factory.mktemp("home")) as node:
        yield node


def home_with(folder: Path, token: str | None) -> dict[str, str]:
    """Environment of a user with this token, who has set no variable."""
    (folder / ".ray").mkdir(parents=True)
    if token is not None:
        (folder / ".ray" / "auth_token").write_text(token)
    return {"HOME": str(folder), "RAY_AUTH_MODE": ""}


@pytest.mark.parametrize(("token", "reason"), [(None, "Missing authentication token"), ("f" * 64, "Invalid")])
def test_submit_says_what_to_do_about_a_token(head, tmp_path, token, reason):
    environment = {key: value for key, value in head.environment.items() if key != "RAY_AUTH_MODE"}
    home = home_with(tmp_path, token)["HOME"]
    job = subprocess.run(
        [*METASEG_SUBMIT, "--", "true"], cwd=ROOT, env={**environment, "HOME": home}, capture_output=True, text=True
    )
    assert job.returncode != 0
    assert job.stderr.startswith(f"error: the cluster at {head.dashboard} wants its token"), job.stderr
    assert reason in job.stderr
    assert "copy ~/.ray/auth_token from its head" in job.stderr
    assert job.stderr.count("\n") == 1


def test_submit_finds_the_token_without_a_variable(head):
    environment = {key: value for key, value in head.environment.items() if key != "RAY_AUTH_MODE"}
    job = subprocess.run([*METASEG_SUBMIT, "--", "true"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert job.returncode == 0, job.stdout + job.stderr


@pytest.mark.parametrize("path", ["/api/version", "/api/jobs/", "/api/v0/nodes", "/api/cluster_status"])
@pytest.mark.parametrize(("bearer", "status"), [(None, 401), ("f" * 64, 403), ("right", 200)])
def test_the_dashboard_answers_only_whoever_has_the_token(head, path, bearer, status):
    assert answer(head.request(path, head.token if bearer == "right" else bearer)) == status


@pytest.mark.parametrize(("bearer", "status"), [(None, 401), ("f" * 64, 403)])
def test_a_job_is_taken_only_from_whoever_has_the_token(head, tmp_path, bearer, status):
    body = json.dumps({"entrypoint": f"touch {tmp_path}/intruder"}).encode()
    assert answer(head.request("/api/jobs/", bearer, body)) == status
    with urllib.request.urlopen(head.request("/api/jobs/", head.token), timeout=30) as response:
        assert "intruder" not in response.read().decode()


def answer(asked: urllib.request.Request) -> int:
    """The response's status."""
    try:
        with urllib.request.urlopen(asked, timeout=30) as response:
            code: int = response.status
            return code
    except urllib.error.HTTPError as error:
        return error.code


def test_a_driver_is_taken_only_from_whoever_has_the_token(head, tmp_path):
    script = f"import ray; ray.init({head.address!r}); print('in')"
    without = {**home_with(tmp_path / "without", None), "RAY_AUTH_MODE": "disabled"}
    wrong = {**home_with(tmp_path / "wrong", "f" * 64), "RAY_AUTH_MODE": "token"}
    drivers = [head.open(sys.executable, "-c", script, **variables) for variables in (without, wrong, {})]
    *refused, welcome = [(driver.communicate(timeout=120)[0], driver.returncode) for driver in drivers]
    for output, code in refused:
        assert code != 0
        assert "in\n" not in output
        assert "token is missing or incorrect" in output, output
    assert welcome[1] == 0, welcome[0]
    assert "in\n" in welcome[0]


def test_the_dashboard_listens_on_this_machine_alone(head):
    port = head.dashboard.rpartition(":")[2]
    outside = head.address.rpartition(":")[0]
    if outside.startswith("127."):
        pytest.skip("this machine has no other address")
    with pytest.raises(urllib.error.URLError, match="refused"):
        urllib.request.urlopen(f"http://{outside}:{port}/api/version", timeout=10)


def test_statistics_of_usage_are_sent_neither_by_a_cluster_nor_by_a_study(head):
    with urllib.request.urlopen(head.request("/usage_stats_enabled", head.token), timeout=30) as response:
        assert '"usageStatsEnabled": false' in response.read().decode()

    script = (
        "from metaseg.engine import session\n"
        "from ray._common.usage import usage_lib\n"
        "print(usage_lib.usage_stats_enabled())"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    own = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert own.stdout == "False\n", own.stderr


def test_the_token_is_written_down_nowhere(head, tmp_path):
    """After a job: neither in the cluster's logs, which hold the job's, nor in the store."""
    assert (head.home / ".ray" / "auth_token").stat().st_mode & 0o077 == 0, "as documented"
    page = ["python", "studies/seven_cells.py", *SMALL, "--storage", str(tmp_path)]
    job = head.call(*METASEG_SUBMIT, "--", *page)
    assert job.returncode == 0, job.stdout + job.stderr
    assert head.token not in job.stdout
    files = [file for folder in (head.session / "logs", tmp_path) for file in folder.rglob("*") if file.is_file()]
    assert any(file.name.startswith("job-driver-") for file in files)
    assert [file for file in files if head.token.encode() in file.read_bytes()] == []
