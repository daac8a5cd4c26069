"""`analysis collect`: from stores, or tables from elsewhere, to one results dataset."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.results.declaration import ResultsError, readable_studies
from analysis.results.external_study import adopt
from analysis.results.external_tables import Table
from analysis.results.merge import Gathered, gather
from metaseg.config import ConfigError
from metaseg.store.names import check_name
from metaseg.store.storage import open_storage
from metaseg.terminal import visible


def collect_command(arguments: Sequence[str]) -> int:
    """Collect, and say what was, what wasn't, where it is and what comes next.

    Args:
        arguments: those after `collect`.

    Returns:
        The exit status: 1 where something couldn't be collected, 2 where the arguments make no sense.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    *stores, out = options.place
    if bool(options.table) != bool(options.name):
        parser.error("--table and --name go together")
    if bool(stores) == bool(options.table):
        parser.error("expected STORE... OUT, or OUT and --table")
    if options.study and options.table:
        parser.error("--study is of stores; a table's study is called by --name")
    if not options.table and (options.column or options.baseline):
        parser.error("--column and --baseline are for --table")
    columns = columns_of(parser, options.column)
    failed = False
    try:
        target = open_storage(out)
        if options.table:
            tables = [table_of(text) for text in options.table]
            command = shlex.join(["analysis", "collect", *arguments])
            check_name("study", options.name)
            gathered = adopt(target, tables, options.name, columns, options.baseline, command)
            _print(gathered)
            baseline = visible(gathered.record.sources[0].study.baseline)
            print(f"  compared with: {baseline} (--baseline ARM chooses another)")
        else:
            opened = [open_storage(store) for store in stores]
            names = options.study or sorted({name for store in opened for name in readable_studies(store, warn)})
            for name in names:
                try:
                    for gathered in gather(target, opened, name):
                        _print(gathered)
                except ResultsError as error:
                    print(visible(f"error: {error}"), file=sys.stderr)
                    failed = True
    except (ConfigError, OSError, ResultsError) as error:
        print(visible(f"error: {error}"), file=sys.stderr)
        return 1
    if not failed or not options.study:
        print(f"Next: analysis report {shlex.quote(out)}")
    return int(failed)


def warn(message: str) -> None:
    """Say on standard error what is passed over."""
    print(visible(f"warning: {message}"), file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="analysis collect",
        usage="%(prog)s STORE... OUT [--study NAME ...]\n"
        "       %(prog)s OUT --table [ARM[:SEED]=]FILE ... --name STUDY [--column NEW=OLD ...] [--baseline ARM]",
        description="Collect finished runs of stores, or tables of per-image scores from elsewhere, into one Parquet "
        "dataset. What is there already and hasn't changed isn't read again.",
    )
    parser.add_argument(
        "place", nargs="+", metavar="STORE", help="folders or bucket URLs; the last, OUT, is written to"
    )
    parser.add_argument("--study", nargs="+", metavar="NAME", help="studies to collect (default: all of the stores)")
    parser.add_argument(
        "--table", action="append", default=[], metavar="FILE",
        help="CSV, Parquet or nnU-Net's summary.json, a row an image; ARM=FILE or ARM:SEED=FILE where the file doesn't "
        "say its arm; may be given several times",
    )  # fmt: skip
    add_table_options(parser)
    return parser


def add_table_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is in tables from elsewhere."""
    parser.add_argument("--name", metavar="STUDY", help="what the tables' study is to be called")
    parser.add_argument(
        "--column", nargs="+", action="extend", default=[], metavar="NEW=OLD",
        help="take the tables' column OLD as NEW: image, arm, score, tp, fp, fn, tn, seed, class, subgroup or group",
    )  # fmt: skip
    parser.add_argument("--baseline", metavar="ARM", help="what the tables' other arms are compared with")


def columns_of(parser: argparse.ArgumentParser, given: Sequence[str]) -> dict[str, str]:
    """What tables call columns, from `--column`'s values."""
    return dict(_pair(parser, text) for text in given)


def _pair(parser: argparse.ArgumentParser, text: str) -> tuple[str, str]:
    new, separator, old = text.partition("=")
    if not (new and separator and old):
        parser.error(f"--column is {text!r}; expected NEW=OLD")
    return new, old


def table_of(text: str) -> Table:
    """`FILE`, `ARM=FILE` or `ARM:SEED=FILE`; a file that is there is taken as one, whatever its name."""
    label, separator, file = text.partition("=")
    if not separator or Path(text).exists():
        return Table(Path(text))
    arm, _, seed = label.rpartition(":")
    return Table(Path(file), arm, int(seed)) if arm and seed.isdigit() else Table(Path(file), label)


def _print(gathered: Gathered) -> None:
    record = gathered.record
    counts = f"{len(gathered.added)} runs collected, {len(gathered.unchanged)} unchanged"
    rows = f"{gathered.rows:,} rows in {gathered.where}"
    about = f"Study {record.study} ({record.dataset}): {counts}, {len(gathered.missing)} not finished; {rows}"
    print(visible(about))
    for run in gathered.missing:
        print(visible(f"  not finished: {run}"))
