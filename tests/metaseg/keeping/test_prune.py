"""Pruning removes what nothing names, and never anything else: reports before and after are the same bytes."""

import io
import json
import random
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pandas as pd
import pytest

from analysis.report.study import report
from analysis.results.merge import collect
from fake_store import copy_up, run_id
from kept_store import contents, kept_store, make_older, table_bytes, unnamed_run
from metaseg.config import ConfigError
from metaseg.keeping.pruning import plan_pruning, prune
from metaseg.store.claims import Claimant
from metaseg.store.runs import Store
from metaseg.store.storage import open_storage
from typed_command import typed


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return kept_store(tmp_path)


def folders(store: Store, **options: float) -> set[str]:
    return {found.folder for found in plan_pruning(store, **options).removable}


def removed(store: Store) -> set[str]:
    return {found.folder for found in prune(store, plan_pruning(store))}


def tables(store: Store, study: str) -> dict[str, bytes]:
    """The report's files, made anew."""
    with redirect_stdout(io.StringIO()):
        report(store.storage, study)
    folder = f"reports/{study}"
    return {name: store.storage.read(f"{folder}/{name}") for name in store.storage.names(folder)}


def test_results_are_the_same_bytes_after_pruning(tmp_path):
    store = kept_store(tmp_path, ("cells", "other"))
    before = {study: results(store, study) for study in ("cells", "other")}
    lone = {f"runs/{unnamed_run(store, f'lone {number}')}" for number in range(3)}
    assert removed(store) == lone
    assert {study: results(store, study) for study in ("cells", "other")} == before
    assert min(map(len, before.values())) > 1


@pytest.mark.slow
def test_reports_are_the_same_bytes_after_pruning(tmp_path):
    store = kept_store(tmp_path, ("cells", "other"))
    before = {study: tables(store, study) for study in ("cells", "other")}
    lone = {f"runs/{unnamed_run(store, f'lone {number}')}" for number in range(3)}
    assert removed(store) == lone
    assert {study: tables(store, study) for study in ("cells", "other")} == before
    assert before["cells"].keys() >= {"tests.csv", "table.csv", "report.html"}


def results(store: Store, study: str) -> dict[str, bytes]:
    """The study's rows and their record, collected anew."""
    collect(store.storage, study)
    return {name: content for name, content in contents(store).items() if name.startswith(f"results/study={study}/")}


@pytest.mark.parametrize("seed", range(12))
def test_of_any_store_only_what_nothing_names_is_removed(tmp_path, seed):
    """Runs, trials and checkpoints, each named, claimed, young or not, by chance."""
    rng, store = random.Random(seed), kept_store(tmp_path)
    record, gone = json.loads(store.storage.read("studies/cells.json")), set()
    sweep = rng.random() < 0.5
    if sweep:
        store.storage.write("sweeps/tuned/sweep.json", b"{}")
    for number in range(12):
        kind = rng.choice(["runs", "trials"])
        origin = rng.choice([["tuned", number], ["deleted", number], None]) if kind == "trials" else None
        config = json.dumps({"origin": origin} if origin else {}).encode()
        run = unnamed_run(store, f"{seed} {number}", kind, {"config.json": config})
        protected = kind == "trials" and (origin is None or (sweep and origin[0] == "tuned"))
        match rng.choice(["named", "looked at", "tried", "claimed", "young", "nothing", "nothing"]):
            case "named":
                record["runs"].append({"run_id": run, "arm": "sme", "seed": 10 + number})
                protected = True
            case "looked at":
                store.storage.write(
                    "looks/cells.json", (store.storage.read_or_none("looks/cells.json") or b"") + run.encode()
                )
                protected = True
            case "tried" if sweep:
                name = rng.choice(["journal.log", "journal/00001.json", "trials.parquet"])
                content = f'{{"run_id": "{run}"}}\n'.encode()
                if name == "trials.parquet":
                    known = store.storage.read_or_none(f"sweeps/tuned/{name}")
                    earlier = pd.read_parquet(io.BytesIO(known)).run_id.tolist() if known else []
                    content = table_bytes(pd.DataFrame({"run_id": [*earlier, run]}))
                else:
                    content = (store.storage.read_or_none(f"sweeps/tuned/{name}") or b"") + content
                store.storage.write(f"sweeps/tuned/{name}", content)
                protected = True
            case "claimed":
                store.storage.write(f"claims/{run}.1", b"{}")
                protected = True
            case "young":
                make_older(Path(store.where) / kind / run, age=60)
                protected = True
        if not protected:
            gone.add(f"{kind}/{run}")
    store.write_study("cells", record)
    before = contents(store)
    assert removed(store) == gone
    after = contents(store)
    assert before.items() >= after.items()
    assert {"/".join(name.split("/")[:2]) for name in before.keys() - after.keys()} == gone
    assert removed(store) == set()


