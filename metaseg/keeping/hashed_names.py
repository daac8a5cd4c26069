"""Hashes in the place of names of images, groups and folds, and the search for names that are there all the same."""

import hashlib
import html
import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

DIGITS = 16
"""Hexadecimal digits that stand for a name."""

FEWEST_LETTERS, FEWEST_DIGITS = 3, 6
"""Fewest characters of a name, and of one that is a number, that is searched for: shorter ones are found by chance."""

EMBEDDED = re.compile(r"base64,[A-Za-z0-9+/=]+")


def hashed(fingerprint: str, name: str) -> str:
    """The hash of a name in the dataset with a fingerprint.

    >>> hashed("f00d", "images/jane.png")
    '59c47c50858af064'
    """
    return hashlib.sha256(f"{fingerprint}\0{name}".encode()).hexdigest()[:DIGITS]


def hashed_folds(record: Mapping[str, Any], fingerprint: str) -> dict[str, str]:
    """Hashes by the names of a study's folds; empty where these were drawn, so that they are numbers.

    Folds that are groups have the hashes of the groups. A sweep's record, which has one fold and doesn't say how it
    was made, gives that of its fold.
    """
    folds = record.get("folds")
    if isinstance(folds, dict) and folds.get("kind") == "drawn":
        return {}
    named = folds.get("names", ()) if isinstance(folds, dict) else ()
    names = [*named, *(run.get("fold") for run in record.get("runs", ())), record.get("fold")]
    return {name: hashed(fingerprint, name) for name in names if isinstance(name, str) and name}


def with_hashed_folds(record: Mapping[str, Any], hashes: Mapping[str, str]) -> dict[str, Any]:
    """The record of a study, run or sweep with hashes in the place of its folds' names, in the same order."""
    edited = dict(record)
    if isinstance(fold := record.get("fold"), str):
        edited["fold"] = hashes.get(fold, fold)
    if isinstance(folds := record.get("folds"), dict):
        edited["folds"] = folds | {"names": [hashes.get(name, name) for name in folds.get("names", ())]}
    if isinstance(runs := record.get("runs"), list):
        edited["runs"] = [with_hashed_folds(run, hashes) if isinstance(run, dict) else run for run in runs]
    if isinstance(untold := record.get("untold"), dict):
        edited["untold"] = {
            column: {hashes.get(fold, fold): values for fold, values in each.items()} for column, each in untold.items()
        }
    return edited


class NameSearch:
    """Finds names, as whole words, in files."""

    def __init__(self, names: Iterable[str]) -> None:
        fewest = {name: FEWEST_DIGITS if name.isdecimal() else FEWEST_LETTERS for name in names}
        self._words = {name: _words(name) for name, least in fewest.items() if len(name) >= least and _words(name)}

    def in_file(self, file: str, content: bytes) -> str | None:
        """The first of the names, in order, that is in a file; None if none is."""
        text = _text(file, content)
        there = _words(text)
        return next((name for name in sorted(self._words) if self._words[name] <= there and _is_in(name, text)), None)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


def _is_in(name: str, text: str) -> bool:
    # Beside digits a point makes another number; beside a word it ends a sentence.
    before, after = (r"(?<![\w.])", r"(?!\w|\.\d)") if name.isdecimal() else (r"(?<!\w)", r"(?!\w)")
    forms = {name, html.escape(name), html.escape(name, quote=False)}
    return any(re.search(f"{before}{re.escape(form)}{after}", text) for form in forms)


def _text(file: str, content: bytes) -> str:
    """Readable content of a file: texts of JSON and Parquet files as they are unpacked; of pictures nothing."""
    if file.endswith(".json"):
        return "\n".join(_strings(json.loads(content)))
    if file.endswith(".parquet"):
        table = pq.read_table(pa.BufferReader(content), use_threads=False)
        return "\n".join([*table.column_names, *parquet_texts(table)])
    return "" if file.endswith(".png") else EMBEDDED.sub("", content.decode(errors="replace"))


def parquet_texts(table: pa.Table) -> list[str]:
    """The notes of a table, and its columns of text with each value once."""
    notes = [note.decode(errors="replace") for note in (table.schema.metadata or {}).values()]
    columns = [
        "\n".join(str(value) for value in column.unique().to_pylist())
        for column in table.columns
        if any(is_text(_value_type(column.type)) for is_text in (pa.types.is_string, pa.types.is_large_string))
    ]
    return [*notes, *columns]


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _strings(value: Any) -> Iterable[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
    elif isinstance(value, str):
        yield value


def metadata_values(table: pa.Table) -> set[str]:
    """Values of subgroups and metadata in a table of counts, which stay as they are."""
    columns = [name for name in table.column_names if name == "subgroup" or name.startswith("meta_")]
    return {str(value) for name in columns for value in table[name].unique().to_pylist()}


def as_hashed(table: pa.Table, columns: Collection[str], fingerprint: str) -> pa.Table:
    """A table with hashes in columns of names."""
    for column in (name for name in columns if name in table.column_names):
        kind = table.schema.field(column).type
        hashes = {name: hashed(fingerprint, name) for name in table[column].unique().to_pylist()}
        values = pa.array([hashes[name] for name in table[column].to_pylist()], kind)
        table = table.set_column(table.column_names.index(column), pa.field(column, kind), values)
    return table
