"""`analysis sweep`: which settings a search found, which of them matter, and what it cost."""

import argparse
import sys
from collections.abc import Sequence

from analysis.commands.collect import warn
from analysis.report.study import folder_name
from analysis.report.sweep import report_sweep
from analysis.results.declaration import ResultsError
from analysis.sweeps.trials import readable_sweeps
from metaseg.config import ConfigError
from metaseg.store.storage import open_storage
from metaseg.terminal import visible


def sweep_command(arguments: Sequence[str]) -> int:
    """Report on each chosen sweep; the exit status is 1 where one of them couldn't be."""
    parser = argparse.ArgumentParser(
        prog="analysis sweep",
        description="For each sweep of a store write a page (report.html): the best settings, what they cost, which "
        "matter, and how far to believe their score; tables, figures and all trials beside it. A sweep that is still "
        "running can be reported on too.",
    )
    parser.add_argument("where", metavar="STORE", help="a store with sweeps")
    parser.add_argument("names", nargs="*", metavar="NAME", help="sweeps to report on (default: all that are there)")
    parser.add_argument("--out", metavar="FOLDER", help="write to FOLDER/NAME (default: reports/sweeps/NAME in STORE)")
    options = parser.parse_args(arguments)
    failed = False
    try:
        storage = open_storage(options.where)
        names = options.names or readable_sweeps(storage, warn)
    except (ConfigError, OSError, ResultsError) as error:
        print(visible(f"error: {error}"), file=sys.stderr)
        return 1
    for name in names:
        try:
            target = open_storage(f"{options.out.rstrip('/')}/{folder_name(name)}") if options.out else None
            report_sweep(storage, name, target)
        except (ConfigError, OSError, ResultsError) as error:
            print(visible(f"error: {error}"), file=sys.stderr)
            failed = True
    return int(failed)
