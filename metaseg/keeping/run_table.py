"""Rows of runs as a table, CSV or JSON."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Literal

from rich.cells import cell_len
from rich.console import Console

from metaseg.keeping.catalogue import COLUMNS
from metaseg.keeping.condition import Row, Value
from metaseg.terminal import visible

Format = Literal["table", "csv", "json"]

SHOWN = ("run", "state", "arm", "part", "seed", "fold", "dataset", "epochs", "val_f1", "test_f1", "minutes", "finished")
"""Columns of the table by default; a part and a fold only where a run has one. CSV and JSON have all."""

DIGITS = {"val_f1": 4, "test_f1": 4, "minutes": 1}


def write_rows(rows: Sequence[Row], columns: Sequence[str], how: Format, console: Console) -> None:
    """Print rows.

    Args:
        rows: of `metaseg.keeping.catalogue.catalogue`.
        columns: names of columns, in order; empty: those that suit the format.
        how: `table`, for people; `csv`, with text that spreadsheets don't take for formulas; `json`, a list of objects.
        console: to print on.
    """
    if how == "csv":
        console.file.write(_to_csv(rows, columns or tuple(COLUMNS)))
    elif how == "json":
        listed = [{name: row[name] for name in columns or COLUMNS} for row in rows]
        console.file.write(json.dumps(listed, indent=1, ensure_ascii=True) + "\n")
    else:
        optional = {"part", "fold"} - {name for name in ("part", "fold") if any(row[name] for row in rows)}
        _print_table(rows, columns or [name for name in SHOWN if name not in optional], console)


def _print_table(rows: Sequence[Row], columns: Sequence[str], console: Console) -> None:
    lines = [list(columns), *([visible(_cell(name, row[name])) for name in columns] for row in rows)]
    right = [COLUMNS[name] == "number" for name in columns]
    for line in aligned(lines, right):
        console.print(line, soft_wrap=True)  # cells are never cut
    console.print(f"{len(rows)} run{'' if len(rows) == 1 else 's'}")


def aligned(lines: Sequence[Sequence[str]], right: Sequence[bool]) -> list[str]:
    """Lines of cells as text in columns, those to the right for which `right` says so."""
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    padded = (
        [" " * (width - cell_len(cell)) + cell if end else cell + " " * (width - cell_len(cell))
         for cell, width, end in zip(line, widths, right, strict=True)]
        for line in lines
    )  # fmt: skip
    return ["  ".join(cells).rstrip() for cells in padded]


def _cell(name: str, value: Value) -> str:
    if value is None:
        return "-"
    if isinstance(value, tuple):
        return ", ".join(value)
    if isinstance(value, str):
        return value
    return f"{value:.{DIGITS[name]}f}" if name in DIGITS else f"{value:g}"


def _to_csv(rows: Sequence[Row], columns: Sequence[str]) -> str:
    from analysis.report.plain_text import to_csv_text

    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        values = (", ".join(value) if isinstance(value := row[name], tuple) else value for name in columns)
        writer.writerow([to_csv_text(value) if isinstance(value, str) else value for value in values])
    return buffer.getvalue()
