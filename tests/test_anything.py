"""Whatever a table, a store or a manifest holds: an answer or one line, nothing else's files, and no name changed."""

import contextlib
import csv
import io
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from analysis.__main__ import main
from analysis.figures.glyphs import Drawing
from analysis.results.dataset import read_results, result_studies
from fake_store import image_rows, seal, write_study
from metaseg.data.manifest import ManifestError
from metaseg.datasets.table import read_table
from metaseg.store.folder import FolderStorage

NASTY = [
    "$\\frac$", "a$b", "=1+1", "@a", "[red]", "<b>", "a|b", "x\ny", "\x1b[2J", "中文", "é", "e\u0301", "007",
    "NA", "nan", "1,5", '"', "'", "../../x", "/etc/passwd", "_x", " ", "a;b", "\u202ex", "%s", "Average", "macro",
]  # fmt: skip
names = st.one_of(st.sampled_from(NASTY), st.text(st.characters(codec="utf-8"), min_size=1, max_size=8))
TYPES = ["object", "category", "string"]
FAST = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    """Scores of two or three arms, with any names, of images in up to three subgroups."""
    arms, seeds = draw(st.lists(names, min_size=2, max_size=3, unique=True)), draw(st.integers(1, 3))
    images = draw(st.lists(names, min_size=2, max_size=12, unique=True))
    subgroups = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    score = st.one_of(st.sampled_from([0.0, 1.0, 0.5]), st.floats(0, 1))
    rows = [
        (arm, number, image, subgroups[k % len(subgroups)], draw(score))
        for arm in arms
        for number in range(seeds)
        for k, image in enumerate(images)
    ]
    return pd.DataFrame(rows, columns=["arm", "seed", "image", "subgroup", "score"])


def damage(draw: st.DrawFn, content: bytes) -> bytes:
    """The content with a few bytes changed, or cut off."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(0, 3))):
        changed[draw(st.integers(0, len(changed) - 1))] = draw(st.integers(0, 255))
    return bytes(changed[: draw(st.one_of(st.just(len(changed)), st.integers(0, len(changed))))])


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def answered(arguments: list[str], folder: Path, mine: Path) -> bool:
    """Run a command in process: whether it succeeded; else it must have said one line and written nothing."""
    before = {path: content for path, content in snapshot(folder).items() if not Path(path).is_relative_to(mine)}
    said, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(errors), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = main(arguments)
    assert code in (0, 1)
    lines = errors.getvalue().splitlines()
    assert not [line for line in lines if not line.startswith("error: ")]
    assert (code == 1) == bool(lines)
    assert not set("\x1b\x07\x9b\u202e") & set(said.getvalue() + errors.getvalue())
    after = {path: content for path, content in snapshot(folder).items() if not Path(path).is_relative_to(mine)}
    assert after == before
    return code == 0


def check_table(data: st.DataObject) -> None:
    """A table from elsewhere, of either format, whole or damaged."""
    table, name = data.draw(tables()), data.draw(names)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        written, whole = table.copy(), data.draw(st.booleans())
        content = io.BytesIO()
        if data.draw(st.booleans()):
            for column in ("arm", "image", "subgroup"):
                written[column] = written[column].astype(data.draw(st.sampled_from(TYPES)))
            written["seed"] = written["seed"].astype(data.draw(st.sampled_from(["int8", "uint64", "float32", "int64"])))
            written.to_parquet(content)
            path = folder / "scores.parquet"
        else:
            written.to_csv(content, index=False, quoting=csv.QUOTE_NONNUMERIC, sep=data.draw(st.sampled_from(",;\t")))
            path = folder / "scores.csv"
        path.write_bytes(content.getvalue() if whole else data.draw(st.composite(damage)(content.getvalue())))
        out = folder / "out"
        if not answered(["report", str(path), f"--name={name}", "--out", str(out)], folder, out) or not whole:
            return
        storage = FolderStorage(out)
        assert result_studies(storage) == [name]
        rows = read_results(storage, name).images
        columns = list(table)
        kept = rows.astype(dict.fromkeys(["arm", "image", "subgroup"], str))[columns]
        same = kept.sort_values(columns[:4]).to_numpy().tolist() == table.sort_values(columns[:4]).to_numpy().tolist()
        assert same, "names and scores come back as they were given"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=4,
)


def check_store(data: st.DataObject) -> None:
    """A store, a file of which is damaged or says anything; where it is a run's, with right checksums or wrong ones."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        store = folder / "store"
        write_study(store, lambda arm, number: image_rows([0.5, 0.6, 0.7 + number / 100], ["a", "b", "a"]), seeds=1)
        files = sorted(path for path in store.rglob("*") if path.is_file())
        path = data.draw(st.sampled_from(files))
        if path.suffix == ".parquet" and data.draw(st.booleans()):
            frame = pd.read_parquet(path)
            column = data.draw(st.sampled_from(list(frame)))
            kind = data.draw(st.sampled_from(["drop", "text", "float64", "list", "bytes", "rename", "null"]))
            changed: dict[str, Callable[[], pd.DataFrame]] = {
                "drop": lambda: frame.drop(columns=column),
                "text": lambda: frame.astype({column: str}),
                "float64": lambda: frame.assign(**{column: 1e300}),
                "list": lambda: frame.assign(**{column: [[1]] * len(frame)}),
                "bytes": lambda: frame.assign(**{column: b"\xff"}),
                "rename": lambda: frame.rename(columns={column: data.draw(names)}),
                "null": lambda: frame.assign(**{column: None}),
            }
            changed[kind]().to_parquet(path, index=False)
        elif path.suffix != ".parquet" and data.draw(st.booleans()):
            record: Any = json.loads(path.read_text())
            key = data.draw(st.sampled_from(sorted(record)))
            record[key] = data.draw(VALUES)
            path.write_text(json.dumps(record))
        else:
            path.write_bytes(data.draw(st.composite(damage)(path.read_bytes())))
        if path.parent.parent.name == "runs" and path.name != "DONE" and data.draw(st.booleans()):
            seal(path.parent)
        answered(["collect", str(store), str(folder / "out")], folder, folder / "out")
        answered(["report", str(store), "--out", str(folder / "out")], folder, folder)
        assert {each.name for each in folder.iterdir()} <= {"store", "out"}


