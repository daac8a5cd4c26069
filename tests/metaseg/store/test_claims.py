"""Claims: a run has one driver at a time, and a dead driver's runs are taken over, whatever the clocks say."""

import json
import multiprocessing
import subprocess
import sys
import time
from pathlib import Path

import pytest

from checkout import ROOT
from metaseg.store import claims as module
from metaseg.store.claims import Claimant, tidy
from metaseg.store.folder import FolderStorage


@pytest.fixture
def storage(tmp_path) -> FolderStorage:
    return FolderStorage(tmp_path)


def claim_all(folder: Path, barrier, results) -> None:
    with Claimant(FolderStorage(folder)) as claimant:
        barrier.wait()
        results.put([run for run in map(str, range(30)) if claimant.claim(run)])
        barrier.wait()


def test_of_several_processes_exactly_one_gets_each_run(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(3), context.Queue()
    processes = [context.Process(target=claim_all, args=(tmp_path, barrier, results)) for _ in range(3)]
    for process in processes:
        process.start()
    won = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert sorted(run for runs in won for run in runs) == sorted(map(str, range(30)))


def test_a_run_that_is_given_back_can_be_claimed_again(storage):
    with Claimant(storage) as one, Claimant(storage) as other:
        assert one.claim("a")
        assert not other.claim("a")
        assert other.claim("b")
        assert one.taken() == other.taken() == {"a", "b"}
        one.release("a")
        assert other.taken() == {"b"}
        assert other.claim("a")
    assert storage.names("sessions") == []


def test_what_a_session_leaves_claimed_is_free_at_once(storage):
    with Claimant(storage) as one:
        assert one.claim("a")
    with Claimant(storage) as other:
        assert other.taken() == set()
        assert other.claim("a")


KILLED = """
import os, sys
from pathlib import Path
from metaseg.store.claims import Claimant, tidy
from metaseg.store.folder import FolderStorage
with Claimant(FolderStorage(Path(sys.argv[1]))) as claimant:
    assert claimant.claim("a")
    os.kill(os.getpid(), 9)
"""


def test_a_driver_killed_on_this_machine_is_found_dead_at_once(storage, tmp_path):
    for _ in range(3):  # and so is one that had taken over from another
        assert subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)]).returncode == -9
    assert storage.names("claims") == ["a.1", "a.2", "a.3"]
    with Claimant(storage) as claimant, Claimant(storage) as other:
        assert claimant.claim("a")
        assert not other.claim("a")
        claimant.release("a")
    assert storage.names("claims") == []


@pytest.fixture
def two_machines(monkeypatch):
    """No claimant is on the machine of another."""
    names = iter(range(1000))
    monkeypatch.setattr(module, "machine", lambda: f"machine {next(names)}")


@pytest.mark.parametrize("skew", [-86400.0, 0.0, 86400.0])
def test_a_driver_on_another_machine_is_dead_after_a_lease_without_a_beat(storage, monkeypatch, two_machines, skew):
    """It doesn't matter whether that machine's clock is a day ahead or behind."""
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(module, "LEASE_SECONDS", 0.5)
    true_time = time.time
    monkeypatch.setattr(module.time, "time", lambda: true_time() + skew)
    with Claimant(storage) as living, Claimant(storage) as observer:
        assert living.claim("a")
        monkeypatch.setattr(module.time, "time", true_time)
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            assert not observer.claim("a")
            time.sleep(0.05)
        living._stop.set()  # its machine has lost power
        living._thread.join()
        assert not observer.claim("a"), "not before the lease is over"
        time.sleep(0.7)
        assert observer.claim("a")
        assert observer.taken() == {"a"}


def test_a_store_that_doesnt_answer_for_a_while_doesnt_end_the_beats(storage, monkeypatch):
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.02)

    def beat() -> int:
        return int(json.loads(storage.read(f"sessions/{claimant.id}.json"))["beat"])

    with Claimant(storage) as claimant:
        write = FolderStorage._write
        monkeypatch.setattr(FolderStorage, "_write", lambda *arguments: (_ for _ in ()).throw(OSError(116, "stale")))
        time.sleep(0.2)
        monkeypatch.setattr(FolderStorage, "_write", write)
        before = beat()
        time.sleep(0.3)
        assert beat() > before


def test_what_killed_drivers_left_is_tidied_up_and_nothing_else(storage, tmp_path):
    script = "import os, sys\nfrom pathlib import Path\n"
    script += "from metaseg.store.claims import Claimant\nfrom metaseg.store.folder import FolderStorage\n"
    script += "claimant = Claimant(FolderStorage(Path(sys.argv[1]))).__enter__()\n"
    script += "claimant.claim('done'), claimant.claim('interrupted'), os._exit(9)"
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT)
    with Claimant(storage) as living:
        living.claim("running")
        assert len(storage.names("sessions")) == 2
        tidy(storage, {"done"})
        assert storage.names("claims") == ["interrupted.1", "running.1"]
        assert storage.names("sessions") == [f"{living.id}.json"]
        assert living.claim("interrupted")
