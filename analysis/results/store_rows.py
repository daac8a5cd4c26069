"""Rows of finished runs, one per test image, class and evaluation: read from a store, verified and checked."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from analysis.results.declaration import LARGEST, ResultsError, Run, Study, read_json
from analysis.results.parquet import is_scalar, require
from metaseg.notebook import counted, html_table
from metaseg.schema import AS_TRAINED, CONFIG, COUNTS, DONE, IMAGES, KEY, ROW, run_folder
from metaseg.store.storage import Storage

TEXT = [*KEY, "group"]

OWN = {"study", "dataset", "run_id", "arm", "part", "fold", "block", "metadata_mode", "seed", "parameters"}
OWN |= {"score", "metric"}
"""Columns that results add to those of the runs' own files."""

Evaluated = tuple[Run, str, pd.DataFrame]
"""A finished run, its dataset's fingerprint, and the `ROW` and group of each of its rows as trained."""


@dataclass(frozen=True)
class Collected:
    """Results of a study: its declaration, and a row per run, test image, class and evaluation.

    Example:
        >>> from pathlib import Path
        >>> from analysis import example_scores, read_results
        >>> from analysis.results.external_study import Table, adopt
        >>> from metaseg.store.storage import open_storage
        >>> example_scores(seeds=2, images=12).to_csv("scores.csv", index=False)
        >>> collected = adopt(open_storage("results"), [Table(Path("scores.csv"))], "example", {})
        >>> results = read_results("results", "example")
        >>> results.study.baseline, results.missing
        ('baseline', ())
    """

    study: Study
    path: str
    """Folder of the Parquet files: an absolute path or a URL."""
    images: pd.DataFrame
    """Its rows."""
    missing: tuple[Run, ...]
    """Runs that aren't finished; they have no rows."""
    subgroup_column: str
    """The metadata column that `subgroup` holds, or "subgroup" where the runs don't say."""
    metric: str = "f1"
    """Name of the score where rows hold `score` instead of counts."""
    declared: frozenset[str] = frozenset()
    """For scores from elsewhere: which of margin, average, endpoint and comparisons were declared."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Words to use for some of `analysis.wording.RENAMED`."""

    def __repr__(self) -> str:
        study = self.study
        there = f"{len(study.runs) - len(self.missing)} of {counted(len(study.runs), 'run')}"
        return f"<Results of study {study.name!r} on {study.dataset!r}: {there}, {counted(len(self.images), 'row')}>"

    def _repr_html_(self) -> str:
        study, trained = self.study, self.images[self.images["evaluation"] == AS_TRAINED]
        rows = []
        for arm in study.arms:
            own, asked = trained[trained["arm"] == arm], [run for run in study.runs if run.arm == arm]
            lacking = sum(run.arm == arm for run in self.missing)
            rows.append((arm, len(asked) - lacking, lacking, own["seed"].nunique(), own["image"].nunique()))
        return html_table(
            f"Results of study {study.name} on {study.dataset}",
            ("arm", "runs", "not finished", "seeds", "images"),
            rows,
            (f"{counted(len(self.images), 'row')} in {self.path}", study.about),
        )


def checksums(storage: Storage, run: Run) -> dict[str, str]:
    """SHA-256 of a finished run's files, from its `DONE`; raises `ResultsError` if that has none."""
    path = storage.locate(f"{run_folder(run.run_id)}/{DONE}")
    recorded = read_json(storage.read(f"{run_folder(run.run_id)}/{DONE}"), path).get("sha256")
    done = recorded if isinstance(recorded, dict) else {}
    for name in (CONFIG, IMAGES):
        if name not in done:
            raise ResultsError(f"{path}: no checksum of {name}")
    return {name: str(value) for name, value in done.items()}


