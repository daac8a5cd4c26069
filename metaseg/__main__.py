"""Work with a store of runs, or with a cluster; studies themselves are started as `python studies/NAME.py`."""

import sys
from collections.abc import Callable

from metaseg.command_line import call, misused
from metaseg.commands.bundle import bundle
from metaseg.commands.compare import compare
from metaseg.commands.export import export
from metaseg.commands.networks import networks
from metaseg.commands.predict import predict
from metaseg.commands.prune import prune
from metaseg.commands.response import response
from metaseg.commands.runs import runs
from metaseg.commands.score import score
from metaseg.commands.status import status
from metaseg.commands.submit import submit
from metaseg.commands.track import track
from metaseg.commands.watch import watch
from metaseg.config import ConfigError
from metaseg.terminal import revealed

# A command imports what it needs when it is called: help and `metaseg status` wait for neither torch nor Ray.
COMMANDS: dict[str, Callable[..., int | None]] = {
    "bundle": bundle,
    "compare": compare,
    "export": export,
    "networks": networks,
    "predict": predict,
    "prune": prune,
    "response": response,
    "runs": runs,
    "score": score,
    "status": status,
    "submit": submit,
    "track": track,
    "watch": watch,
}


INTERRUPTED = 130
"""Exit code after Ctrl-C."""


def main() -> None:
    """Entry point of the `metaseg` command."""
    try:
        sys.exit(call("metaseg", __doc__, COMMANDS, sys.argv[1:]))
    except KeyboardInterrupt:
        print(file=sys.stderr)
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except ConfigError as error:
        misused(str(error))
    except OSError as error:
        sys.exit(revealed(f"error: {error}"))


if __name__ == "__main__":
    main()
