"""Files in a store that others have left there: they are named or passed over, and stop nobody."""

import errno
import io
import json
import os
from pathlib import Path

import pytest
from rich.console import Console

from analysis.__main__ import main
from fake_store import image_rows, write_study
from metaseg.cli.status import print_status
from metaseg.config import ConfigError
from metaseg.store import claims as module
from metaseg.store.claims import Claimant, tidy
from metaseg.store.folder import FolderStorage
from metaseg.store.runs import Store
from metaseg.sweeps.continuation import load_record

GARBAGE = {
    "half": b'{"half',
    "empty": b"",
    "binary": bytes(range(256)),
    "a list": b"[1, 2]",
    "a number": b"7",
    "nested deep": b"[" * 100_000,
    "other types": b'{"machine": 1, "pid": "x", "started": {}, "session": 5, "status": 3, "runs": 4, "beat": []}',
    "wrong session": b'{"session": "../../etc/passwd"}',
}
NAMES = ["evil.json", "desktop.ini", "r1.1 (conflicted copy)", "r1.json.tmp", "r1", "r1.x", "r1.0", "~lock.r1.1#"]


@pytest.fixture(params=GARBAGE)
def garbage(request: pytest.FixtureRequest) -> bytes:
    return GARBAGE[request.param]


@pytest.fixture
def storage(tmp_path: Path, garbage: bytes) -> FolderStorage:
    storage = FolderStorage(tmp_path)
    for folder in ("claims", "sessions", "studies", "failures", "checkpoints", "runs"):
        (tmp_path / folder / "a folder").mkdir(parents=True)
        for name in NAMES:
            (tmp_path / folder / name).write_bytes(garbage)
    return storage


def test_claims_are_made_given_back_and_tidied_among_foreign_files(storage: FolderStorage) -> None:
    with Claimant(storage) as one, Claimant(storage) as other:
        assert one.claim("r1")
        assert not other.claim("r1")
        assert other.taken() == {"r1"}
        one.release("r1")
        assert other.claim("r1")
    found = tidy(storage, {"r1"})
    assert set(found) == {f"{folder}/{name}" for folder in ("claims", "sessions") for name in [*NAMES, "a folder"]}
    Store(storage).remove_leftovers()
    assert set(NAMES) <= set(storage.names("claims")) & set(storage.names("sessions")), "nobody's files are removed"


