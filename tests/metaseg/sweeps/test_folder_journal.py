"""A sweep's journal in a folder: what a power failure left is cut off, and what isn't a journal is named."""

import errno
import os

import pytest

from metaseg.config import ConfigError
from metaseg.sweeps.continuation import open_sweep
from metaseg.sweeps.journal import mend_journal
from metaseg.sweeps.status import sweep_statuses
from small_sweep import ask_and_tell, closed_form


def test_a_line_that_a_power_failure_left_unfinished_is_cut_off(sweep, store):
    study = open_sweep(sweep, store, [])
    ask_and_tell(sweep, study, closed_form)
    journal = store.storage.path("sweeps/page.sme/journal.log")
    with journal.open("ab") as file:
        file.write(b'{"op_code":4,"worker_id":"x')
    ask_and_tell(sweep, open_sweep(sweep, store, []), closed_form)
    assert len(open_sweep(sweep, store, []).trials) == 2


@pytest.mark.parametrize("tail", [b"\0" * 40, b"\0" * 40 + b"\n", b"garbage\n", b"[1]\nx\n", b"\xff\xfe\n"])
def test_last_lines_that_are_none_are_cut_off(sweep, store, tail):
    ask_and_tell(sweep, open_sweep(sweep, store, []), closed_form)
    journal = store.storage.path("sweeps/page.sme/journal.log")
    whole = journal.read_bytes()
    journal.write_bytes(whole + tail)
    mend_journal(store.storage, sweep.name)
    assert journal.read_bytes() == whole
    ask_and_tell(sweep, open_sweep(sweep, store, []), closed_form)
    assert len(open_sweep(sweep, store, []).trials) == 2


@pytest.mark.parametrize(
    "line",
    [b"garbage", b"{}", b'{"op_code": 99, "worker_id": "x"}', b"[1]", b"[" * 10_000, b"\xff\xfe", b'{"op_code": 4}'],
)
def test_a_journal_that_is_none_in_its_midst_is_named(sweep, store, line):
    ask_and_tell(sweep, open_sweep(sweep, store, []), closed_form)
    journal = store.storage.path("sweeps/page.sme/journal.log")
    lines = journal.read_bytes().splitlines()
    journal.write_bytes(b"\n".join([lines[0], line, *lines[1:], b""]))
    with pytest.raises(ConfigError, match=r"page.sme/journal.log: not a sweep's journal \(.*\); restore it, or"):
        open_sweep(sweep, store, [])
    unreadable: list[str] = []
    assert not list(sweep_statuses(store, unreadable))
    assert unreadable == [store.storage.locate("sweeps/page.sme")]


def test_on_a_disk_without_links_a_sweep_goes_on_as_on_others(sweep, store, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    for name in ("link", "symlink"):
        monkeypatch.setattr(os, name, refuse)
    for trials in (1, 2):
        ask_and_tell(sweep, open_sweep(sweep, store, []), closed_form)
        assert len(open_sweep(sweep, store, []).trials) == trials
    assert sorted(os.listdir(store.storage.path("sweeps/page.sme"))) == ["journal.log", "sweep.json"]
