"""Tables of per-image scores from elsewhere: nnU-Net's summary.json, MONAI's CSVs, a colleague's CSV or Parquet."""

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv

from analysis.results.declaration import LARGEST, ResultsError, load_json
from analysis.results.parquet import is_scalar, read_parquet, refused
from metaseg.schema import ALL, COUNTS

SYNONYMS = {"f1": "f1", "dice": "f1", "dsc": "f1", "iou": "iou", "jaccard": "iou"}
"""Column names that are recognised as scores, and the score that each one is."""

NEEDED = ["tp", "fp", "fn"]
"""Counts that make a score; `tn` isn't needed."""

TEXT = ["image", "arm", "class", "subgroup", "group", "fold"]
KEY = ["arm", "seed", "image", "class", "subgroup"]

DEFAULTS: dict[str, str | int] = {"class": "foreground", "subgroup": ALL, "seed": 0}
"""Values of optional columns where a table lacks them. Without a group, each image is its own group."""


@dataclass(frozen=True)
class Table:
    """A file, and the arm and seed that it doesn't state itself."""

    path: Path
    arm: str | None = None
    """Arm of all rows, where the file has no such column."""
    seed: int | None = None


@dataclass(frozen=True)
class Scores:
    """A table's rows: arm, seed, image, class, subgroup, group, fold, and tp, fp, fn, tn or score.

    The fold is empty where the table has no such column, or nothing in it.
    """

    rows: pd.DataFrame
    metric: str
    """Name of the score; f1 where there are counts."""


def read_table(table: Table, columns: Mapping[str, str]) -> Scores:
    """Read and check a table.

    Args:
        table: CSV (commas, semicolons or tabs), Parquet, or the summary.json of nnU-Net v2. Headers may be upper case.
        columns: the table's names of columns that are called otherwise here, by the name here.

    Raises:
        ResultsError: names the file, the row (the first below the header is 1), what is there and what was expected.
        OSError: the file can't be read.
    """
    content, path = table.path.read_bytes(), table.path
    if path.suffix == ".json":
        rows = _nnunet(content, path)
    elif path.suffix in (".parquet", ".pq"):
        rows = _parquet(content, path, columns)
    else:
        rows = _csv(content, path, columns)
    rows = _rename(rows, columns, path)
    given = {"arm": table.arm, "seed": table.seed}
    for name, value in given.items():
        if value is not None and name in rows:
            raise ResultsError(
                f"{path}: has a column {name!r}, and {name} {value!r} is given with the file; expected one"
            )
        if value is not None:
            rows[name] = value
    if "image" not in rows and "filename" in rows:
        rows, metric = _monai(rows, path)
    else:
        rows, metric = _named_score(rows, columns.get("score", "score").lower(), path)
    return Scores(_checked(rows, path), metric)


