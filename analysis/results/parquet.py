"""Parquet files, which may be damaged or another's: read whole, or refused by an error that names the file."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.results.declaration import ResultsError

Kind = Literal["text", "integers", "numbers", "booleans", "lists of numbers"]


def open_parquet(content: bytes, path: str, advice: str = "") -> pq.ParquetFile:
    """Open a file's reader; reads from it belong inside `refused`.

    Raises:
        ResultsError: names `path`: it isn't Parquet, or two of its columns have one name; `advice` stands at the end.
    """
    with refused(path, advice):
        # Neither buffered ahead nor read by threads of pyarrow: where a page is damaged, those that still read as the
        # process ends abort it.
        file = pq.ParquetFile(pa.BufferReader(content), pre_buffer=False, page_checksum_verification=True)
        names = file.schema_arrow.names
    if twice := [name for name in names if names.count(name) > 1]:
        raise ResultsError(f"{path}: two columns are called {twice[0]!r}; expected one{advice}")
    return file


def read_parquet(content: bytes, path: str, advice: str = "") -> pa.Table:
    """All rows, with all their text valid; raises as `open_parquet`, also where a page is damaged."""
    file = open_parquet(content, path, advice)
    with refused(path, advice):
        table = file.read(use_threads=False)
        table.validate(full=True)
        # What pandas notes there is JSON, whose content nobody has checked; types say enough.
        notes = {key: value for key, value in (table.schema.metadata or {}).items() if key != b"pandas"}
    return table.replace_schema_metadata(notes)


@contextmanager
def refused(path: str, advice: str = "") -> Iterator[None]:
    """Turn anything that a damaged file raises inside the block into a `ResultsError`."""
    try:
        yield
    except ResultsError:
        raise
    except Exception as error:  # a damaged file can raise anything inside a decoder
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ResultsError(f"{path}: not Parquet, or damaged: {reason}{advice}") from error


def joined(tables: Sequence[pa.Table], where: str) -> pa.Table:
    """One table after the other; raises `ResultsError` where a column is text in some and numbers in others."""
    try:
        return pa.concat_tables(tables, promote_options="permissive").unify_dictionaries()
    except pa.ArrowException as error:
        reason = str(error).partition("\n")[0]
        raise ResultsError(f"{where}: runs have columns of one name that hold different things: {reason}") from error


def require(table: pa.Table, columns: Sequence[str], kind: Kind, path: str, advice: str = "") -> None:
    """Raises `ResultsError` where the table lacks one of the columns, or it holds something else."""
    for column in columns:
        if column not in table.column_names:
            raise ResultsError(f"{path}: no column {column!r}; it has {', '.join(table.column_names)}{advice}")
        found = table.schema.field(column).type
        if kind not in kinds_of(found) and not (pa.types.is_null(found) and kind != "integers"):
            raise ResultsError(f"{path}: column {column!r} holds {found}; expected {kind}{advice}")


def is_scalar(found: pa.DataType) -> bool:
    """Tell whether the type holds text, numbers or booleans, or nothing but nulls."""
    return pa.types.is_null(found) or bool({"text", "numbers", "booleans"} & set(kinds_of(found)))


def kinds_of(found: pa.DataType) -> Collection[Kind]:
    """Kinds that values of a type belong to; empty for types that aren't used here."""
    kinds: list[Kind] = []
    if (
        pa.types.is_string(found)
        or pa.types.is_large_string(found)
        or (pa.types.is_dictionary(found) and "text" in kinds_of(found.value_type))
    ):
        kinds = ["text"]
    elif pa.types.is_boolean(found):
        kinds = ["booleans"]
    elif pa.types.is_integer(found):
        kinds = ["integers", "numbers"]
    elif pa.types.is_floating(found) or pa.types.is_decimal(found):
        kinds = ["numbers"]
    elif pa.types.is_list(found) or pa.types.is_large_list(found):
        numbers = "numbers" in kinds_of(found.value_type) or pa.types.is_null(found.value_type)
        kinds = ["lists of numbers"] if numbers else []
    return kinds
