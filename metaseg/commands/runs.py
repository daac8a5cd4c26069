"""`metaseg runs`: the runs of a store, as a table."""

import sys
from typing import Annotated, Literal

import tyro

from metaseg.commands.arguments import StoreArgument
from metaseg.terminal import Terminal, visible


def runs(
    store: StoreArgument,
    study: str | None = None,
    where: Annotated[str | None, tyro.conf.arg(metavar="CONDITION")] = None,
    columns: tuple[str, ...] = (),
    sort: Annotated[str | None, tyro.conf.arg(metavar="COLUMN")] = None,
    descending: bool = False,
    format: Literal["table", "csv", "json"] = "table",
) -> None:
    """List the runs of a store: what each is, which studies name it, its state and its scores.

    Columns: run, state (done, running, failed, waiting, damaged), studies, arm, part, block, metadata, seed, fold,
    dataset, fingerprint, network, width, depth, epochs, val_f1 (best), test_f1 (mean over test images and classes),
    minutes, finished (UTC), machine, device, training_version.

    Args:
        store: Folder or bucket (s3://..., gs://...) of the runs, or a bundle.
        study: Only the runs that this study names.
        where: Only runs for which this holds, such as "arm == 'sme' and seed < 3" or "'wbc' in studies".
        columns: Columns to show, in order.
        sort: Column to sort by.
        descending: Sort from the largest.
        format: table, csv or json; the last two have all columns by default.
    """
    from metaseg.keeping.catalogue import COLUMNS, catalogue, sorted_rows
    from metaseg.keeping.condition import parse_condition, require_columns
    from metaseg.keeping.run_table import SHOWN, write_rows
    from metaseg.store.runs import Store

    require_columns("columns", columns, COLUMNS)
    require_columns("sort", [sort] if sort else [], COLUMNS)
    condition, asked = parse_condition(where, COLUMNS) if where is not None else (None, frozenset[str]())
    shown = columns or (SHOWN if format == "table" else tuple(COLUMNS))
    needed = {*shown, *asked, *([sort] if sort else [])}

    def warn(line: str) -> None:
        print(visible(f"warning: {line}"), file=sys.stderr)

    rows = catalogue(Store.at(store), study, condition, needed, warn)
    write_rows(sorted_rows(rows, sort, descending) if sort else rows, columns, format, Terminal())
