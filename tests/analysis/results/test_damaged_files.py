"""Damaged and odd files of a store, or of results: each is one line that names it, and exit code 1."""

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.__main__ import main
from analysis.results.dataset import read_results
from analysis.results.declaration import ResultsError
from fake_store import history, image_rows, run_id, seal, write_study

RUN = run_id("sme", 0)
DEEP = b'{"a":' * 100_000
ROWS = image_rows([0.5, 0.6, 0.7], ["a", "b", "a"])


def parquet(frame: pd.DataFrame) -> bytes:
    content = BytesIO()
    frame.to_parquet(content, index=False)
    return content.getvalue()


def twice() -> bytes:
    """Two columns of one name, which pandas can't write."""
    table = pa.Table.from_pandas(ROWS)
    content = BytesIO()
    pq.write_table(pa.Table.from_arrays([*table.columns, table["tp"]], [*table.column_names, "tp"]), content)
    return content.getvalue()


def changed(**fields: object) -> Callable[[bytes], bytes]:
    return lambda content: json.dumps(json.loads(content) | fields).encode()


IMAGES, HISTORY = f"runs/{RUN}/images.parquet", f"runs/{RUN}/history.parquet"
CONFIG, STUDY = f"runs/{RUN}/config.json", "studies/cells.json"
CASES: list[tuple[str, str, bytes | Callable[[bytes], bytes]]] = [
    ("images are garbage", IMAGES, b"PAR1garbage"),
    ("images are empty", IMAGES, b""),
    ("images are truncated", IMAGES, lambda content: content[:-200]),
    ("images have pages of zeros", IMAGES, lambda content: content[:20] + bytes(400) + content[420:]),
    ("images lack a column", IMAGES, parquet(ROWS.drop(columns="tp"))),
    ("images have a column twice", IMAGES, twice()),
    ("counts are floats", IMAGES, parquet(ROWS.astype({"tp": float}))),
    ("counts are too large", IMAGES, parquet(ROWS.astype({"tp": np.uint64}).assign(tp=np.uint64(2**63 + 1)))),
    ("names are lists", IMAGES, parquet(ROWS.assign(image=[["a"], ["b"], ["c"]]))),
    ("metadata are lists", IMAGES, parquet(ROWS.assign(meta_cell_line=[[1], [2], [3]]))),
    ("metadata are numbers in one run", IMAGES, parquet(ROWS.assign(meta_cell_line=0.5))),
    ("images say their arm", IMAGES, parquet(ROWS.assign(arm="baseline"))),
    ("history is garbage", HISTORY, b"no Parquet"),
    ("history is text", HISTORY, parquet(history().astype(str))),
    ("history lacks a column", HISTORY, parquet(history().drop(columns="val_f1"))),
    ("configuration is {}", CONFIG, b"{}"),
    ("configuration is deep", CONFIG, DEEP),
    ("configuration's parameters are text", CONFIG, changed(parameters="many")),
    ("configuration's versions are a list", CONFIG, changed(versions=[1])),
    ("DONE is deep", f"runs/{RUN}/DONE", DEEP),
    ("study is {}", STUDY, b"{}"),
    ("study is deep", STUDY, DEEP),
    ("study has half a character", STUDY, changed(about="\ud800")),
    ("study has an endless seed", STUDY, changed(runs=[{"run_id": "a", "arm": "sme", "seed": float("inf")}])),
    ("study has a run called ..", STUDY, changed(runs=[{"run_id": "..", "arm": "sme", "seed": 0}])),
    ("study's arms are numbers", STUDY, changed(arms=[1, [2]])),
    ("study's margin is a list", STUDY, changed(margin=[1])),
    ("study's comparisons are lists", STUDY, changed(comparisons=[{"arm": [], "reference": {}}])),
]


def summary(image: str, tp: object) -> bytes:
    """Make a `summary.json` of nnU-Net."""
    counts = {"TP": tp, "FP": 1, "FN": 1, "TN": 1}
    return json.dumps({"metric_per_case": [{"reference_file": image, "metrics": {"1": counts}}]}).encode()


def refused(arguments: list[str], named: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert named.name in line or "run" in line


@pytest.mark.parametrize(("file", "content"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_file_that_isnt_what_it_should_be_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, content: bytes | Callable[[bytes], bytes]
) -> None:
    store = tmp_path / "store"
    write_study(store, lambda arm, seed: ROWS, seeds=1)
    path = store / file
    path.write_bytes(content if isinstance(content, bytes) else content(path.read_bytes()))
    if path.parent.parent.name == "runs" and path.name != "DONE":
        seal(path.parent)
    refused(["report", str(store)], path, capsys)
    if file != HISTORY:  # which isn't collected
        refused(["collect", str(store), str(tmp_path / "out")], path, capsys)


@pytest.fixture
def collected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A dataset of results; its folder of a study."""
    write_study(tmp_path / "store", lambda arm, seed: ROWS, seeds=1)
    assert main(["collect", str(tmp_path / "store"), str(tmp_path / "out")]) == 0
    capsys.readouterr()
    return next((tmp_path / "out" / "study=cells").iterdir())


def test_a_changed_byte_of_collected_rows_changes_no_result(collected: Path) -> None:
    """Each page has its checksum."""
    (path,), out = collected.glob("*.parquet"), collected.parent.parent
    whole, rows = path.read_bytes(), read_results(out, "cells").images
    end = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    refusals = 0
    for place in range(4, end, 11):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            pd.testing.assert_frame_equal(read_results(out, "cells").images, rows)
        except ResultsError:
            refusals += 1
    assert refusals > 50


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record["parts"][RUN].update(file="../../../secret.parquet"),
        lambda record: record["parts"][RUN].update(file=3),
        lambda record: record["parts"][RUN].update(rows="many"),
        lambda record: record.update(sources=[]),
        lambda record: record.update(subgroup_column=None),
        lambda record: record["sources"][0]["study"].update(margin="a lot"),
        lambda record: record["sources"][0]["study"].update(arms=[[]]),
    ],
)
def test_a_record_of_results_is_checked(
    collected: Path, capsys: pytest.CaptureFixture[str], change: Callable[[dict[str, object]], None]
) -> None:
    path = collected / "_study.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    refused(["report", str(collected.parent.parent)], path, capsys)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.parquet", b"garbage"),
        ("a.parquet", parquet(pd.DataFrame({"arm": ["a"], "image": [["x"]], "score": [0.5]}))),
        ("a.parquet", parquet(pd.DataFrame({"arm": ["a"], "image": [b"x"], "score": [0.5]}))),
        ("a.parquet", parquet(pd.DataFrame({"arm": ["a"], "image": ["x"], "score": [[0.5]]}))),
        ("a.parquet", parquet(pd.DataFrame({"arm": ["a"], "image": ["x"], "score": [0.5], "seed": [1e300]}))),
        ("a.parquet", parquet(pd.DataFrame({"arm": ["a"], "image": ["x"], "tp": 1e300, "fp": 0, "fn": 0}))),
        ("a.json", DEEP),
        ("a.json", summary("a", [1])),
        ("a.json", summary("\ud800", 1)),
        ("a.csv", b"arm,image,score\n\xff,a,0.5\n"),
        ("a.csv", "arm,image,score\na,b,0.5\n".encode("utf-16")),
        ("a.csv", b""),
    ],
)  # fmt: skip
def test_a_table_that_isnt_one_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    refused(["report", f"a={path}" if name == "a.json" else str(path), "--out", str(tmp_path / "out")], path, capsys)
