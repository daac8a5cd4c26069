"""Bring results together, test and report on them, and plan: from a store of runs, or from tables from elsewhere."""

import shlex
import sys
from collections.abc import Callable, Sequence

from analysis.commands.options import Collect, Plan, Report, Sweep
from metaseg.command_line import call

COMMANDS: dict[str, Callable[..., Collect | Plan | Report | Sweep]] = {
    "collect": Collect,
    "plan": Plan,
    "report": Report,
    "sweep": Sweep,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: those after the program's name; the process's own by default.

    Returns:
        The exit status.

    Raises:
        SystemExit: the arguments are wrong, or help was asked for.
    """
    typed = list(sys.argv[1:] if arguments is None else arguments)
    options = call("analysis", __doc__, COMMANDS, typed)
    command = shlex.join(["analysis", *typed])

    # What a command needs it imports only now: pandas and matplotlib take seconds, and help doesn't need them.
    if isinstance(options, Collect):
        options.check()
        from analysis.commands.collect import collect_command

        return collect_command(options, command)
    if isinstance(options, Report):
        options.check()
        from analysis.commands.report import report_command

        return report_command(options, command)
    if isinstance(options, Plan):
        options.check()
        from analysis.commands.plan import plan_command

        return plan_command(options)
    from analysis.commands.sweep import sweep_command

    return sweep_command(options)


if __name__ == "__main__":
    sys.exit(main())
