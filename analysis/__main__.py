"""Report on the studies of a store: `python -m analysis STORE [--study NAME ...] [--out DIR]`."""

import argparse
import sys

from analysis.record import ResultsError, study_names
from analysis.report import report
from metaseg.config import ConfigError
from metaseg.storage import open_storage


def main() -> int:
    """Report on each chosen study; the exit status is 1 where one of them couldn't be."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis",
        description="Collect the finished runs of studies, test every arm against the baseline, and print and write "
        "tables and a figure. What is there already is written anew; nothing is trained.",
    )
    parser.add_argument("store", metavar="STORE", help="folder or bucket URL in which studies and runs are")
    parser.add_argument("--study", nargs="+", metavar="NAME", help="studies to report on (default: all of the store)")
    parser.add_argument("--out", metavar="DIR", help="write to DIR/NAME (default: STORE/reports/NAME)")
    options = parser.parse_args()
    out = options.out.rstrip("/") if options.out else None

    failed = False
    try:
        storage = open_storage(options.store)
        names = options.study or study_names(storage)
    except (ConfigError, OSError, ResultsError) as error:
        parser.exit(1, f"error: {error}\n")
    for name in names:
        try:
            report(storage, name, open_storage(f"{out}/{name}") if out else None)
        except (ConfigError, OSError, ResultsError) as error:
            print(f"error: {error}", file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
