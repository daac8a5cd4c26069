"""Text columns of runs' images: runs of a study mostly have the same, which are then decoded, and encoded, once."""

import hashlib
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.results.parquet import open_parquet, refused
from metaseg.schema import AS_TRAINED, ROW

Stored = dict[str, tuple[str, bytes]]
"""How each text column is stored in a Parquet file, and its bytes there: where both are equal, so are the values."""


@dataclass(frozen=True)
class RunText:
    """A run's text columns."""

    stored: Stored
    plain: pa.Table
    """As read."""
    encoded: pa.Table
    """As dictionaries."""
    images_sha256: str
    """Of what was evaluated as trained, in whatever order."""


def read_images(content: bytes, path: str, last: RunText | None) -> tuple[pa.Table, Stored]:
    """The rows of a run's `images.parquet`; its text is the last run's, not decoded, where it is stored equally.

    Raises:
        ResultsError: it isn't Parquet, or damaged.
    """
    file = open_parquet(content, path)
    with refused(path):
        _check_chunks(file, _text(file.schema_arrow))
        stored = {name: _stored(content, file, name) for name in _text(file.schema_arrow)}
        names = file.schema_arrow.names
        known = last is not None and stored == last.stored
        other = file.read([name for name in names if not known or name not in stored], use_threads=False)
        other.validate(full=True)
    if last is None or not known:
        return other.replace_schema_metadata(None), stored
    return pa.table({name: (last.plain if name in stored else other)[name] for name in names}), stored


def run_text(images: pa.Table, stored: Stored, last: RunText | None) -> RunText:
    """The text of rows that are in order; the last run's where it is equal."""
    if last is not None and stored == last.stored:
        return last
    plain = images.select(_text(images.schema))
    if last is not None and plain.equals(last.plain):
        return last
    columns = {name: plain[name].cast(pa.string()).combine_chunks().dictionary_encode() for name in plain.column_names}
    return RunText(stored, plain, pa.table(columns), _images_sha256(plain))


def _text(schema: pa.Schema) -> list[str]:
    return [field.name for field in schema if field.type in (pa.string(), pa.large_string())]


def _check_chunks(file: pq.ParquetFile, names: list[str]) -> None:
    """Read a row of each row group: pyarrow refuses damaged descriptions of columns so, and dies of them elsewhere."""
    for number in range(file.num_row_groups):
        next(file.iter_batches(1, row_groups=[number], columns=names, use_threads=False), None)


def _stored(content: bytes, file: pq.ParquetFile, name: str) -> tuple[str, bytes]:
    """Its column chunks, one after the other, and what reading them depends on besides."""
    paths = [file.schema.column(number).path for number in range(len(file.schema))]
    place, chunks = paths.index(name), []
    groups = [file.metadata.row_group(number).column(place) for number in range(file.metadata.num_row_groups)]
    for group in groups:
        start = min(offset for offset in (group.dictionary_page_offset, group.data_page_offset) if offset)
        chunks.append(content[start : start + group.total_compressed_size])
    how = [(group.num_values, group.compression, len(chunk)) for group, chunk in zip(groups, chunks, strict=True)]
    return f"{file.schema.column(place)} {how}", b"".join(chunks)


def _images_sha256(plain: pa.Table) -> str:
    rows = plain.filter(pc.equal(plain["evaluation"], AS_TRAINED))
    joined = pc.binary_join_element_wise(*(rows[name].cast(pa.string()) for name in [*ROW, "group"]), "\x1f")
    ordered = joined.combine_chunks().take(pc.sort_indices(joined))
    whole = pc.binary_join(pa.ListArray.from_arrays(pa.array([0, len(ordered)], pa.int32()), ordered), "\x1e")
    return hashlib.sha256(whole[0].as_buffer()).hexdigest()