def test_nothing_changes_without_being_told_to(store, capsys, monkeypatch):
    run = unnamed_run(store, "lone")
    before = contents(store)
    code, out, _ = typed(capsys, monkeypatch, "prune", store.where)
    assert code == 0
    assert f"runs/{run}" in out
    assert "could be removed. Nothing was" in out
    assert contents(store) == before
    _, out, _ = typed(capsys, monkeypatch, "prune", store.where, "--delete")
    assert "Removed 1 of 1 (1 run)" in out
    assert not store.storage.files(f"runs/{run}")
    _, out, _ = typed(capsys, monkeypatch, "prune", store.where, "--delete")
    assert out == "Nothing to remove.\n"


def test_scores_and_failures_go_with_their_run(store):
    run = unnamed_run(store, "lone")
    for name in (f"scores/{run}.parquet", f"failures/{run}.json", f"scores/{run_id('sme', 0)}.parquet"):
        store.storage.write(name, b"{}")
    removed(store)
    assert store.storage.names("scores") == [f"{run_id('sme', 0)}.parquet"]
    assert store.storage.names("failures") == []


def test_leftovers_of_killed_runs_are_removed_once_they_are_old(store):
    done, lone, waiting = run_id("sme", 0), "1" * 16, "2" * 16
    record = json.loads(store.storage.read("studies/cells.json"))
    store.write_study("cells", record | {"runs": [*record["runs"], {"run_id": waiting, "arm": "sme", "seed": 5}]})
    written = [f"runs/.{lone}.{'a' * 32}/images.parquet", f"runs/{waiting}/config.json", f"checkpoints/{done}/1-2"]
    written += [f"checkpoints/{lone}/1-2", f"checkpoints/{waiting}/1-2", "runs/notes/mine.txt", "runs/.mine/x"]
    for name in written:
        store.storage.write(name, b"half")
    assert not folders(store)
    make_older(Path(store.where))
    expected = {f"runs/.{lone}.{'a' * 32}", f"runs/{waiting}", f"checkpoints/{done}", f"checkpoints/{lone}"}
    assert folders(store) == expected
    assert removed(store) == expected
    assert store.storage.exists(f"checkpoints/{waiting}/1-2")  # the study goes on from it
    assert store.storage.exists("runs/notes/mine.txt")
    assert store.storage.exists("runs/.mine/x")


def test_checkpoints_of_a_sweeps_trials_stay(store):
    store.storage.write("sweeps/tuned/sweep.json", b"{}")
    store.storage.write(f"checkpoints/{'3' * 16}/1-2", b"half")
    make_older(Path(store.where))
    assert not folders(store)


@pytest.mark.parametrize(("age", "hours", "gone"), [(3500, 1, False), (3700, 1, True), (60, 0, True), (-600, 1, False)])
def test_age_decides(store, age, hours, gone):
    run = unnamed_run(store, "lone")
    make_older(Path(store.where) / "runs" / run, age)
    assert folders(store, hours=hours) == ({f"runs/{run}"} if gone else set())


