"""Collect a study's finished runs into one Parquet file: one row per run, test image, class and evaluation."""

import hashlib
import json
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from metaseg.storage import Storage

AS_TRAINED = "as-trained"
"""The evaluation in which an arm sees metadata as it did in training: what arms are compared by."""

KEY = ["image", "class", "evaluation"]
TEXT = [*KEY, "group", "subgroup"]
COUNTS = ["tp", "fp", "fn", "tn"]


class ResultsError(ValueError):
    """Something in the store that results can't be made of: the message names the file and what is wrong with it."""


@dataclass(frozen=True)
class Run:
    """A run that a study asks for, finished or not."""

    run_id: str
    arm: str
    seed: int

    def __str__(self) -> str:
        return f"{self.arm} seed {self.seed} ({self.run_id})"


@dataclass(frozen=True)
class Study:
    """What a study declared when it was started."""

    name: str
    dataset: str
    baseline: str
    arms: tuple[str, ...]
    """In the order of display."""
    runs: tuple[Run, ...]
    command: str


@dataclass(frozen=True)
class Collected:
    """A study's results."""

    study: Study
    path: str
    """The Parquet file: an absolute path or a URL."""
    images: pd.DataFrame
    """Its rows."""
    missing: tuple[Run, ...]
    """Runs that aren't finished; they have no rows."""
    subgroup_column: str
    """The metadata column that `subgroup` holds, or "subgroup" where the runs don't say."""


def study_names(storage: Storage) -> list[str]:
    """Names of the store's studies, sorted; raises `ResultsError` where there is none."""
    files = storage.names("studies")
    names = sorted(name.removesuffix(".json") for name in files if name.endswith(".json"))
    if not names:
        raise ResultsError(f"{storage.locate('studies')}: no study there")
    return names


def read_study(storage: Storage, name: str) -> Study:
    """Read what a study declared; raises `ResultsError` for an unknown or malformed one."""
    names = study_names(storage)
    if name not in names:
        raise ResultsError(f"unknown study {name!r} in {storage.where}; known: {', '.join(names)}")
    file = f"studies/{name}.json"
    path = storage.locate(file)
    record = _read_json(storage.read(file), path)
    try:
        runs = tuple(Run(str(run["run_id"]), str(run["arm"]), int(run["seed"])) for run in record["runs"])
        arms = tuple(map(str, record["arms"]))
        study = Study(name, record["dataset"], record["baseline"], arms, runs, record["command"])
    except (KeyError, TypeError, ValueError) as error:
        raise ResultsError(f"{path}: not a study's record: {error!r}") from error
    table = pd.DataFrame([(run.run_id, run.arm, run.seed) for run in runs], columns=["run_id", "arm", "seed"])
    for columns in (["run_id"], ["arm", "seed"]):
        repeated = table[table.duplicated(columns)]
        if len(repeated):
            raise ResultsError(f"{path}: run {runs[repeated.index[0]]} is listed twice")
    if unknown := sorted({run.arm for run in runs} - set(arms)):
        raise ResultsError(f"{path}: runs of arm {unknown[0]!r}, which isn't among its arms {', '.join(arms)}")
    if outside := [run for run in runs if PurePosixPath(run.run_id).name != run.run_id]:
        raise ResultsError(f"{path}: run id {outside[0].run_id!r} isn't the name of a folder")
    return study


def collect(storage: Storage, name: str) -> Collected:
    """Read and check the study's finished runs, and write them to the store's `results/study=<name>/images.parquet`.

    Columns: study, dataset, run_id, arm, block, metadata_mode, seed, parameters, then those of the runs' own files.
    Rows keep the order of the study's runs, and of their files: the same runs give the same bytes.

    Raises:
        ResultsError: no finished run; a file that is missing, corrupt or malformed; a row that is there twice; runs
            that were made of different datasets or evaluated on different images.
    """
    study, done = read_study(storage, name), storage.subfolders_with("runs", "DONE")
    tables: list[pa.Table] = []
    missing: list[Run] = []
    expected: tuple[Run, str, pd.MultiIndex] | None = None
    subgroup_column: str | None = None
    for run in study.runs:
        if run.run_id not in done:
            missing.append(run)
            continue
        config, images = _read_run(storage, run)
        fingerprint = str(config["dataset"]["fingerprint"])
        evaluated = _evaluated(images, storage.locate(f"runs/{run.run_id}/images.parquet"))
        if expected is None:
            expected = run, fingerprint, evaluated
            subgroup_column = config["dataset"].get("subgroup_column")
        _check_comparable(run, fingerprint, evaluated, expected)
        constants = {
            "study": study.name,
            "dataset": study.dataset,
            "run_id": run.run_id,
            "arm": run.arm,
            "block": str(config["arm"]["block"]),
            "metadata_mode": str(config["arm"]["metadata_mode"]),
        }
        columns = {column: _repeated(value, images.num_rows) for column, value in constants.items()}
        columns["seed"] = np.full(images.num_rows, run.seed)
        columns["parameters"] = np.full(images.num_rows, int(config["parameters"]))
        tables.append(pa.table(columns | dict(zip(images.column_names, images.columns, strict=True))))
    if not tables:
        raise ResultsError(f"study {name!r} in {storage.where}: none of its {len(study.runs)} runs is finished")
    table = pa.concat_tables(tables, promote_options="permissive").unify_dictionaries()
    file, content = f"results/study={name}/images.parquet", BytesIO()
    pq.write_table(table, content)
    storage.write(file, content.getvalue())
    return Collected(study, storage.locate(file), table.to_pandas(), tuple(missing), subgroup_column or "subgroup")


