"""Files of rows of the results dataset (docs/reference/results.md): encoded, and decoded a column at a time."""

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.results.declaration import ResultsError, read_json
from analysis.results.parquet import is_scalar, joined, open_parquet, refused
from metaseg.schema import COUNTS, RESULTS_VERSION

TEXT = pa.dictionary(pa.int32(), pa.string())

SCHEMA = pa.schema(
    [
        *((name, TEXT) for name in ("run_id", "arm", "part", "block", "metadata_mode")),
        *((name, pa.int64()) for name in ("seed", "parameters")),
        *((name, TEXT) for name in ("image", "class", "evaluation", "group", "subgroup")),
        *((name, pa.int64()) for name in COUNTS),
        ("score", pa.float64()),
        ("metric", TEXT),
    ]
)
"""Columns of each file, before its `meta_` columns; study and dataset are the names of the folders."""

FOLD = "fold"
"""A column of names, after `part`, in files of studies with folds."""

FILLED = (FOLD, "run_id", "arm", "seed", "image", "class", "evaluation", "group", "subgroup")
"""Columns without missing values."""

ROWS = 2**21
"""Runs share a file up to about so many rows: they have most names in common, which are then kept once."""


def read_rows(files: Mapping[str, bytes], run_ids: Sequence[str]) -> pd.DataFrame:
    """The rows of these runs, in this order; text is categorical.

    Args:
        files: content by path. A column at a time is decoded, of all of them: all columns at once would be large.
        run_ids: of runs in these files.

    Returns:
        The files' columns, without score and metric, or without tp, fp, fn and tn where all rows have a score.

    Raises:
        ResultsError: a file isn't of this schema.
    """
    opened = {path: _open(content, path) for path, content in files.items()}
    scored = all(_read_column(file, path, "score").column(0).null_count == 0 for path, file in opened.items())
    left_out = set(COUNTS) if scored else {"score", "metric"}
    names = dict.fromkeys(name for file in opened.values() for name in file.schema_arrow.names if name not in left_out)
    spans = _spans(_column(files, "run_id"), run_ids, next(iter(files)).rpartition("/")[0])

    def values(name: str) -> pd.Series:
        column = _column(files, name)
        chunks = [chunk for start, rows in spans for chunk in column.slice(start, rows).chunks]
        found: pd.Series = pa.chunked_array(chunks, column.type).to_pandas()
        return found

    with ThreadPoolExecutor(4) as pool:
        return pd.DataFrame(dict(zip(names, pool.map(values, names), strict=True)), copy=False)


def _column(files: Mapping[str, bytes], name: str) -> pa.ChunkedArray:
    """A column of all files, one after the other, with one dictionary; missing values where a file has none."""
    # Opened anew, since threads can't share readers.
    tables = [_read_column(_open(content, path), path, name) for path, content in files.items()]
    return joined(tables, next(iter(files)).rpartition("/")[0]).column(0)


def _read_column(file: pq.ParquetFile, path: str, name: str) -> pa.Table:
    if name not in file.schema_arrow.names:
        return pa.table({name: pa.nulls(file.metadata.num_rows)})
    with refused(path):
        column = file.read([name], use_threads=False)
        column.validate(full=True)
    if column.num_rows != file.metadata.num_rows:
        raise ResultsError(f"{path}: column {name!r} has {column.num_rows} of {file.metadata.num_rows} rows; damaged")
    if name in FILLED and (missing := column.column(0).null_count):
        raise ResultsError(f"{path}: column {name!r} has {missing} missing values; expected none")
    return column


def _spans(run_id: pa.ChunkedArray, wanted: Sequence[str], where: str) -> list[tuple[int, int]]:
    """First row and number of rows of each run, of which the rows follow each other; one span where that is all."""
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in run_id.chunks])
    starts = np.append(0, np.flatnonzero(codes[1:] != codes[:-1]) + 1)
    lengths = np.diff(starts, append=len(codes))
    run_ids = run_id.chunk(0).dictionary.take(pa.array(codes[starts])).to_pylist()
    if run_ids == list(wanted):
        return [(0, len(codes))]
    spans = dict(zip(run_ids, zip(starts.tolist(), lengths.tolist(), strict=True), strict=True))
    if lacking := [each for each in wanted if run_ids.count(each) != 1]:
        raise ResultsError(f"{where}: run {lacking[0]} isn't there once, with its rows together; collect again")
    return [spans[each] for each in wanted]


def decode(content: bytes, path: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows in a file's content, or some columns; raises `ResultsError` where they aren't of this schema."""
    return decode_with_metadata(content, path, columns)[0]


def decode_with_metadata(
    content: bytes, path: str, columns: Sequence[str] | None = None
) -> tuple[pa.Table, dict[str, Any]]:
    """The rows in a file's content, and what `encode` was told `about` them."""
    file = _open(content, path)
    about = read_json((file.schema_arrow.metadata or {}).get(b"metaseg.about", b"{}"), path)
    with refused(path):
        table = file.read(columns, use_threads=False).replace_schema_metadata(None)
        table.validate(full=True)
    return table, about


def _open(content: bytes, path: str) -> pq.ParquetFile:
    file = open_parquet(content, path)
    kinds = dict(zip(file.schema_arrow.names, file.schema_arrow.types, strict=True))
    wanted = [*SCHEMA, *([pa.field(FOLD, TEXT)] if FOLD in kinds else [])]
    if wrong := [field for field in wanted if kinds.get(field.name) != field.type]:
        raise ResultsError(f"{path}: no column {wrong[0].name!r} of type {wrong[0].type}")
    if odd := [name for name, kind in kinds.items() if not is_scalar(kind)]:
        raise ResultsError(f"{path}: column {odd[0]!r} holds {kinds[odd[0]]}; expected text or numbers")
    return file


def ordered(names: Iterable[str]) -> list[str]:
    """Names of columns in the order that files have them in."""
    schema = SCHEMA.names
    order = [*schema[: schema.index("part") + 1], FOLD, *schema[schema.index("part") + 1 :]]
    names = dict.fromkeys(names)
    return [name for name in order if name in names] + [name for name in names if name not in order]


def encode(table: pa.Table, about: Mapping[str, Any]) -> bytes:
    """A file of the dataset.

    Args:
        table: its rows: the columns of `SCHEMA`, then any `meta_` columns.
        about: what to keep as the file's metadata.
    """
    metadata = {"metaseg.schema": str(RESULTS_VERSION), "metaseg.about": json.dumps(about, sort_keys=True)}
    text = [field.name for field in table.schema if pa.types.is_dictionary(field.type)]
    skipped_by = ["run_id", "arm", *(field.name for field in table.schema if field.name not in text)]
    content = BytesIO()
    pq.write_table(
        table.replace_schema_metadata(metadata),
        content,
        row_group_size=2**26,  # names are kept once in each
        use_dictionary=text,
        write_page_checksum=True,
        write_statistics=skipped_by,  # those of names take as long as all else, and a file has nearly all names
        column_encoding={field.name: "DELTA_BINARY_PACKED" for field in table.schema if field.type == pa.int64()},
        dictionary_pagesize_limit=2**28,  # else a column of many names is written without its dictionary
    )
    return content.getvalue()


def repeated(value: str | None, rows: int) -> pa.Array:
    """One value, or none, for all rows."""
    indices = pa.nulls(rows, pa.int32()) if value is None else pa.repeat(pa.scalar(0, pa.int32()), rows)
    return pa.DictionaryArray.from_arrays(indices, pa.array([] if value is None else [value], pa.string()), safe=False)