def read_run(storage: Storage, run: Run, done: dict[str, str]) -> tuple[dict[str, Any], bytes]:
    """The run's configuration and the content of its `images.parquet`, verified against `checksums`."""
    folder = run_folder(run.run_id)
    where = storage.locate(folder)
    content = {}
    for name in (CONFIG, IMAGES):
        try:
            content[name] = storage.read(f"{folder}/{name}")
        except OSError as error:
            reason = error.strerror or error
            raise ResultsError(f"{where}/{name}: can't be read, though its run is done: {reason}") from error
        found = hashlib.sha256(content[name]).hexdigest()
        if found != done[name]:
            raise ResultsError(f"{where}/{name}: corrupt: its SHA-256 is {found}, DONE says {done[name]}")

    config = read_json(content[CONFIG], f"{where}/{CONFIG}")
    for keys in (("arm", "block"), ("arm", "metadata_mode"), ("dataset", "fingerprint"), ("parameters",)):
        value: Any = config
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if value is None:
            raise ResultsError(f"{where}/{CONFIG}: no {'.'.join(keys)}")
        if type(value) is not (kind := int if keys == ("parameters",) else str):
            raise ResultsError(f"{where}/{CONFIG}: {'.'.join(keys)} is {value!r:.60}; expected {kind.__name__}")
    for key in ("versions", "hardware"):
        if not isinstance(value := config.get(key) or {}, dict):
            raise ResultsError(f"{where}/{CONFIG}: {key} is {value!r:.60}; expected an object")
    if not isinstance(column := config["dataset"].get("subgroup_column"), str | None):
        raise ResultsError(f"{where}/{CONFIG}: dataset.subgroup_column is {column!r:.60}; expected text")
    for key, wanted in (("run_id", run.run_id), ("seed", run.seed), ("fold", run.fold or None)):
        if config.get(key) != wanted:
            raise ResultsError(f"{where}/{CONFIG}: {key} is {config.get(key)!r}, the study says {wanted!r}")
    return config, content[IMAGES]


def check_rows(images: pa.Table, path: str, like: pa.Table | None = None) -> None:
    """Types, values and uniqueness of a run's rows.

    Args:
        images: the rows.
        path: of their file, for the message.
        like: other rows that were checked: columns `TEXT` that are the same aren't checked again.

    Raises:
        ResultsError: names the first column or row that is wrong.
    """
    require(images, TEXT, "text", path)
    require(images, COUNTS, "integers", path)
    for one in images.schema:
        if one.name in OWN:
            raise ResultsError(f"{path}: has a column {one.name!r}, which a run's rows are given; expected none")
        if pa.types.is_dictionary(one.type) or not is_scalar(one.type):
            raise ResultsError(f"{path}: column {one.name!r} holds {one.type}; expected text or numbers")
    for column in TEXT + COUNTS:
        if images[column].null_count:
            raise ResultsError(f"{path}: column {column!r} has {images[column].null_count} missing values")
    if images.num_rows:
        for what, wrong in (("a negative", _negative), ("an impossible", _too_large)):
            found = [pc.index(wrong(images[column]), True).as_py() for column in COUNTS]
            if any(row >= 0 for row in found):
                row = min(row for row in found if row >= 0)
                raise ResultsError(f"{path}: row {row + 1}: {what} count of pixels")
    if like is not None and images.select(TEXT).equals(like.select(TEXT)):
        return
    rows = images.select(TEXT).to_pandas()
    repeated = rows[rows.duplicated(KEY)]
    if len(repeated):
        first = _name(KEY, repeated.iloc[0][KEY])
        raise ResultsError(
            f"{path}: {len(repeated)} rows are there twice; the first is row {repeated.index[0] + 1}: {first}"
        )
    if not (rows["evaluation"] == AS_TRAINED).any():
        raise ResultsError(f"{path}: no row of evaluation {AS_TRAINED!r}")


