"""`analysis collect` and `analysis report` as a user gives them: what is written, and one clear error for bad input."""

import errno
import json
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest

from analysis.__main__ import COMMANDS, main
from analysis.commands.options import Collect, Metric, Report, given
from analysis.results.dataset import RECORD
from analysis.scores.extra_scores import METRICS as EXTRA_METRICS
from analysis.scores.metrics import METRICS
from fake_store import image_rows, run_id, seal, write_study
from metaseg.command_line import call

Capture = pytest.CaptureFixture[str]


def rows(arm: str, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng([len(arm), seed])
    return image_rows(0.7 + 0.1 * (arm == "sme") + rng.uniform(-0.02, 0.02, 24), ["HeLa", "MCF7"] * 12)


def table(metric: str = "Dice") -> pd.DataFrame:
    """Scores from elsewhere: two arms, three seeds, 24 images of 12 patients; "big" is better by 0.05."""
    rng = np.random.default_rng(0)
    index = pd.MultiIndex.from_product([["unet", "big"], range(3), [f"{k:03}" for k in range(24)]])
    frame = index.to_frame(index=False, name=["arm", "seed", "image"])
    number = frame["image"].astype(int)
    shared = rng.uniform(0.6, 0.8, 24)[number] + 0.05 * (frame["arm"] == "big")
    frame["patient"] = [f"p{k // 2:02}" for k in number]
    return frame.assign(**{metric: (shared + rng.normal(0, 0.01, len(frame))).round(4)})


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def parse(*arguments: str) -> object:
    return call("analysis", "", COMMANDS, arguments)


def failure(capsys: Capture, *arguments: object) -> str:
    """Error message of a command that fails; it is one line."""
    assert run(*arguments) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert captured.err.endswith("\n")
    return captured.err.removeprefix("error: ").rstrip()


def write(tmp_path: Path, frame: pd.DataFrame) -> Path:
    frame.to_csv(tmp_path / "scores.csv", index=False)
    return tmp_path / "scores.csv"


def test_a_store_and_the_dataset_collected_from_it_give_the_same_tests(tmp_path: Path) -> None:
    store, out = tmp_path / "store", tmp_path / "out"
    write_study(store, rows)
    assert run("collect", store, out) == 0
    assert run("report", store) == 0
    assert run("report", out) == 0
    ours, theirs = store / "reports" / "cells", out / "reports" / "cells"
    for name in ("tests.csv", "table.csv", "resampling.csv", "power.csv", "subgroups.csv", "difficulty.csv"):
        assert (ours / name).read_text() == (theirs / name).read_text(), name
    assert "helps" in (ours / "tests.csv").read_text()
    page = (theirs / "report.html").read_text()
    assert all(run_id(arm, seed) in page for arm in ("baseline", "sme") for seed in (0, 1))
    assert not (theirs / "learning.png").exists(), "histories aren't collected"


@pytest.mark.parametrize(
    ("metric", "called", "columns"), [("Dice", "F1", []), ("IoU", "IoU", []), ("NSD", "NSD", ["score=NSD"])]
)
def test_a_table_from_elsewhere_becomes_a_report_that_calls_scores_by_their_name(
    tmp_path: Path, metric: str, called: str, columns: list[str]
) -> None:
    path, out = write(tmp_path, table(metric)), tmp_path / "out"
    assert run("report", path, "--name", "theirs", "--column", "group=patient", *columns, "--out", out) == 0
    found = pd.read_csv(out / "tests.csv")
    assert found[["arm", "reference", "n_images", "n_units", "n_seeds", "verdict"]].to_numpy().tolist() == [
        ["big", "unet", 24, 12, 3, "helps"]
    ]
    means = table(metric).groupby("arm")[metric].mean()
    assert found["difference"].item() == pytest.approx(means["big"] - means["unet"], abs=1e-6)
    text = (out / "table.md").read_text()
    assert text.startswith(f"# Study theirs: {called} of each arm\n")
    assert f"differences of mean {called}," in text
    assert "Arms: unet; big." in text
    for wrong in ("nan", "None", "TP", "metadata", "both empty", *(["F1"] if called != "F1" else [])):
        assert wrong not in text, wrong
    files = {path.name for path in out.iterdir()}
    assert {"report.html", "f1.png", "forest.png", "paired.png", "ranks.png", "variance.png"} <= files
    assert not files & {"learning.png", "size.png", "controls.csv", "difficulty.csv"}


def test_a_table_reported_in_one_command_or_collected_first_gives_the_same_tests(tmp_path: Path) -> None:
    path = write(tmp_path, table())
    assert run("collect", tmp_path / "out", "--table", path, "--name", "theirs", "--baseline", "big") == 0
    assert run("report", tmp_path / "out") == 0
    assert run("report", path, "--name", "theirs", "--baseline", "big", "--out", tmp_path / "direct") == 0
    collected, direct = (tmp_path / "out" / "reports" / "theirs" / "tests.csv"), tmp_path / "direct" / "tests.csv"
    assert collected.read_text() == direct.read_text()
    assert ",hurts" in direct.read_text()


TABLE = table()


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        pytest.param(
            pd.concat([TABLE, TABLE.iloc[[3]]]), "1 rows are there twice; the first is row 145: arm 'unet', seed 0",
            id="duplicate rows are refused",
        ),
        pytest.param(
            TABLE.assign(Dice=[np.nan, *TABLE["Dice"][1:]]), "row 1: score is empty or NaN; expected a number in 0..1",
            id="NaN scores are refused",
        ),
        pytest.param(
            TABLE[TABLE["arm"] == "big"], "a single arm, 'big'; expected at least two", id="one arm is refused"
        ),
        pytest.param(TABLE.iloc[:-13], "big seed 2 lacks image '011'", id="arms with different images are refused"),
    ],
)  # fmt: skip
def test_a_bad_table_is_refused_in_one_line_that_names_it(
    tmp_path: Path, capsys: Capture, frame: pd.DataFrame, message: str
) -> None:
    path = write(tmp_path, frame)
    said = failure(capsys, "report", path, "--out", tmp_path / "out")
    assert str(path) in said
    assert message in said
    assert not (tmp_path / "out").exists()