@pytest.mark.parametrize("damage", ["parquet", "link", "folder"])
def test_a_record_that_cant_be_read_keeps_everything(store, damage):
    unnamed_run(store, "lone")
    root = Path(store.where)
    (root / "sweeps" / "empty").mkdir(parents=True)
    if damage == "parquet":
        store.storage.write("sweeps/tuned/trials.parquet", b"PAR1 no more")
    elif damage == "link":
        (root / "studies" / "away.json").symlink_to("/etc/hostname")
    else:
        (root / "studies" / "locked").mkdir()
        (root / "studies" / "locked" / "x").symlink_to("/etc/hostname")
    before = contents(store)
    with pytest.raises(ConfigError, match="nothing was removed"):
        removed(store)
    assert contents(store) == before


def test_records_behind_a_link_within_the_store_name_runs(store):
    run, root = unnamed_run(store, "lone"), Path(store.where)
    (root / "kept" / "journal").mkdir(parents=True)
    (root / "kept" / "journal" / "1.json").write_text(f'{{"run_id": "{run}"}}')
    (root / "sweeps").mkdir()
    assert folders(store) == {f"runs/{run}"}
    (root / "sweeps" / "tuned").symlink_to(root / "kept")
    assert not folders(store)


@pytest.mark.parametrize("damage", [lambda record: record[: len(record) // 2], lambda record: b"{", lambda record: b""])
def test_a_damaged_study_stops_everything_since_it_may_have_named_more_runs(store, damage):
    unnamed_run(store, "lone")
    store.storage.write("studies/cells.json", damage(store.storage.read("studies/cells.json")))
    make_older(Path(store.where))
    with pytest.raises(ConfigError, match=r"studies/cells\.json can't be read, so that nobody knows which runs"):
        folders(store)


def test_a_store_without_any_study_is_left_alone(tmp_path):
    store = Store.at(tmp_path)
    unnamed_run(store, "lone")
    with pytest.raises(ConfigError, match="has no study and no sweep"):
        plan_pruning(store)


def test_what_is_named_or_claimed_after_the_plan_stays(store):
    lone = [unnamed_run(store, f"lone {number}") for number in range(3)]
    plan = plan_pruning(store)
    record = json.loads(store.storage.read("studies/cells.json"))
    store.write_study("late", record | {"name": "late", "runs": [{"run_id": lone[0], "arm": "sme", "seed": 0}]})
    claimant = Claimant(store.storage)
    with claimant:
        assert claimant.claim(lone[1])
        assert {found.run for found in prune(store, plan)} == {lone[2]}
    assert store.done() >= set(lone[:2])


def test_a_run_that_is_half_removed_is_no_run(store, monkeypatch):
    run = unnamed_run(store, "lone")

    def killed(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store.storage, "delete_folder", killed)
    with pytest.raises(KeyboardInterrupt):
        removed(store)
    monkeypatch.undo()
    assert run not in store.done()
    assert removed(store) == {f"runs/{run}"}


def test_buckets_are_pruned_too(store, tmp_path):
    run = unnamed_run(store, "lone")
    bucket = Store(open_storage(f"memory://pruned/{tmp_path.name}"))
    copy_up(Path(store.where), bucket.storage)
    assert not folders(bucket)  # just written
    before = contents(bucket)
    gone = list(prune(bucket, plan_pruning(bucket, hours=0), hours=0))
    assert [found.folder for found in gone] == [f"runs/{run}"]
    assert sum(found.size for found in gone) == sum(len(before[name]) for name in before if run in name)
    assert contents(bucket) == {name: content for name, content in before.items() if run not in name}


def test_hours_are_hours(store, capsys, monkeypatch):
    code, _, err = typed(capsys, monkeypatch, "prune", store.where, "--older-than", "-1")
    assert (code, err) == (2, "error: older_than is -1.0; expected hours, 0 or more\n")
    assert sys.argv[1] == "prune"
