"""`analysis sweep`: which settings a search found, which of them matter, and what it cost."""

import sys

from analysis.commands.collect import warn
from analysis.commands.options import Sweep
from analysis.report.study import folder_name
from analysis.report.sweep import report_sweep
from analysis.results.declaration import ResultsError
from analysis.sweeps.trials import readable_sweeps
from metaseg.config import ConfigError
from metaseg.store.storage import open_storage
from metaseg.terminal import visible


def sweep_command(options: Sweep) -> int:
    """Report on each chosen sweep; the exit status is 1 if one of the reports fails."""
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
