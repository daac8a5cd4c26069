"""A real cluster of one node for tests: `ray start --head`, with ports, a home and temporary files of its own."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from checkout import ROOT

RAY = Path(sys.executable).parent / "ray"

SMALL = [
    "--arms", "baseline", "sme", "--seeds", "2", "--epochs", "4", "--width", "4", "--crop", "64",
    "--synthetic.wells-per-line", "6", "--synthetic.images-per-line", "6", "--synthetic.size", "64",
]  # fmt: skip
"""Options of `studies/seven_cells.py`: four runs of about a second."""


@dataclass(frozen=True)
class Head:
    """A started head node."""

    environment: dict[str, str]
    """Environment of its client processes."""
    address: str
    """Address of its GCS, HOST:PORT, to which other nodes and drivers connect."""
    dashboard: str
    """URL, for jobs."""
    home: Path
    """Holds .ray/auth_token."""
    session: Path
    """Ray's folder with this session's logs."""

    @property
    def token(self) -> str:
        return (self.home / ".ray" / "auth_token").read_text().strip()

    def call(self, *command: str, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command as a client of the cluster."""
        return subprocess.run(
            command, cwd=cwd, env={**self.environment, **variables}, capture_output=True, text=True, timeout=400
        )

    def request(self, path: str, bearer: str | None, body: bytes | None = None) -> urllib.request.Request:
        """For the dashboard, with a token or without."""
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {bearer}"} if bearer else {})}
        return urllib.request.Request(self.dashboard + path, body, headers)

    def open(self, *command: str, **variables: str) -> subprocess.Popen[str]:
        """Start a command as a client of the cluster; both its outputs come as one."""
        environment = {**self.environment, **variables}
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, from where neither the system nor Ray's workers take theirs."""
    ports: list[int] = []
    for port in random.SystemRandom().sample(range(20000, 32000), 1000):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("", port))
            ports.append(port)
        if len(ports) == count:
            return ports
    raise AssertionError(f"fewer than {count} ports are free")


@contextlib.contextmanager
def started_head(home: Path, *arguments: str, cwd: Path = ROOT) -> Iterator[Head]:
    """Start a head node of two CPUs as the documentation does, with a token; its processes end with the context.

    Args:
        home: folder that takes the place of the user's home.
        arguments: more of them for `ray start`.
        cwd: where `ray start` is typed.
    """
    # Sockets lie in the folder, whose paths must be short; and an address noted in /tmp/ray would be found by others.
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    (folder / "ray").mkdir()
    gcs, dashboard, agent, client = free_ports(4)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        "HOME": str(home),
        "RAY_TMPDIR": str(folder),
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
        "PATH": f"{RAY.parent}{os.pathsep}{os.environ['PATH']}",
    }
    command = [
        str(RAY), "start", "--head", "--block", "--num-cpus=2", f"--port={gcs}", f"--dashboard-port={dashboard}",
        f"--dashboard-agent-listen-port={agent}", f"--ray-client-server-port={client}", *arguments,
    ]  # fmt: skip
    generate = [str(RAY), "get-auth-token", "--generate"]
    subprocess.run(generate, env=environment, check=True, capture_output=True, umask=0o077)
    log = folder / "head.log"
    with log.open("w") as output:
        node = subprocess.Popen(command, cwd=cwd, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 120
        while "Ray runtime started" not in log.read_text():
            assert node.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        session = (folder / "ray" / "session_latest").resolve()
        address = (folder / "ray" / "ray_current_cluster").read_text().strip()
        yield Head(environment, address, environment["RAY_API_SERVER_ADDRESS"], home, session)
    finally:
        node.send_signal(signal.SIGTERM)
        try:
            node.wait(timeout=60)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
