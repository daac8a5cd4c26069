"""Studies as jobs of a real cluster: what is shipped, what is shown, and what comes back."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import psutil
import pytest

from cluster_head import ROOT, SMALL, Head, started_head

pytestmark = pytest.mark.cluster

PAGE = ["python", "studies/seven_cells.py", *SMALL]
RAY_SUBMIT = ["ray", "job", "submit"]
METASEG_SUBMIT = [sys.executable, "-m", "metaseg", "submit"]


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """One head node for all tests here, started in the repository's root."""
    with started_head(tmp_path_factory.mktemp("home")) as node:
        yield node


@pytest.fixture(scope="module")
def store(head: Head, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a study that ran as a job, submitted by Ray's command, bare."""
    folder = tmp_path_factory.mktemp("store")
    job = head.call(*RAY_SUBMIT, "--", *PAGE, "--storage", str(folder))
    assert job.returncode == 0, job.stdout + job.stderr
    assert "succeeded" in job.stdout + job.stderr
    return folder


def finished(store: Path) -> list[Path]:
    return sorted(store.glob("runs/*/DONE"))


def wait_for(condition, process: subprocess.Popen[str], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """The process's output up to the line that holds the text."""
    lines = ""
    assert process.stdout is not None
    for line in process.stdout:
        lines += line
        if text in line:
            return lines
    raise AssertionError(f"{text!r} isn't in {lines}")


def test_the_bare_command_in_the_root_and_a_driver_use_the_cluster(head, store):
    assert len(finished(store)) == 4

    attached = head.call(sys.executable, "studies/seven_cells.py", *SMALL, "--seeds", "3", "--storage", str(store))
    assert attached.returncode == 0, attached.stdout + attached.stderr
    assert "6 runs, 4 already done" in attached.stdout
    assert len(list((head.session / "logs").glob("job-driver-*"))) == 1, "and that one was no job"
    with urllib.request.urlopen(head.request("/api/jobs/", head.token), timeout=30) as response:
        assert sorted(job["type"] for job in json.load(response)) == ["DRIVER", "SUBMISSION"]


def test_only_the_code_is_shipped_and_it_is_the_code_that_runs(head, tmp_path):
    """The clone also contains all other kinds of files that a clone may contain."""
    clone = tmp_path / "clone"
    tracked = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    for name in tracked.stdout.splitlines():
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name)
    for junk in [
        ".git/objects/pack/p.pack", ".venv/lib/torch.so", "env/lib/torch.py", "my-store/runs/1/weights.safetensors",
        "images/a.tif", "images/table.csv", ".cache/x", "metaseg/__pycache__/unet.cpython-311.pyc", "core.1234",
    ]:  # fmt: skip
        (clone / junk).parent.mkdir(parents=True, exist_ok=True)
        (clone / junk).write_bytes(os.urandom(15_000_000))  # all of them are more than Ray takes
    (clone / "studies" / "listing.py").write_text(
        "from pathlib import Path\nimport metaseg\n"
        "print('metaseg:', metaseg.__file__)\n"
        "[print('shipped:', file.as_posix(), file.stat().st_size) for file in Path().rglob('*') if file.is_file()]\n"
    )
    job = head.call(*RAY_SUBMIT, "--working-dir", ".", "--", "python", "studies/listing.py", cwd=clone)
    assert job.returncode == 0, job.stdout + job.stderr
    shipped = dict(re.findall(r"^shipped: (\S+) (\d+)$", job.stdout, re.MULTILINE))
    # With the stubs that lazy imports read, and the notebooks.
    code = [name for name in tracked.stdout.splitlines() if name.startswith(("analysis/", "metaseg/", "studies/"))]
    assert sorted(shipped) == sorted([*code, "studies/listing.py"])
    assert sum(map(int, shipped.values())) < 3_000_000, "a fifth of the smallest file that isn't code"
    assert re.search(r"^metaseg: \S+/_ray_pkg_\w+/metaseg/__init__.py$", job.stdout, re.MULTILINE)


def test_a_study_outside_the_repository_brings_its_own_block_and_network(head, tmp_path, tiny_manifest):
    page = (ROOT / "docs" / "how-to" / "own-study.md").read_text()
    (tmp_path / "shift_study.py").write_text(re.findall(r"```python\n(.*?)```", page, re.S)[0])
    (tmp_path / "my_network.py").write_text(
        "from torch import nn\n\n\ndef make(in_channels, out_channels):\n"
        "    level = nn.Sequential(nn.Conv2d(in_channels, 4, 3, padding=1), nn.ReLU())\n"
        "    return nn.Sequential(level, nn.Conv2d(4, out_channels, 1))\n"
    )
    options = ["--manifest", str(tiny_manifest), "--metadata", "line", "--network", "my_network.py:make"]
    short = ["--epochs", "1", "--crop", "16", "--seeds", "1", "--arms", "baseline", "shift"]
    study = ["python", "shift_study.py", *options, *short, "--storage", str(tmp_path / "store")]
    job = head.call(*RAY_SUBMIT, "--working-dir", ".", "--", *study, cwd=tmp_path)
    assert job.returncode == 0, job.stdout + job.stderr
    configs = [json.loads(path.read_text()) for path in tmp_path.glob("store/runs/*/config.json")]
    assert {config["architecture"]["network"].partition("@")[0] for config in configs} == {"make"}
    assert {config["arm"]["block"].partition("@")[0] for config in configs} == {"se", "Shift"}


def test_a_stopped_job_goes_on_with_the_same_command(head, tmp_path):
    store = tmp_path / "store"
    page = [*PAGE, "--seeds", "4", "--storage", str(store)]
    job = head.open(*RAY_SUBMIT, "--submission-id", "halfway", "--working-dir", ".", "--", *page)
    wait_for(lambda: finished(store), job)
    stop = head.call("ray", "job", "stop", "halfway")
    output, _ = job.communicate(timeout=60)
    done = len(finished(store))
    assert 1 <= done < 8, "stopped halfway"
    assert "was stopped" in stop.stdout + stop.stderr
    assert "To go on, give the same command again" in output
    stamps = {path: path.stat().st_mtime_ns for path in finished(store)}

    again = head.call(*METASEG_SUBMIT, "--", *page)
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"8 runs, {done} already done" in again.stdout
    assert len(re.findall(r"^done .*\(\d/\d\)$", again.stdout, re.MULTILINE)) == 8 - done
    assert len(finished(store)) == 8
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps, "what was done wasn't done again"
    rows = pd.read_parquet(store / "results" / "study=seven_cells")
    assert rows["run_id"].nunique() == 8
    assert not rows.duplicated(["run_id", "image", "class", "evaluation"]).any()


def test_submit_shows_plain_lines_and_ends_with_the_studys_code(head, tmp_path):
    failing = ["--storage", str(tmp_path / "store"), "--lr-min", "1e20", "--lr-max", "1e25"]
    job = head.call(*METASEG_SUBMIT, "--address", head.dashboard, "--", *PAGE, *failing, RAY_API_SERVER_ADDRESS="")
    assert job.returncode == 1, job.stdout + job.stderr
    assert "FAILED baseline seed 0" in job.stdout
    assert "failed: 4 of 4 runs" in job.stdout
    assert "\x1b" not in job.stdout, "no control characters"
    assert job.stderr == ""

    misused = head.call(*METASEG_SUBMIT, "--", *PAGE, "--storage", "relative")
    assert misused.returncode == 2, misused.stdout + misused.stderr
    assert "storage is 'relative'; expected an absolute path" in misused.stdout


def slots(head: Head) -> list[psutil.Process]:
    """The head's processes that are training a run."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            ours = head.environment["RAY_TMPDIR"] in Path(f"/proc/{process.pid}/environ").read_text(errors="replace")
            if ours and process.cmdline() and process.cmdline()[0].startswith("ray::Slot.fit"):
                found.append(process)
    return found


def test_a_workers_death_is_one_line_of_the_log(head, tmp_path):
    long = ["--epochs", "40", "--storage", str(tmp_path / "store")]
    job = head.open(*METASEG_SUBMIT, "--", *PAGE, *long)
    wait_for(lambda: slots(head), job)
    slots(head)[0].kill()
    output, _ = job.communicate(timeout=120)
    assert job.returncode == 0, output
    assert len(re.findall(r"^note .* again: its process died \(retry 1 of 3\)$", output, re.MULTILINE)) == 1, output
    assert "raylet" not in output
    assert len(finished(tmp_path / "store")) == 4


def test_submit_can_be_left_and_tells_of_a_stopped_job(head):
    """Ctrl-C ends the watching alone; a job that is stopped from elsewhere ends with SIGTERM's code."""
    script = "import time; print('under way', flush=True); time.sleep(300)"
    watching = head.open(*METASEG_SUBMIT, "--", "python", "-c", script)
    lines = read_until(watching, "under way")
    watching.send_signal(signal.SIGINT)
    output, _ = watching.communicate(timeout=30)
    assert watching.returncode == 130, output
    job = lines.split()[0]
    assert f"{job} goes on" in output
    assert "Traceback" not in output
    status = head.call("ray", "job", "status", job)
    assert "RUNNING" in status.stdout
    follow, stop = re.findall(r"`(.*?)`", output)
    again = head.open("bash", "-c", f"unset RAY_AUTH_MODE; {follow}")
    read_until(again, "under way")
    assert head.call("bash", "-c", f"unset RAY_AUTH_MODE; {stop}").returncode == 0
    again.communicate(timeout=30)

    stopped = head.open(*METASEG_SUBMIT, "--", "python", "-c", script)
    job = read_until(stopped, "under way").split()[0]
    head.call("ray", "job", "stop", job)
    output, _ = stopped.communicate(timeout=60)
    assert stopped.returncode == 143, output
    assert f"{job} stopped" in output


def test_submit_needs_no_waiting(head):
    job = head.call(*METASEG_SUBMIT, "--no-wait", "--", "python", "-c", "import time; time.sleep(300)")
    assert job.returncode == 0, job.stdout + job.stderr
    name = job.stdout.split()[0]
    assert head.call("ray", "job", "status", name).stdout.count("failed") == 0
    head.call("ray", "job", "stop", "--no-wait", name)


def test_submit_says_that_there_is_no_cluster(head):
    job = head.call(*METASEG_SUBMIT, "--address", "127.0.0.1:9", "--", "true")
    assert job.returncode != 0
    assert job.stderr.startswith("error: no Ray cluster answers at http://127.0.0.1:9"), job.stderr
    assert job.stderr.count("\n") == 1


def test_submit_explains_a_head_without_job_agent(head):
    """A head whose agent found its port taken answers so; here it is played."""

    class NoAgent(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(200, '{"ray_version": "2.60.0"}')

        def do_POST(self) -> None:
            self.answer(500, "No available agent to submit job, please try again later.")

        def answer(self, code: int, text: str) -> None:
            self.send_response(code)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), NoAgent)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        job = head.call(*METASEG_SUBMIT, "--address", f"http://127.0.0.1:{server.server_port}", "--", "true")
    finally:
        server.shutdown()
    assert job.returncode != 0
    assert "--dashboard-agent-listen-port=PORT" in job.stderr, job.stderr