def check_manifest(data: st.DataObject) -> None:
    """A table of images: read with its names as they are, or refused; and no path leaves its folder."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "images"
        folder.mkdir()
        count = data.draw(st.integers(1, 6))
        columns = data.draw(st.lists(names, max_size=2, unique=True))
        frame = pd.DataFrame({
            name: data.draw(st.lists(names, min_size=count, max_size=count, unique=name == "image"))
            for name in ("image", "mask", *columns)
        })  # fmt: skip
        content, whole = io.BytesIO(), data.draw(st.booleans())
        path = folder / data.draw(st.sampled_from(["table.csv", "table.parquet"]))
        if path.suffix == ".csv":
            frame.to_csv(content, index=False, quoting=csv.QUOTE_ALL)
        else:
            frame.to_parquet(content, index=False)
        path.write_bytes(content.getvalue() if whole else data.draw(st.composite(damage)(content.getvalue())))
        try:
            manifest = read_table(path, columns)
        except ManifestError:
            return
        assert len(manifest.table) == count or not whole
        for name in manifest.table["image"]:
            with contextlib.suppress(ManifestError):
                assert manifest.image_file(name).resolve().is_relative_to(folder.resolve())


CHECKS = [check_table, check_store, check_manifest]


def run(check: Callable[[st.DataObject], None], examples: int, number: int, phases: tuple[Phase, ...]) -> None:
    @seed(number)
    @settings(max_examples=examples, phases=phases, **FAST)
    @given(st.data())
    def any_data(data: st.DataObject) -> None:
        check(data)

    any_data()


@pytest.fixture
def without_figures() -> Any:
    """Figures take most of a report's time; tests/analysis/figures/test_glyphs.py draws any names."""
    with mock.patch("analysis.figures.scores.to_plain_drawing", return_value=Drawing(b"png", b"svg")):
        yield


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize(("check", "examples"), list(zip(CHECKS, [8, 12, 40], strict=True)))
def test_anything_is_answered(check: Callable[[st.DataObject], None], examples: int) -> None:
    run(check, examples, 1, (Phase.generate,))


@pytest.mark.slow
def test_anything_is_answered_at_length() -> None:
    """For METASEG_PROPERTY_MINUTES (10); where it fails, hypothesis makes the example small."""
    end = time.monotonic() + 60 * float(os.environ.get("METASEG_PROPERTY_MINUTES", "10"))
    number = int(time.time())
    while time.monotonic() < end:
        number += 1
        for check in CHECKS:
            with (
                mock.patch("analysis.figures.scores.to_plain_drawing", return_value=Drawing(b"png", b"svg"))
                if number % 4
                else mock.MagicMock()
            ):
                run(check, 20, number, (Phase.generate, Phase.shrink))
