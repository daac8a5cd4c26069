"""`metaseg compare`: what two studies differ in, with scores and verdicts as their reports have them."""

import json
from pathlib import Path

import pytest

from analysis.report.study import report_folder
from fake_store import noisy_rows, run_id
from kept_store import LINES, contents, kept_store
from metaseg.keeping.comparison import caution, differences, facts_of, score_rows, verdict_rows
from metaseg.store.runs import Store, to_json
from typed_command import typed

TESTS = """class,subgroup,arm,reference,n_seeds,difference,ci_low,ci_high,verdict
nucleus,Average,sme,baseline,2,0.1,0.08,0.12,helps
nucleus,HeLa,sme,baseline,2,0.5,0.4,0.6,helps
"""
RUNS = "run_id,arm,seed\n" + "".join(
    f"{run_id(arm, seed)},{arm},{seed}\n" for arm in ("baseline", "sme") for seed in (0, 1)
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = kept_store(tmp_path, ("cells", "other"))
    record = json.loads(store.storage.read("studies/other.json"))
    config = 'preset = "small"\nepochs = 5\n[synthetic]\nsize = 64\n'
    store.write_study("other", record | {"margin": 0.05, "config": config})
    store.storage.write("reports/cells/tests.csv", TESTS.encode())
    store.storage.write("reports/cells/runs.csv", RUNS.encode())
    return store


def test_settings_that_differ_are_listed_and_others_counted(store):
    one, two = facts_of(store, "cells"), facts_of(store, "other")
    assert differences(one, two) == [
        ("margin", "0.01", "0.05"), ("--preset", "-", "small"), ("--epochs", "-", "5"), ("--synthetic.size", "-", "64"),
    ]  # fmt: skip
    assert differences(one, one) == []
    assert "one dataset" in caution(one, two)
    assert "DIFFER" not in caution(one, two)


def test_scores_are_the_arms_means(store):
    one, two = facts_of(store, "cells"), facts_of(store, "other")
    found = {arm: (first, second, gain) for arm, first, second, gain in score_rows(one, two)}
    assert list(found) == ["baseline", "sme"]
    for arm, (first, second, gain) in found.items():
        counts = [noisy_rows(arm, seed, LINES) for seed in (0, 1)]
        mean = sum((2 * each.tp / (2 * each.tp + each.fp + each.fn)).mean() for each in counts) / 2
        assert first == second
        assert first.startswith(f"{mean:.4f} ± ")
        assert first.endswith("(2 seeds, 2 runs)")
        assert gain == "+0.0000"
    gains = [row[3] for row in score_rows(one, facts_of(kept_other_arm(store), "film"))]
    assert gains == ["+0.0000", "-", "-"]


def kept_other_arm(store: Store) -> Store:
    """A study of the same baseline and another arm."""
    record = json.loads(store.storage.read("studies/cells.json"))
    runs = [run | {"arm": "film" if run["arm"] == "sme" else run["arm"]} for run in record["runs"]]
    store.write_study("film", record | {"name": "film", "arms": ["baseline", "film"], "runs": runs})
    return store


def test_verdicts_are_those_of_the_last_reports(store):
    one, two = facts_of(store, "cells"), facts_of(store, "other")
    assert verdict_rows(one, two) == [("sme against baseline", "helps: +0.1000 [+0.0800, +0.1200]", "-")]
    assert two.verdicts.empty
    for damaged in (b"", b"a,b\n1\n", b"\xff\xfe\x00", b"class,subgroup\n1,2,3\n"):
        store.storage.write("reports/cells/tests.csv", damaged)
        assert facts_of(store, "cells").verdicts.empty


def test_verdicts_of_a_report_of_other_runs_are_not_shown(store, capsys, monkeypatch):
    store.storage.write("reports/cells/runs.csv", RUNS[: RUNS.rindex(run_id("sme", 1))].encode())
    facts = facts_of(store, "cells")
    assert facts.outdated
    assert facts.verdicts.empty
    _, out, _ = typed(capsys, monkeypatch, "compare", store.where, "cells", "other")
    assert "cells's last report isn't of the runs that are finished now; `analysis report` writes it anew." in out
    assert "helps" not in out


def test_a_report_is_found_by_its_folders_name(store):
    record = json.loads(store.storage.read("studies/cells.json"))
    store.write_study("größe, 2", record | {"name": "größe, 2"})
    for name, content in (("tests.csv", TESTS), ("runs.csv", RUNS)):
        store.storage.write(f"{report_folder('größe, 2', 'f1')}{name}", content.encode())
    assert list(facts_of(store, "größe, 2").verdicts["verdict"]) == ["helps"]


def test_it_says_that_it_tests_nothing_above_all_of_different_data(store, tmp_path, capsys, monkeypatch):
    elsewhere = kept_store(tmp_path / "elsewhere")
    for run in elsewhere.done():
        folder = f"runs/{run}"
        files = {name: elsewhere.storage.read(f"{folder}/{name}") for name in elsewhere.storage.names(folder)}
        config = json.loads(files["config.json"])
        config["dataset"]["fingerprint"] = "beef"
        elsewhere.storage.delete_folder(folder)
        del files["DONE"]
        elsewhere.commit_run(run, files | {"config.json": to_json(config)})
    before = contents(store), contents(elsewhere)
    code, out, err = typed(
        capsys, monkeypatch, "compare", store.where, "cells", "cells", "--other-store", elsewhere.where
    )
    assert (code, err) == (0, "")
    assert "a description, not a test. THE DATASETS DIFFER" in out
    assert "fingerprint  f00d  beef" in out
    assert "cells has no report; `analysis report` makes one." in out
    assert (contents(store), contents(elsewhere)) == before


def test_a_study_without_finished_runs_is_shown_as_one(store, capsys, monkeypatch):
    record = json.loads(store.storage.read("studies/cells.json"))
    runs = [run | {"run_id": f"{number:016x}"} for number, run in enumerate(record["runs"])]
    store.write_study("planned", record | {"name": "planned", "runs": runs})
    code, out, _ = typed(capsys, monkeypatch, "compare", store.where, "cells", "planned")
    assert code == 0
    assert "0 of 4 runs finished" in out
    assert "without finished runs has no scores" in out


def test_misuse_is_one_line(store, tmp_path, capsys, monkeypatch):
    for arguments, message in [
        ([store.where, "cells", "none"], "unknown study 'none'"),
        ([store.where, "cells", "cells"], "is given twice"),
        ([str(tmp_path / "nowhere"), "cells", "other"], "no study there"),
    ]:
        code, _, err = typed(capsys, monkeypatch, "compare", *arguments)
        assert code == 2
        assert message in err
        assert err.count("\n") == 1