def _negative(counts: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.less(counts, pa.scalar(0, counts.type))


def _too_large(counts: pa.ChunkedArray) -> pa.ChunkedArray:
    most = LARGEST if counts.type.bit_width == 64 else 2 ** (counts.type.bit_width - 1) - 1
    return pc.greater(counts, pa.scalar(most, counts.type))


def check_comparable(evaluated: list[Evaluated]) -> None:
    """Refuse runs of different datasets or, apart from parts, of different images: paired tests need both to agree.

    Runs of one fold have the same images; folds share no image and no group.
    """
    first, first_fingerprint, _ = evaluated[0]
    for run, fingerprint, _ in evaluated:
        if fingerprint != first_fingerprint:
            raise ResultsError(
                f"run {run} is of dataset {fingerprint}, run {first} of {first_fingerprint}; expected one dataset"
            )
    folds = list(dict.fromkeys(run.fold for run, _, _ in evaluated))
    for fold in folds:
        _check_fold([each for each in evaluated if each[0].fold == fold])
    if len(folds) > 1:
        _check_folds(evaluated)


def _check_fold(evaluated: list[Evaluated]) -> None:
    """Refuse runs of one fold that have different images."""
    whole = [(run, pd.MultiIndex.from_frame(rows)) for run, _, rows in evaluated if not run.part]
    parts = [(run, rows) for run, _, rows in evaluated if run.part]
    for run, index in whole[1:]:
        if not index.equals(whole[0][1]) and len(different := index.symmetric_difference(whole[0][1])):
            raise ResultsError(
                f"runs {whole[0][0]} and {run} differ in {len(different)} of their evaluated images; the first: "
                f"{_name([*ROW, 'group'], different[0])}"
            )
    for run, rows in parts if whole else []:
        beyond = pd.MultiIndex.from_frame(rows).difference(whole[0][1])
        if len(beyond):
            raise ResultsError(
                f"run {run} was evaluated on {len(beyond)} images that run {whole[0][0]} wasn't; the first: "
                f"{_name([*ROW, 'group'], beyond[0])}"
            )
    if parts:
        _check_parts(parts)


def _check_folds(evaluated: list[Evaluated]) -> None:
    """Refuse an image or a group in two folds: networks that trained on it would be tested on it, or on its like."""
    for column in ("image", "group"):
        found = pd.concat(
            [
                pd.DataFrame({column: rows[column].unique(), "fold": run.fold, "run": number})
                for number, (run, _, rows) in enumerate(evaluated)
            ],
            ignore_index=True,
        ).drop_duplicates([column, "fold"])
        repeated = found[found.duplicated(column)]
        if len(repeated):
            second = repeated.iloc[0]
            first = found[found[column] == second[column]].iloc[0]
            raise ResultsError(
                f"runs {evaluated[first['run']][0]} and {evaluated[second['run']][0]} were both tested on {column} "
                f"{second[column]!r}; expected each {column} in one fold"
            )


def _check_parts(parts: list[tuple[Run, pd.DataFrame]]) -> None:
    """Refuse parts of one arm and seed that share an image, and images whose group differs between arms."""
    rows = pd.concat(
        [rows.assign(arm=run.arm, seed=run.seed, run=number) for number, (run, rows) in enumerate(parts)],
        ignore_index=True,
    )
    grouped = rows.drop_duplicates([*ROW, "group"])
    for table, key, wrong in (
        (rows, ["arm", "seed", *ROW], "were both evaluated on"),
        (grouped, ROW, "differ in the group of"),
    ):
        repeated = table[table.duplicated(key)]
        if len(repeated):
            second = repeated.iloc[0]
            first = table[(table[key] == second[key]).all(axis=1)].iloc[0]
            raise ResultsError(
                f"runs {parts[first['run']][0]} and {parts[second['run']][0]} {wrong} {len(repeated)} images; "
                f"the first: {_name(ROW, second[ROW])}"
            )


def _name(columns: Iterable[str], values: Iterable[object]) -> str:
    return ", ".join(f"{column} {value!r}" for column, value in zip(columns, values, strict=True))
