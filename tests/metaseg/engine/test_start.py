"""Finding and starting Ray: dead addresses are reported at once, and a Ray started here is closed to others."""

import io
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import ray
from rich.console import Console

from metaseg.cli.early_ray import starting_ray
from metaseg.config import ConfigError
from metaseg.engine import ray_address as module
from metaseg.engine import session as session_module
from metaseg.engine import watch
from metaseg.engine.ray_address import address, answers
from metaseg.engine.session import session
from metaseg.engine.token import keep_token_private
from metaseg.store.claims import Claimant
from metaseg.store.folder import FolderStorage


@contextmanager
def stranger() -> Iterator[str]:
    """HOST:PORT of a service that takes connections and says nothing."""
    with socket.socket() as service:
        service.bind(("127.0.0.1", 0))
        service.listen()
        yield f"127.0.0.1:{service.getsockname()[1]}"


@pytest.fixture
def noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ray's note of a cluster on this machine, not yet written."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.3)
    (tmp_path / "ray").mkdir()
    return tmp_path / "ray" / "ray_current_cluster"


@pytest.mark.parametrize(
    "note", [b"garbage", b"\xff\xfe", b"127.0.0.1:notaport", b"127.0.0.1:1", b"a b:1", b"x:999999"]
)
def test_a_note_that_names_no_cluster_is_passed_over(noted, note):
    noted.write_bytes(note)
    assert address() == "local"


def test_a_note_whose_port_another_service_has_is_passed_over(noted, monkeypatch):
    with stranger() as where:
        noted.write_text(where)
        assert address() == "local"
        monkeypatch.setenv("RAY_ADDRESS", where)
        with pytest.raises(ConfigError, match=r"no Ray cluster answers at .*RAY_ADDRESS"):
            address()


def test_a_living_clusters_note_is_followed(local_ray, noted, monkeypatch):
    where = ray.get_runtime_context().gcs_address
    monkeypatch.setattr(module, "ANSWER_SECONDS", 10.0)
    noted.write_text(where)
    assert address() is None
    monkeypatch.setenv("RAY_ADDRESS", where)
    assert address() is None
    assert answers(where)


def test_without_a_note_ray_looks_for_itself(noted):
    assert address() is None


def test_a_dead_address_is_told_in_seconds(noted, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    began = time.monotonic()
    with pytest.raises(ConfigError, match="unset RAY_ADDRESS"):
        address()
    assert time.monotonic() - began < 10


def test_a_temporary_folder_with_a_long_path_is_refused_with_what_to_set(monkeypatch, tmp_path):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path / ("long" * 20)))
    with pytest.raises(ConfigError, match="set RAY_TMPDIR"):
        session_module.require_ground()


def test_a_full_temporary_folder_is_refused(monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    monkeypatch.setattr(session_module, "FREE_BYTES", 1 << 60)
    with pytest.raises(OSError, match="MiB free; expected at least"):
        session_module.require_ground()
    monkeypatch.setenv("RAY_TMPDIR", "/proc/none")
    with pytest.raises(OSError, match=r"can't be started in /proc/none.*set RAY_TMPDIR"):
        session_module.require_ground()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder without a token."""
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_token_that_is_made_is_for_its_owner_alone(home):
    before = os.umask(0o022)
    try:
        keep_token_private(create=True)
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
    assert (mode(home / ".ray"), mode(home / ".ray" / "auth_token")) == (0o700, 0o600)
    assert len((home / ".ray" / "auth_token").read_text()) == 64


def test_a_token_that_others_can_read_is_closed_and_kept(home, monkeypatch):
    (home / ".ray").mkdir(mode=0o755)
    for path in (home / ".ray" / "auth_token", home / "elsewhere"):
        path.write_text("secret")
        path.chmod(0o644)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "elsewhere"))
    keep_token_private(create=False)
    for path in (home / ".ray" / "auth_token", home / "elsewhere"):
        assert (mode(path), path.read_text()) == (0o600, "secret")
    assert mode(home / ".ray") == 0o700


def test_no_token_is_made_where_none_is_wanted(home, monkeypatch):
    keep_token_private(create=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    keep_token_private(create=True)
    assert not (home / ".ray").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_another_user_cant_read_the_token(home, monkeypatch):
    home = Path(tempfile.mkdtemp())  # pytest's own folders are closed to others
    home.chmod(0o755)
    monkeypatch.setenv("HOME", str(home))
    (home / ".ray").mkdir(mode=0o755)
    token = home / ".ray" / "auth_token"
    token.write_text("secret")
    token.chmod(0o644)
    read = f"import os; os.setgid(65534); os.setuid(65534); print(open({str(token)!r}).read())"
    assert subprocess.run([sys.executable, "-c", read], capture_output=True, text=True).stdout.strip() == "secret"
    keep_token_private(create=True)
    after = subprocess.run([sys.executable, "-c", read], capture_output=True, text=True)
    shutil.rmtree(home)
    assert "PermissionError" in after.stderr


def test_a_driver_whose_head_is_lost_says_so_and_leaves_no_claim(local_ray, tmp_path, monkeypatch):
    ends: list[int] = []
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(watch, "answers", lambda head: False)
    monkeypatch.setattr(watch.os, "_exit", ends.append)
    storage, console = FolderStorage(tmp_path), Console(file=io.StringIO(), width=300)
    claims = Claimant(storage)
    claims._write()
    assert claims.claim("run")
    with watch.watched(claims, console):
        deadline = time.monotonic() + 10
        while not ends and time.monotonic() < deadline:
            time.sleep(0.05)
    assert set(ends) == {1}
    assert "lost the Ray cluster at" in console.file.getvalue()
    assert "the same command again goes on" in console.file.getvalue()
    assert not list(storage.names("claims"))
    assert not list(storage.names("sessions"))


EARLY = """
import ray
from metaseg.engine.session import EarlyStart
early = EarlyStart()
print("begun" if early._made.result() and ray.is_initialized() else "not begun")
early.end()
print("left" if ray.is_initialized() else "ended")
"""


def test_a_connection_that_is_made_early_ends_if_no_session_takes_it():
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, "-c", EARLY], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.split() == ["begun", "ended"]


def test_a_connection_that_is_there_already_is_kept(local_ray):
    early = session_module.EarlyStart()
    with session():
        assert ray.is_initialized()
    early.end()
    session_module.EarlyStart().end()
    assert ray.is_initialized()


def test_what_an_early_start_raised_is_raised_by_the_session(monkeypatch):
    def refused() -> None:
        raise ConfigError("no Ray cluster answers")

    monkeypatch.setattr(session_module, "_connect", refused)
    monkeypatch.setattr(session_module.ray, "is_initialized", lambda: False)
    session_module.EarlyStart()
    with pytest.raises(ConfigError, match="answers"), session():
        pass


@pytest.mark.parametrize(("known", "storage", "started"), [(False, "", 1), (True, "", 0), (False, "s3://bucket", 0)])
def test_ray_starts_early_only_where_runs_are_missing_for_sure(tmp_path, monkeypatch, known, storage, started):
    begun = []

    class Start:
        def __init__(self) -> None:
            begun.append("begun")

        def end(self) -> None:
            begun.append("ended")

    monkeypatch.setattr(session_module, "EarlyStart", Start)
    if known:
        (tmp_path / "studies").mkdir()
        (tmp_path / "studies" / "cells.json").write_text("{}")
    with starting_ray("cells", storage or str(tmp_path)):
        assert begun == ["begun"] * started
    assert begun == ["begun", "ended"] * started