def _csv(content: bytes, path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Numbers in the text columns ("007") stay as they are written."""
    header = content.partition(b"\n")[0].decode("utf-8-sig", "replace")
    separator = max(",;\t", key=header.count)
    names = [name.strip().strip('"') for name in header.strip().split(separator)]
    text = {columns.get(name, name).lower() for name in [*TEXT, "filename"]}
    try:
        options = pyarrow.csv.ConvertOptions(column_types={name: pa.string() for name in names if name.lower() in text})
        table = pyarrow.csv.read_csv(
            BytesIO(content),
            read_options=pyarrow.csv.ReadOptions(use_threads=False),  # they outlive an error, and abort the process
            parse_options=pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=True),
            convert_options=options,
        )
        rows: pd.DataFrame = table.to_pandas()
    except (pa.ArrowException, ValueError) as error:
        raise ResultsError(f"{path}: not CSV in UTF-8: {error}") from error
    return rows


def _parquet(content: bytes, path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Columns of text and numbers; those of anything else are left out, where they aren't meant."""
    table = read_parquet(content, str(path))
    odd = [field for field in table.schema if not is_scalar(field.type)]
    meant = {"filename", "seed", "score", *TEXT, *COUNTS, *SYNONYMS}
    for field in odd:
        if field.name in columns.values() or field.name.lower() in meant:
            raise ResultsError(f"{path}: column {field.name!r} holds {field.type}; expected text or numbers")
    with refused(str(path)):
        rows: pd.DataFrame = table.drop_columns([field.name for field in odd]).to_pandas(ignore_metadata=True)
    return rows


def _nnunet(content: bytes, path: Path) -> pd.DataFrame:
    """Counts of nnU-Net v2's evaluation, which has one case an image and one label a class."""
    try:
        cases = load_json(content, str(path))["metric_per_case"]
        rows = pd.DataFrame(
            [
                {"image": Path(case.get("reference_file") or case["prediction_file"]).name, "class": label}
                | {name.lower(): counts[name] for name in ("TP", "FP", "FN", "TN")}
                for case in cases
                for label, counts in case["metrics"].items()
            ]
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise ResultsError(f"{path}: not a summary.json of nnU-Net v2: {error!r}; expected metric_per_case") from error
    return rows


def _monai(rows: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, str]:
    """A row an image, a column a class, as in METRIC_raw.csv by MONAI's MetricsSaver; its column `mean` is left out."""
    own = [name for name in ("filename", "arm", "seed", "subgroup", "group", "fold") if name in rows]
    classes = [name for name in rows if name not in own and name != "mean"]
    metric = next((SYNONYMS[word] for word in SYNONYMS if word in path.stem.lower()), path.stem.removesuffix("_raw"))
    long = rows.melt(own, classes, "class", "score", ignore_index=False)
    return long.rename(columns={"filename": "image"}), metric


def _rename(rows: pd.DataFrame, columns: Mapping[str, str], path: Path) -> pd.DataFrame:
    there = [str(name).strip() for name in rows.columns]
    for new, old in columns.items():
        if old not in there:
            raise ResultsError(f"{path}: no column {old!r} to be taken as {new!r}; it has {', '.join(there)}")
    taken = {old: new for new, old in columns.items()}
    names = [taken.get(name, name.lower()) for name in there]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise ResultsError(f"{path}: two columns are called {repeated[0]!r}; expected one")
    renamed: pd.DataFrame = rows.set_axis(names, axis=1)
    return renamed


def _named_score(rows: pd.DataFrame, called: str, path: Path) -> tuple[pd.DataFrame, str]:
    """The rows with columns tp, fp and fn, or score; and what that is: `called` so by the table. Counts first."""
    if set(NEEDED) <= set(rows):
        return rows.drop(columns="score", errors="ignore"), "f1"
    if "score" in rows:
        return rows, SYNONYMS.get(called, called)
    if found := [name for name in SYNONYMS if name in rows]:
        return rows.rename(columns={found[0]: "score"}), SYNONYMS[found[0]]
    raise ResultsError(
        f"{path}: no column score, {', '.join(SYNONYMS)}, nor all of {', '.join(NEEDED)}; it has "
        f"{', '.join(map(str, rows))}: name one with --column score=NAME"
    )


def _checked(rows: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The columns of `Scores`, of the right types; the index is the row in the file, from 0."""
    for name in ("image", "arm"):
        if name not in rows:
            raise ResultsError(
                f"{path}: no column {name!r}; it has {', '.join(map(str, rows))}: name one with --column {name}=NAME"
                + (", or give the file's arm with --table ARM=FILE" if name == "arm" else "")
            )
    if rows.empty:
        raise ResultsError(f"{path}: no rows")
    for name, value in DEFAULTS.items():
        if name not in rows:
            rows[name] = pd.Series(value, rows.index)
    if "group" not in rows:
        rows["group"] = rows["image"]
    folds = "fold" in rows and bool((rows["fold"].notna() & (rows["fold"].astype(str) != "")).any())
    if not folds:
        rows["fold"] = ""
    for name in [*TEXT, "seed", *COUNTS, "score"]:
        if name in rows and rows[name].dtype == object:
            _require(rows[name].map(pd.api.types.is_scalar), rows[name], path, "text or a number")
    for name in TEXT if folds else TEXT[:-1]:
        _require(rows[name].notna() & (rows[name].astype(str) != ""), rows[name], path, "a name")
        rows[name] = rows[name].astype(str)
    numbers = pd.to_numeric(rows["seed"], errors="coerce")
    _require(numbers.notna() & (numbers % 1 == 0) & (numbers.abs() <= LARGEST), rows["seed"], path, "an integer")
    rows["seed"] = numbers.astype("int64")
    if "score" in rows:
        score = pd.to_numeric(rows["score"], errors="coerce")
        hint = "a number in 0..1: where both masks are empty the convention is 1, or leave the image out for all arms"
        _require(score.notna(), rows["score"], path, hint)
        _require(score.between(0, 1), rows["score"], path, "a number in 0..1")
        rows["score"] = score.astype("float64")
    counts = [] if "score" in rows else [name for name in COUNTS if name in rows]
    for name in counts:
        number = pd.to_numeric(rows[name], errors="coerce")
        right = number.notna() & number.between(0, LARGEST) & (number % 1 == 0)
        _require(right, rows[name], path, "a count, 0 or more")
        rows[name] = number.astype("int64")
    repeated = rows.duplicated(KEY)
    if repeated.any():
        first = int(repeated.to_numpy().argmax())
        what = ", ".join(f"{name} {value!r}" for name, value in rows[KEY].astype(object).iloc[first].items())
        raise ResultsError(
            f"{path}: {int(repeated.sum())} rows are there twice; the first is row {rows.index[first] + 1}: {what}"
        )
    return rows[[*TEXT, "seed", *(["score"] if "score" in rows else counts)]]


def _require(right: "pd.Series[bool]", values: "pd.Series[Any]", path: Path, expected: str) -> None:
    if not right.all():
        first = int((~right).to_numpy().argmax())
        value = values.iloc[first]
        scalar = pd.api.types.is_scalar(value)
        shown = repr(value.item() if scalar and hasattr(value, "item") else value)
        if scalar and pd.isna(value):
            shown = "empty or NaN"
        raise ResultsError(f"{path}: row {values.index[first] + 1}: {values.name} is {shown}; expected {expected}")