def test_one_seed_is_reported_without_a_verdict(tmp_path: Path) -> None:
    path = write(tmp_path, TABLE[TABLE["seed"] == 0])
    assert run("report", path, "--out", tmp_path / "out") == 0
    assert pd.read_csv(tmp_path / "out" / "tests.csv")["verdict"].tolist() == ["one seed"]


def test_one_image_in_a_group_is_reported_as_too_few(tmp_path: Path) -> None:
    frame = TABLE.assign(subgroup=np.where(TABLE["image"] == "000", "rare", "common"))
    assert run("report", write(tmp_path, frame), "--out", tmp_path / "out") == 0
    verdicts = pd.read_csv(tmp_path / "out" / "tests.csv").set_index("subgroup")["verdict"]
    assert verdicts.to_dict() == {"Average": "helps", "common": "helps", "rare": "too few"}


def test_an_unknown_schema_version_is_refused(tmp_path: Path, capsys: Capture) -> None:
    assert run("collect", tmp_path / "out", "--table", write(tmp_path, TABLE), "--name", "theirs") == 0
    (record,) = (tmp_path / "out").rglob(RECORD)
    record.write_text(json.dumps(json.loads(record.read_text()) | {"schema": 9}))
    capsys.readouterr()
    assert failure(capsys, "report", tmp_path / "out").startswith(f"{record}: schema version 9; this program reads 1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: pd.concat([frame, frame.iloc[[0]]]), "1 rows are there twice"),
        (lambda frame: frame.iloc[1:], "differ in 1 of their evaluated images"),
    ],
    ids=["duplicate rows are refused", "arms with different images are refused"],
)
def test_a_bad_store_is_refused_in_one_line(tmp_path: Path, capsys: Capture, change: object, message: str) -> None:
    assert callable(change)
    write_study(tmp_path, lambda arm, seed: change(rows(arm, seed)) if (arm, seed) == ("sme", 1) else rows(arm, seed))
    assert message in failure(capsys, "report", tmp_path)
    assert not (tmp_path / "reports").exists()


def test_a_corrupt_study_doesnt_keep_others_from_their_report(tmp_path: Path, capsys: Capture) -> None:
    write_study(tmp_path, rows, name="good")
    record = json.loads((tmp_path / "studies" / "good.json").read_text())
    (tmp_path / "studies" / "bad.json").write_text(json.dumps(record | {"arms": []}))
    assert run("report", tmp_path, "--out", tmp_path / "out") == 1
    assert "bad.json" in capsys.readouterr().err
    assert (tmp_path / "out" / "good" / "report.html").exists()
    assert not (tmp_path / "out" / "bad").exists()


def test_a_corrupt_file_is_named(tmp_path: Path, capsys: Capture) -> None:
    write_study(tmp_path, rows)
    file = tmp_path / "runs" / run_id("sme", 0) / "images.parquet"
    file.write_bytes(b"PAR1")
    assert failure(capsys, "report", tmp_path).startswith(f"{file}: corrupt")
    (file.parent / "history.parquet").write_bytes(b"PAR1")
    rows("sme", 0).to_parquet(file, index=False)
    seal(file.parent)
    assert failure(capsys, "report", tmp_path).startswith(f"{file.parent / 'history.parquet'}: not Parquet, or damaged")


