"""Reading of arguments, for all commands: one library (tyro), one form of errors, and `--version`.

Help and errors come before anything slow is imported: what a command needs, it imports when it is called.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NoReturn, Union

import tyro

from metaseg import __version__
from metaseg.terminal import revealed

MISUSED = 2
"""Exit code where an option, a setting or a file that was given is wrong."""


def call(program: str, description: str, commands: Mapping[str, Callable[..., Any]], arguments: Sequence[str]) -> Any:
    """Call the command that the arguments name, with its options; returns what it returns.

    Args:
        program: the name that is typed.
        description: of the program, for its help.
        commands: functions, or dataclasses, by name; parameters are options, docstrings are help.
        arguments: those after the program's name.

    Raises:
        SystemExit: help or the version was asked for (0), or the arguments are wrong (2).
    """
    if "--version" in arguments[:1]:
        tell_version(program)
    listing = not arguments or arguments[0] not in commands
    kinds = [
        Annotated[
            Any, tyro.conf.subcommand(name, constructor=command, description=_first_line(command) if listing else None)
        ]
        for name, command in commands.items()
    ]
    about = (
        f"{description.strip()}\n\n`{program} COMMAND --help` describes a command and its options; "
        f"`{program} --version` prints the version."
    )
    chosen: Any = Union[tuple(kinds)]  # noqa: UP007 (of a tuple that is made here)
    return tyro.cli(chosen, description=about, prog=program, args=arguments)


def _first_line(command: Callable[..., Any]) -> str:
    return (command.__doc__ or "").strip().partition("\n")[0]


def tell_version(program: str) -> NoReturn:
    """Print a program's name and version, and end."""
    print(f"{program} {__version__}")
    raise SystemExit(0)


def misused(message: str) -> NoReturn:
    """Print what is wrong with the arguments, and end with code 2."""
    print(revealed(f"error: {message}"), file=sys.stderr)
    raise SystemExit(MISUSED)
