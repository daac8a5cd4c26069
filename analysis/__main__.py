"""`analysis collect` brings results together, `analysis report` draws a conclusion; `analysis sweep` is on searches."""

import sys
from collections.abc import Sequence

from analysis.commands.collect import collect_command
from analysis.commands.report import report_command
from analysis.commands.sweep import sweep_command

COMMANDS = {
    "collect": (collect_command, "bring the runs of stores, or tables from elsewhere, into one Parquet dataset"),
    "report": (report_command, "test, tabulate and draw: one HTML page, and tables and figures beside it"),
    "sweep": (sweep_command, "one HTML page a search for settings: the best, which matter, what it cost"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    listed = "\n".join(f"  {name:<10} {about}" for name, (_, about) in COMMANDS.items())
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help"):
        print(f"usage: analysis COMMAND ...\n\n{__doc__}\n\n{listed}\n\n`analysis COMMAND --help` tells more.")
        return 0 if given else 2
    if given[0] not in COMMANDS:
        print(f"error: unknown command {given[0]!r}; expected {' or '.join(COMMANDS)}", file=sys.stderr)
        return 2
    return COMMANDS[given[0]][0](given[1:])


if __name__ == "__main__":
    sys.exit(main())