def _repeated(value: str, rows: int) -> pa.Array:
    """One value for all rows, as a dictionary: small, and the type readers give to `study=` in the folder's name."""
    return pa.DictionaryArray.from_arrays(np.zeros(rows, dtype=np.int32), pa.array([value], pa.string()))


def _read_json(content: bytes, path: str) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError as error:
        raise ResultsError(f"{path}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ResultsError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def _read_run(storage: Storage, run: Run) -> tuple[dict[str, Any], pa.Table]:
    """The run's configuration and its `images.parquet`, verified against `DONE`."""
    folder = f"runs/{run.run_id}"
    where = storage.locate(folder)
    done = _read_json(storage.read(f"{folder}/DONE"), f"{where}/DONE").get("sha256")
    content = {}
    for name in ("config.json", "images.parquet"):
        if not isinstance(done, dict) or name not in done:
            raise ResultsError(f"{where}/DONE: no checksum of {name}")
        try:
            content[name] = storage.read(f"{folder}/{name}")
        except OSError as error:
            reason = error.strerror or error
            raise ResultsError(f"{where}/{name}: can't be read, though its run is done: {reason}") from error
        found = hashlib.sha256(content[name]).hexdigest()
        if found != done[name]:
            raise ResultsError(f"{where}/{name}: corrupt: its SHA-256 is {found}, DONE says {done[name]}")

    config = _read_json(content["config.json"], f"{where}/config.json")
    for keys in (("arm", "block"), ("arm", "metadata_mode"), ("dataset", "fingerprint"), ("parameters",)):
        value: Any = config
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if value is None:
            raise ResultsError(f"{where}/config.json: no {'.'.join(keys)}")
    for key, wanted in (("run_id", run.run_id), ("seed", run.seed)):
        if config.get(key) != wanted:
            raise ResultsError(f"{where}/config.json: {key} is {config.get(key)!r}, the study says {wanted!r}")

    images = pq.read_table(BytesIO(content["images.parquet"]))
    _check_rows(images, f"{where}/images.parquet")
    return config, images


def _check_rows(images: pa.Table, path: str) -> None:
    """Types, values and uniqueness of a run's rows."""
    for column in TEXT + COUNTS:
        if column not in images.column_names:
            raise ResultsError(f"{path}: no column {column!r}; it has {', '.join(images.column_names)}")
        kind, expected = images[column].type, "text" if column in TEXT else "integers"
        right = pa.types.is_integer(kind) if column in COUNTS else kind in (pa.string(), pa.large_string())
        if not right:
            raise ResultsError(f"{path}: column {column!r} holds {kind}; expected {expected}")
        if images[column].null_count:
            raise ResultsError(f"{path}: column {column!r} has {images[column].null_count} missing values")
    rows = images.select(TEXT + COUNTS).to_pandas()
    negative = rows[(rows[COUNTS] < 0).any(axis=1)]
    if len(negative):
        raise ResultsError(f"{path}: row {negative.index[0] + 1}: a negative count of pixels")
    repeated = rows[rows.duplicated(KEY)]
    if len(repeated):
        first = ", ".join(f"{column} {repeated.iloc[0][column]!r}" for column in KEY)
        raise ResultsError(
            f"{path}: {len(repeated)} rows are there twice; the first is row {repeated.index[0] + 1}: {first}"
        )


def _evaluated(images: pa.Table, path: str) -> pd.MultiIndex:
    """What the run was compared on: its images and classes, and where they belong."""
    rows = images.select(TEXT).to_pandas()
    rows = rows[rows["evaluation"] == AS_TRAINED].drop(columns="evaluation")
    if rows.empty:
        raise ResultsError(f"{path}: no row of evaluation {AS_TRAINED!r}")
    return pd.MultiIndex.from_frame(rows)


def _check_comparable(
    run: Run, fingerprint: str, evaluated: pd.MultiIndex, expected: tuple[Run, str, pd.MultiIndex]
) -> None:
    """Paired tests need all runs to have been made of one dataset and evaluated on the same images."""
    first, first_fingerprint, first_evaluated = expected
    if fingerprint != first_fingerprint:
        raise ResultsError(
            f"run {run} is of dataset {fingerprint}, run {first} of {first_fingerprint}; expected one dataset"
        )
    if evaluated.equals(first_evaluated):
        return
    different = evaluated.symmetric_difference(first_evaluated)
    if len(different):
        row = ", ".join(f"{column} {value!r}" for column, value in zip(different.names, different[0], strict=True))
        raise ResultsError(
            f"runs {first} and {run} differ in {len(different)} of their evaluated images; the first: {row}"
        )