def test_a_claim_that_cant_be_read_holds_for_a_lease_and_no_longer(
    storage: FolderStorage, garbage: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.write("claims/r1.1", garbage)
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with Claimant(storage) as claimant:
        assert not claimant.claim("r1")
        now[0] += module.LEASE_SECONDS + 1
        assert claimant.claim("r1")


def test_a_heartbeat_that_cant_be_read_is_dead_after_a_lease(
    storage: FolderStorage, garbage: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.write("claims/r1.1", b'{"session": "s"}')
    storage.write("sessions/s.json", garbage)
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with Claimant(storage) as claimant:
        assert claimant.taken() == {"r1"}
        now[0] += module.LEASE_SECONDS + 1
        assert claimant.claim("r1")


@pytest.mark.parametrize("place", ["claims/r1.1", "sessions/s.json"])
@pytest.mark.parametrize("kind", ["folder", "link out", "broken link"])
def test_what_is_no_file_holds_for_a_lease_and_stays(
    tmp_path: Path, place: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = FolderStorage(tmp_path / "store")
    (tmp_path / "outside").write_text("secret")
    path = tmp_path / "store" / place
    path.parent.mkdir(parents=True)
    if kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "outside" if kind == "link out" else "gone")
    if place.startswith("sessions"):
        storage.write("claims/r1.1", b'{"session": "s"}')
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with Claimant(storage) as claimant:
        if not claimant.claim("r1"):
            now[0] += module.LEASE_SECONDS + 1
            assert claimant.claim("r1")
        assert claimant.taken() == {"r1"}
        claimant.release("r1")
        tidy(storage, {"r1"})
    assert (tmp_path / "outside").read_text() == "secret"


@pytest.mark.parametrize("session", ["a\0b", "x" * 1000, "\ud800", "..", "a/b"])
def test_a_claim_that_names_no_session_holds_for_a_lease(
    tmp_path: Path, session: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = FolderStorage(tmp_path)
    storage.write("claims/r1.1", json.dumps({"session": session}).encode())
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with Claimant(storage) as own:
        assert not own.claim("r1")
        now[0] += module.LEASE_SECONDS + 1
        assert own.claim("r1")


@pytest.mark.parametrize("folder", ["claims", "sessions"])
def test_a_file_in_the_place_of_a_folder_is_one_error(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).write_bytes(b"")
    error = pytest.raises(NotADirectoryError, match="is a file; expected a folder")
    with error, Claimant(FolderStorage(tmp_path)) as s:
        s.claim("r1")


def test_a_claim_of_which_a_death_without_hard_links_left_half_is_taken_over_after_a_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no hard links here")))
    storage, now = FolderStorage(tmp_path), [0.0]
    storage.write("claims/r1.1", b'{"sess')
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with Claimant(storage) as one, Claimant(storage) as other:
        assert not one.claim("r1")
        assert not other.claim("r1")
        now[0] += module.LEASE_SECONDS + 1
        assert one.claim("r1")
        assert not other.claim("r1")


TIMES = ["1e999", "NaN", "-1e999", "9" * 400, "1e30", str(4e9), '"soon"', "null", "true"]


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("running", ["3", "[3]", '[{"label": [1], "state": {}}]', '{"a": 1}', "null"])
def test_status_takes_drivers_of_any_clock_and_kind(tmp_path: Path, time: str, running: str) -> None:
    storage, out = FolderStorage(tmp_path), io.StringIO()
    Store(storage).write_study("mine", {"name": "mine", "runs": [], "command": ""})
    status = f'{{"study": "mine", "running": {running}, "time_left": 5}}'
    storage.write("sessions/s.json", f'{{"host": "h", "pid": 1, "time": {time}, "status": {status}}}'.encode())
    print_status(Store(storage), Console(file=out, width=300))
    assert "mine" in out.getvalue()


def test_foreign_files_among_checkpoints_neither_count_nor_stop_a_run(storage: FolderStorage, garbage: bytes) -> None:
    store = Store(storage)
    (storage.root / "checkpoints" / "r9" / "000009-00000000").mkdir(parents=True)
    for name in ("zzz", "000002-00000000 (conflicted copy)"):
        storage.write(f"checkpoints/r9/{name}", garbage)
    for position in ("000001-00000000", "000002-00000000"):
        store.save_checkpoint("r9", position, position.encode())
    assert [content for _, content in store.checkpoints("r9")] == [b"000002-00000000"]


def test_status_tells_of_studies_and_names_what_it_cant_read(storage: FolderStorage) -> None:
    runs = [{"run_id": "r1", "arm": "sme", "seed": 0}]
    Store(storage).write_study("mine", {"name": "mine", "runs": runs, "command": ""})
    storage.write("sweeps/odd/sweep.json", b'{"half')
    out = io.StringIO()
    print_status(Store(storage), Console(file=out, width=300))
    told = out.getvalue()
    assert "mine" in told
    assert f"unreadable: {storage.locate('studies/evil.json')}" in told
    assert f"unreadable: {storage.locate('sweeps/odd')}" in told


def test_a_sweeps_record_that_is_none_is_named(tmp_path: Path, garbage: bytes) -> None:
    storage = FolderStorage(tmp_path)
    storage.write("sweeps/odd/sweep.json", garbage)
    with pytest.raises(ConfigError, match=r"sweeps/odd/sweep.json: not a sweep's record"):
        load_record(Store(storage), "odd")


def test_what_is_done_is_a_matter_of_done_files_alone(storage: FolderStorage) -> None:
    store = Store(storage)
    assert store.done() == set()
    store.commit_run("r2", {"config.json": json.dumps({}).encode()})
    assert store.done() == {"r2"}


def test_a_study_that_is_done_names_others_files_and_ends_well(storage: FolderStorage) -> None:
    from metaseg.engine.study import remove_leftovers

    out = io.StringIO()
    remove_leftovers(Store(storage), Console(file=out, width=300))
    assert out.getvalue().startswith(f"warning: files of others are skipped: {storage.locate('claims/a folder')}, ")
    assert out.getvalue().endswith(" more\n")


def test_all_studies_that_can_be_read_are_reported_on_and_the_others_files_named(tmp_path: Path, capsys) -> None:
    write_study(tmp_path, lambda arm, seed: image_rows([0.5 + 0.1 * seed, 0.6, 0.7]), name="mine")
    for number, content in enumerate(GARBAGE.values()):
        (tmp_path / "studies" / f"evil{number}.json").write_bytes(content)
    (tmp_path / "studies" / "folder.json").mkdir()
    assert main(["report", str(tmp_path)]) == 0
    told = capsys.readouterr().err
    assert told.count("warning: ") >= len(GARBAGE) + 1
    assert all(str(tmp_path / "studies" / f"evil{number}.json") in told for number in range(len(GARBAGE)))
    assert (tmp_path / "reports" / "mine" / "report.html").exists()
    assert main(["collect", str(tmp_path), str(tmp_path / "out")]) == 0
    assert main(["report", str(tmp_path), "--study", "evil0"]) == 1
    (tmp_path / "studies" / "mine.json").unlink()
    assert main(["report", str(tmp_path)]) == 1
    assert main(["sweep", str(tmp_path)]) == 1


def test_a_pipe_is_nobodys_file_and_isnt_waited_for(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    for folder in ("studies", "sessions", "claims"):
        (tmp_path / folder).mkdir()
        os.mkfifo(tmp_path / folder / "f.json")
        assert storage.read_or_none(f"{folder}/f.json") is None