def test_where_there_is_no_store_one_line_says_so(tmp_path: Path, capsys: Capture) -> None:
    assert failure(capsys, "report", tmp_path) == f"{tmp_path / 'studies'}: no study there"
    assert failure(capsys, "report", "nothing://here").startswith("storage is 'nothing://here'; expected a folder, s3:")
    path = write(tmp_path, TABLE)
    assert (
        failure(capsys, "report", path, tmp_path / "b.csv")
        == f"{tmp_path / 'b.csv'}: no such file; expected tables, or one store"
    )


def test_a_disk_that_is_full_is_one_readable_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    write_study(tmp_path, rows)

    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("metaseg.store.folder._write_flushed", full)
    assert failure(capsys, "report", tmp_path) == f"[Errno 28] {tmp_path} is full: No space left on device"


def misuse(capsys: Capture, *arguments: object) -> str:
    """Standard error of a command with wrong arguments; it exits with code 2."""
    with pytest.raises(SystemExit) as ended:
        run(*arguments)
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert not captured.out
    return captured.err


def test_commands_are_listed_and_unknown_ones_named(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        run("--help")
    assert not ended.value.code
    listed = capsys.readouterr().out
    assert "• collect  Collect finished runs of stores" in listed
    assert "• report   Test the comparisons" in listed
    assert "analysis report STORE" not in listed, "the list has a sentence for each command"
    assert "{collect, plan, report, sweep}" in misuse(capsys)
    said = misuse(capsys, "reprot")
    assert "reprot" in said
    assert "collect, plan, report, sweep" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report"], "error: STORE is missing; expected a store, a collected dataset or tables of scores\n"),
        (["report", "x", "--study"], "error: --study is given without a value\n"),
        (["report", "x", "--column", "a"], "error: --column is 'a'; expected NEW=OLD\n"),
        (["report", "x", "--column", "=a"], "error: --column is '=a'; expected NEW=OLD\n"),
        (
            ["report", "x", "--call", "lung=b"],
            "error: --call is 'lung=b'; expected NAME=WORD with NAME one of metric, image, group, subgroup\n",
        ),
        (["report", "x", "--metric", "dice"], "invalid choice 'dice' for argument '--metric'"),
        (["report", "x", "--marign", "1"], "Unrecognized options: --marign"),
        (["collect"], "error: expected STORE... OUT, or OUT and --table\n"),
        (["collect", "x", "--table", "a.csv"], "error: --table and --name go together\n"),
        (["sweep"], "STORE"),
    ],
)
def test_wrong_arguments_are_named(capsys: Capture, arguments: list[str], message: str) -> None:
    said = misuse(capsys, *arguments)
    assert message in said
    assert not message.startswith("error") or said == message


def test_an_option_that_takes_several_values_can_be_repeated_too() -> None:
    one = parse("report", "a.csv", "b.csv", "--study", "x", "y", "--column", "arm=model", "--column", "image=case")
    assert isinstance(one, Report)
    assert (one.where, given("--study", one.study)) == (("a.csv", "b.csv"), ["x", "y"])
    assert one.columns() == {"arm": "model", "image": "case"}
    other = parse(
        "report", "--column", "arm=model", "image=case", "--study", "x", "--study", "y", "--out", "o", "a.csv"
    )
    assert isinstance(other, Report)
    assert (other.columns(), given("--study", other.study)) == (one.columns(), ["x", "y"])
    assert (other.where, other.out) == (("a.csv",), "o")
    collect = parse("collect", "out", "--table", "a=a.csv", "b=b.csv", "--table", "c:1=c.csv", "--name", "n")
    assert isinstance(collect, Collect)
    assert given("--table", collect.table) == ["a=a.csv", "b=b.csv", "c:1=c.csv"]


def test_metrics_on_the_command_line_are_those_that_can_be_computed() -> None:
    assert get_args(Metric) == (*METRICS, *EXTRA_METRICS)


def test_words_come_from_columns_and_from_call_which_wins() -> None:
    options = parse("report", "a.csv", "--column", "group=patient", "score=Dice", "--call", "group=mouse/mice")
    assert isinstance(options, Report)
    assert options.words() == {"group": "mouse/mice", "metric": "Dice"}


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/absolute", "s3://bucket/x", "", ".."])
def test_a_name_that_leads_out_is_refused(tmp_path, capsys, monkeypatch, name):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "er")
    TABLE.to_csv("scores.csv", index=False)
    assert run("report", "scores.csv", "--name", name) == 1
    assert "name of the study is" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["deep", "er", "scores.csv"]
