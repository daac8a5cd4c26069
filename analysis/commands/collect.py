"""`analysis collect`: from stores, or tables from elsewhere, to one results dataset."""

import shlex
import sys
from pathlib import Path

from analysis.commands.options import Collect, given
from analysis.results.declaration import ResultsError, readable_studies
from analysis.results.external_study import adopt
from analysis.results.external_tables import Table
from analysis.results.merge import Gathered, gather
from metaseg.config import ConfigError
from metaseg.store.names import check_name
from metaseg.store.storage import open_storage
from metaseg.terminal import visible


def collect_command(options: Collect, command: str) -> int:
    """Collect, and print what was collected, what wasn't, where it is and what comes next.

    Args:
        options: from the command line.
        command: the command line itself, for the study's record.

    Returns:
        The exit status: 1 where something couldn't be collected.
    """
    *stores, out = options.place
    studies, files = given("--study", options.study), given("--table", options.table)
    columns = options.columns()
    failed = False
    try:
        target = open_storage(out)
        if options.name:
            tables = [table_of(text) for text in files]
            check_name("study", options.name)
            gathered = adopt(target, tables, options.name, columns, options.baseline, command)
            _print(gathered)
            baseline = visible(gathered.record.sources[0].study.baseline)
            print(f"  compared with: {baseline} (--baseline ARM chooses another)")
        else:
            opened = [open_storage(store) for store in stores]
            names = studies or sorted({name for store in opened for name in readable_studies(store, warn)})
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
    if not failed or not studies:
        print(f"Next: analysis report {shlex.quote(out)}")
    return int(failed)


def warn(message: str) -> None:
    """Print a line on standard error: something was passed over."""
    print(visible(f"warning: {message}"), file=sys.stderr)


def table_of(text: str) -> Table:
    """`FILE`, `ARM=FILE` or `ARM:SEED=FILE`; a file that exists is taken as one, whatever its name."""
    label, separator, file = text.partition("=")
    if not separator or Path(text).exists():
        return Table(Path(text))
    arm, _, seed = label.rpartition(":")
    return Table(Path(file), arm, int(seed)) if arm and seed.isdecimal() else Table(Path(file), label)


def _print(gathered: Gathered) -> None:
    record = gathered.record
    counts = f"{len(gathered.added)} runs collected, {len(gathered.unchanged)} unchanged"
    rows = f"{gathered.rows:,} rows in {gathered.where}"
    about = f"Study {record.study} ({record.dataset}): {counts}, {len(gathered.missing)} not finished; {rows}"
    print(visible(about))
    for run in gathered.missing:
        print(visible(f"  not finished: {run}"))
