"""Notebooks: clean as they are committed, and run from the Parquet alone."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.results.declaration import ResultsError
from checkout import ROOT
from fake_controls import count_rows, write_parts

REASON = "the notebooks need the extra 'notebooks'"
nbclient = pytest.importorskip("nbclient", reason=REASON)
nbformat = pytest.importorskip("nbformat", reason=REASON)
pytest.importorskip("duckdb", reason=REASON)
pytest.importorskip("ipykernel", reason=REASON)

FOLDER = ROOT / "analysis" / "notebooks"
PATHS = sorted(path for path in FOLDER.glob("*.ipynb") if path.stem != "sweep")
"""Without the one of sweeps, which `tests/analysis/sweeps/test_sweep_analysis.py` runs."""

STUDIES = ("annotation_styles", "anomalies", "kits", "livecell", "seven_cells")

SHOWN = {
    "annotation_styles": (2, ["sme against baseline-third: .* helps", r"told accurate against told coarse: \+0\.1"]),
    "anomalies": (3, [r"anomaly nuclei 12 3 0\.05", r"\*\*anomaly\*\*: sme-subset minus heads-subset is \+0\.05"]),
    "kits": (3, [r"sme 2\.0\d 2\.0\d", r"F\(2, [\d.]+\)"]),
    "livecell": (3, ["cell_line categorical", "Average sme 24 .* helps", "A549 6 0.09", "10 seeds"]),
    "own_question": (2, ["seven_cells .* 3 24 ", r"nucleus,Average,0\.04.*,helps"]),
    "seven_cells": (2, [r"sme-dummy baseline .* equal", r"p = [\d.]+e-\d+; spread 0\.0\d", "4 times in 5"]),
}
"""Number of pictures and expected output of each notebook, for the results below."""

Tables = dict[tuple[str, int, str], pd.DataFrame]


def noisy(f1: npt.ArrayLike, generator: np.random.Generator) -> npt.NDArray[np.float64]:
    values = np.asarray(f1) + generator.normal(0, 0.004, np.shape(f1)) + generator.normal(0, 0.001)
    return np.clip(values, 0, 1)


def told_tables(
    f1: Mapping[str, Sequence[float]], told: Mapping[str, float], column: str, values: Sequence[str], names: list[str]
) -> Tables:
    """Runs of three seeds, with F1 by arm and image; `told` is F1 of SME in other evaluations. Objects vary in size."""
    generator = np.random.default_rng(len(names))
    own = {column: values}
    sizes = {name: i % 7 + 1 for i, name in enumerate(names)}
    tables: Tables = {}
    for seed in range(3):
        for arm, scores in f1.items():
            rows = [count_rows(noisy(scores, generator), names, values, **own)]
            for evaluation, score in told.items() if arm == "sme" else ():
                other = noisy(np.full(len(names), score), generator)
                kept = [value != evaluation.partition("=")[2] for value in values]
                rows.append(count_rows(other, names, values, evaluation, **own)[kept])
            tables[arm, seed, ""] = resized(pd.concat(rows, ignore_index=True), sizes)
    return tables


def resized(rows: pd.DataFrame, thousands: Mapping[str, int]) -> pd.DataFrame:
    """Rows whose references have so many thousand pixels, of images of equal size."""
    counts = rows[["tp", "fp", "fn"]].mul(rows["image"].map(thousands), axis=0)
    return rows.assign(**counts, tn=100_000 - counts.sum(axis=1))


def lines() -> Tables:
    """Four lines of six images: one is easy, two of the others gain from being told."""
    values = [line for line in ("A549", "HeLa", "MCF7", "MDCK") for _ in range(6)]
    names = [f"{line}-{i}.png" for i, line in enumerate(values)]
    spread = np.random.default_rng(1).normal(0, 0.01, len(values))
    base = np.where([value == "MDCK" for value in values], 0.9, 0.8) + spread
    gain = np.where([value in ("A549", "MCF7") for value in values], 0.1, 0.0)
    f1 = {"baseline": base, "sme-dummy": base, "sme": base + gain, "film": base + gain}
    told = {"zeros": 0.7} | {f"cell_line={line}": 0.6 for line in dict.fromkeys(values)}
    return told_tables({arm: list(scores) for arm, scores in f1.items()}, told, "cell_line", values, names)


def with_stratified(tables: Tables) -> Tables:
    """And an arm of one network a line."""
    for arm, seed, _ in [key for key in tables if key[0] == "baseline"]:
        for line, rows in tables[arm, seed, ""].groupby("subgroup"):
            tables["baseline-stratified", seed, str(line)] = rows.reset_index(drop=True)
    return tables


def styles() -> Tables:
    names = [f"{i}.png" for i in range(20)]
    f1 = {"baseline-third": 0.85, "baseline": 0.9, "sme-dummy": 0.9, "sme": 0.95}
    told = {"zeros": 0.9, "style=fine": 0.93, "style=coarse": 0.8}
    return told_tables({arm: [score] * 20 for arm, score in f1.items()}, told, "style", ["accurate"] * 20, names)


def tasks() -> Tables:
    """24 images with nuclei, of which 12 have anomalies, too; asked for the other task, all is wrong."""
    names = [f"{i}.png" for i in range(24)] + [f"{i}.png" for i in range(12)]
    values = ["nuclei"] * 24 + ["anomaly"] * 12
    hard = np.where([value == "nuclei" for value in values], 0.9, 0.5)
    f1 = {"sme": hard, "sme-subset": hard, "heads-subset": hard - 0.05, "baseline-stratified": hard}
    told = {"zeros": 0.3, "task=nuclei": 0.05, "task=anomaly": 0.05}
    tables = told_tables({arm: list(scores) for arm, scores in f1.items()}, told, "task", values, names)
    for seed in range(3):
        rows = tables.pop(("baseline-stratified", seed, ""))
        for task, part in rows.groupby("subgroup"):
            tables["baseline-stratified", seed, str(task)] = part.reset_index(drop=True)
    return tables


def tumours() -> Tables:
    """30 cases of two slices, some without a tumour; SME draws an area as the square of the size that it is told."""
    generator = np.random.default_rng(2)
    size = np.repeat(np.linspace(2, 9, 30).round(1), 2)
    names = [f"case{i // 2}_{i % 2}.png" for i in range(60)]
    cases = [name.partition("_")[0] for name in names]
    thousands = {name: i // 6 + 1 if i % 10 else 0 for i, name in enumerate(names)}  # pixels of the tumour

    def rows(name: str, f1: npt.ArrayLike, evaluation: str = "as-trained", told: float | None = None) -> pd.DataFrame:
        area = 1000 * (told / size) ** 2 if told and name == "tumour" else None
        table = count_rows(noisy(f1, generator), names, None, evaluation, name, cases, area, radiographic_size=size)
        return resized(table, thousands) if name == "tumour" else table

    tables: Tables = {}
    for seed in range(2):
        for arm, f1 in {"baseline": 0.7, "sme-dummy": 0.7, "sme": 0.8}.items():
            parts = [rows(name, np.full(60, f1)) for name in ("kidney", "tumour")]
            for told in (2.0, 4.0, 8.0) if arm == "sme" else ():
                evaluation = f"radiographic_size={told:g}"
                parts += [rows(name, np.full(60, 0.4), evaluation, told) for name in ("kidney", "tumour")]
            tables[arm, seed, ""] = pd.concat(parts, ignore_index=True)
    return tables


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output of `analysis collect` for a small store of each study."""
    folder = tmp_path_factory.mktemp("notebooks")
    for name, tables, column, record in (
        ("seven_cells", with_stratified(lines()), "cell_line", {}),
        ("livecell", lines(), "cell_line", {}),
        ("annotation_styles", styles(), "style", {}),
        ("anomalies", tasks(), "task", {"baseline": "baseline-stratified", "average": "subgroups"}),
        ("kits", tumours(), "subgroup", {"empty": "left out"}),
    ):
        (folder / name).mkdir()
        record = {"baseline": "baseline", "name": name} | record
        write_parts(folder / name, tables, metadata=column, **record)
        (folder / name / "studies" / "parts.json").rename(folder / name / "studies" / f"{name}.json")
    assert main(["collect", *(str(folder / name) for name in STUDIES), str(folder / "results")]) == 0
    return folder / "results"


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Kernels don't read or write the user's."""
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))


def test_there_is_one_a_study_page_and_one_for_own_questions() -> None:
    studies = (FOLDER.parents[1] / "studies").glob("*.py")
    pages = {path.stem for path in studies if not path.stem.startswith("sweep_")} - {"own_data"}
    assert {path.stem for path in PATHS} >= {*STUDIES, "own_question"}
    assert {path.stem for path in PATHS} - {"own_question"} <= pages
    assert SHOWN.keys() == {path.stem for path in PATHS}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_notebook_is_committed_clean_and_short(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    kinds = [cell.cell_type for cell in notebook.cells]
    assert len(kinds) < 15
    assert kinds == ["markdown", "code"] * (len(kinds) // 2)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert not any(cell.metadata for cell in notebook.cells)
    assert all(len(line) <= 100 for cell in code for line in cell.source.splitlines())
    text = "\n".join(cell.source for cell in code)
    assert not re.search(r"""["'](/|~|[A-Za-z]:\\)""", text), "an absolute path"
    assert 'RESULTS = os.environ.get("METASEG_RESULTS", "results")' in code[0].source
    assert "analysis collect ~/metaseg-store results" in notebook.cells[0].source


@pytest.mark.parametrize("name", STUDIES)
def test_without_results_the_first_cell_says_how_to_make_them(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("METASEG_RESULTS", str(tmp_path))
    cell = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4).cells[1]
    with pd.option_context("display.float_format", None), pytest.raises(ResultsError, match="analysis collect STORE"):
        exec(cell.source, {})


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_notebook_runs_and_says_what_is_in_the_results(
    path: Path, results: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("METASEG_RESULTS", str(results))
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    pictures, said = SHOWN[path.stem]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == pictures
    text = "\n".join(map(as_text, outputs))
    for pattern in said:
        assert re.search(pattern, text), f"expected {pattern!r} in:\n{text}"


def as_text(output: Any) -> str:
    """Visible text of an output; cells of a table are separated by a space."""
    data = output.get("data", {})
    if "text/html" in data:
        return re.sub(r"\s+", " ", re.sub("<style.*?</style>|<[^>]+>", " ", data["text/html"], flags=re.DOTALL))
    return str(output.get("text") or data.get("text/markdown") or data.get("text/plain") or "")
