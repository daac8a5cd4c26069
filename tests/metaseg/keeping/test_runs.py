"""`metaseg runs`: a row for each run, with what its files say."""

import csv
import io
import json
import re
from pathlib import Path

import pandas as pd
import pytest

from fake_store import copy_up, run_id
from kept_store import kept_store, unnamed_run
from metaseg.keeping.catalogue import COLUMNS, catalogue, sorted_rows
from metaseg.keeping.condition import parse_condition
from metaseg.store.runs import Store
from metaseg.store.storage import open_storage
from typed_command import typed


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return kept_store(tmp_path, ("cells", "other"))


def test_scores_are_those_of_the_runs_own_tables(store):
    for row in catalogue(store):
        images = pd.read_parquet(Path(store.where) / "runs" / row["run"] / "images.parquet")
        f1 = 2 * images.tp / (2 * images.tp + images.fp + images.fn)
        assert row["test_f1"] == pytest.approx(f1.mean(), abs=1e-12)
        epochs = pd.read_parquet(Path(store.where) / "runs" / row["run"] / "history.parquet")
        assert row["val_f1"] == pytest.approx(epochs.val_f1.max())


def test_each_run_is_there_once_with_all_studies_that_name_it(store):
    record = json.loads(store.storage.read("studies/cells.json"))
    store.write_study("again", record | {"name": "again"})
    lone = unnamed_run(store, "nobody's", files={"config.json": b"{}"})
    rows = catalogue(store, columns=["run"])
    assert len({row["run"] for row in rows}) == len(rows) == 9
    found = {row["run"]: row["studies"] for row in rows}
    assert found[run_id("sme", 1)] == ("again", "cells")
    assert found[run_id("other sme", 0)] == ("other",)
    assert found[lone] == ()
    assert [row["run"] for row in catalogue(store, "other", columns=[])] == [
        run_id(f"other {arm}", seed) for seed in (0, 1) for arm in ("baseline", "sme")
    ]


def test_states_are_what_the_store_knows(store):
    record = json.loads(store.storage.read("studies/cells.json"))
    more = {name: f"{number:016x}" for number, name in enumerate(("waiting", "failed", "running", "dead"), 1)}
    runs = [{"run_id": run, "arm": name, "seed": 7} for name, run in more.items()]
    store.write_study("cells", record | {"runs": [*record["runs"], *runs]})
    store.record_failure(more["failed"], "out of luck", "")
    for name, session in (("running", "alive"), ("dead", "gone")):
        store.storage.write(f"claims/{more[name]}.1", json.dumps({"session": session}).encode())
    heartbeat = {"machine": "another", "pid": 1, "started": "1", "host": "h", "time": 0, "status": {}}
    store.storage.write("sessions/alive.json", json.dumps(heartbeat).encode())
    (Path(store.where) / "runs" / run_id("sme", 0) / "images.parquet").write_bytes(b"damaged")
    told: list[str] = []
    rows = {row["arm"]: row for row in catalogue(store, "cells", warn=told.append) if row["seed"] == 7}
    assert {arm: row["state"] for arm, row in rows.items()} == {
        "waiting": "waiting", "failed": "failed", "running": "running", "dead": "waiting",
    }  # fmt: skip
    assert {row["state"] for row in catalogue(store, "cells") if row["run"] == run_id("sme", 0)} == {"damaged"}
    assert len(told) == 1
    assert "images.parquet: corrupt" in told[0]
    store.storage.write("studies/half.json", b'{"runs": [')
    catalogue(store, warn=told.append, columns=[])
    assert "half.json: not a study's record" in told[-1]


def test_where_and_sort_pick_and_order_rows(store):
    condition, _ = parse_condition("arm == 'sme' and seed < 1 or 'other' in studies and seed == 1", COLUMNS)
    rows = sorted_rows(catalogue(store, condition=condition), "test_f1", descending=True)
    assert {(row["studies"][0], row["arm"], row["seed"]) for row in rows} == {
        ("cells", "sme", 0), ("other", "sme", 0), ("other", "sme", 1), ("other", "baseline", 1),
    }  # fmt: skip
    scores = [row["test_f1"] for row in rows]
    assert scores == sorted(scores, reverse=True)
    missing = [{"seed": None}, {"seed": 2}, {"seed": 1}]
    assert [row["seed"] for row in sorted_rows(missing, "seed")] == [1, 2, None]
    assert [row["seed"] for row in sorted_rows(missing, "seed", descending=True)] == [2, 1, None]


def test_the_same_rows_in_each_format(store, capsys, monkeypatch):
    code, text, _ = typed(capsys, monkeypatch, "runs", store.where, "--where", "seed == 1", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert code == 0
    assert list(rows[0]) == list(COLUMNS)
    _, text, _ = typed(capsys, monkeypatch, "runs", store.where, "--where", "seed == 1", "--format", "json")
    objects = json.loads(text)
    assert [each["run"] for each in objects] == [row["run"] for row in rows]
    assert [f"{each['test_f1']}" for each in objects] == [row["test_f1"] for row in rows]
    assert objects[0]["machine"] == "secret-host-77"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", objects[0]["finished"])
    _, text, _ = typed(
        capsys, monkeypatch, "runs", store.where, "--where", "seed == 1", "--columns", "arm", "run", "test_f1"
    )
    head, *lines, count = text.splitlines()
    assert head.split() == ["arm", "run", "test_f1"]
    assert [line.split()[1] for line in lines] == [row["run"] for row in rows]
    assert count == "4 runs"


def test_a_bucket_lists_the_same_runs(store, tmp_path):
    bucket = Store(open_storage(f"memory://kept/{tmp_path.name}"))
    copy_up(Path(store.where), bucket.storage)
    same = [name for name in COLUMNS if name != "finished"]
    ours, theirs = ([[row[name] for name in same] for row in catalogue(each)] for each in (store, bucket))
    assert ours == theirs
    assert all(row["finished"] for row in catalogue(bucket))


def test_names_are_shown_and_neither_obeyed_nor_calculated(store, capsys, monkeypatch):
    record = json.loads(store.storage.read("studies/cells.json"))
    runs = [run | {"arm": "=1+1\x1b[31m"} for run in record["runs"]]
    store.write_study("cells", record | {"runs": runs})
    _, text, _ = typed(capsys, monkeypatch, "runs", store.where)
    assert "\x1b[31m" not in text
    assert "=1+1\\x1b[31m" in text
    _, text, _ = typed(capsys, monkeypatch, "runs", store.where, "--study", "cells", "--format", "csv")
    assert "'=1+1" in text


def test_misuse_is_one_line(store, tmp_path, capsys, monkeypatch):
    for arguments, message in [
        ([store.where, "--where", "arm == sme"], "unknown column 'sme'; known: run, state"),
        ([store.where, "--columns", "f1"], "unknown column 'f1'; known: run"),
        ([store.where, "--sort", "F1"], "unknown column 'F1'"),
        ([store.where, "--study", "none"], "unknown study 'none' in"),
        ([str(tmp_path / "nowhere")], "has no run and no study"),
    ]:
        code, _, err = typed(capsys, monkeypatch, "runs", *arguments)
        assert code == 2
        assert message in err
        assert err.count("\n") == 1
