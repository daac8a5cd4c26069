"""The process of a command that trains: signals and errors become exit codes; its store and data are opened.

This module imports nothing slow; its functions do, since they are called when the options are known to be right.
"""

import os
import shlex
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from metaseg.command_line import MISUSED
from metaseg.config import ConfigError, DataConfig
from metaseg.terminal import Terminal

if TYPE_CHECKING:
    from metaseg.data.dataset import Dataset
    from metaseg.data.manifest import Manifest
    from metaseg.store.runs import Store

FAILED, INTERRUPTED = 1, 130
"""Exit codes besides `MISUSED`: a run or the store failed; Ctrl-C (SIGTERM: 143)."""

FAREWELL_SECONDS = 20
"""Time for tidying up after a signal, before the process is ended by force: Ray doesn't always let go."""

Progressed = Callable[[int, int], None]
"""Called with how many items are done, and how many there are."""

Read = Callable[[Path, Progressed], "Manifest"]
"""Makes a manifest; gets a folder that it may write to, and a progress callback."""


def guarded(body: Callable[[Console], int]) -> int:
    """Call `body` with a console; errors and signals become a line on it and an exit code."""
    from analysis.results.declaration import ResultsError
    from metaseg.data.manifest import ManifestError

    console = Terminal()
    signals: list[int] = []

    def stop(number: int, frame: object) -> None:
        if not signals:  # a second one changes nothing
            signals.append(number)
            end = threading.Timer(FAREWELL_SECONDS, os._exit, (128 + number,))
            end.daemon = True
            end.start()
            raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
    try:
        return body(console)
    except (ConfigError, ManifestError) as error:
        complain(console, "error", str(error))
        return MISUSED
    except (OSError, ResultsError) as error:
        complain(console, "error", f"{type(error).__name__}: {error}")
        return FAILED
    except KeyboardInterrupt:
        console.print(
            "\nStopped. Finished runs and checkpoints are kept. To go on, give the same command again:\n  "
            + shlex.join(command()),
            soft_wrap=True,
            highlight=False,
        )
        return 128 + signals[0] if signals else INTERRUPTED


def command() -> list[str]:
    """The command line that started this process."""
    return [Path(sys.executable).name, *sys.argv]


def complain(console: Console, kind: Literal["error", "failed", "warning"], message: str) -> None:
    """Print an error or warning; `message` is shown as it is, brackets included."""
    style = "bold yellow" if kind == "warning" else "bold red"
    console.print(Text.assemble((f"{kind}: ", style), message), soft_wrap=True)


def open_store(where: str) -> "Store":
    """The store at a path or URL.

    Raises:
        ConfigError: it can't be written to, or is a relative path in a submitted job, whose folder is temporary.
    """
    from metaseg.store.runs import Store

    relative = "://" not in where and not where.startswith(("/", "~"))
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ and relative:
        raise ConfigError(
            f"storage is {where!r}; expected an absolute path: a submitted job works in a temporary copy of its folder"
        )
    store = Store.at(where)
    store.storage.require_writable()
    return store


def prepare_shown(config: DataConfig, read: Read, store: "Store", console: Console) -> "Dataset":
    """Read the manifest and decode its images, with progress and warnings on the console."""
    from metaseg.data.preparation import prepare

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as progress:

        def shown(description: str) -> Progressed:
            task = progress.add_task(description, total=None)
            return lambda done, total: progress.update(task, completed=done, total=total)

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            manifest = read(store.scratch / "datasets", shown("Reading the manifest"))
            dataset = prepare(manifest, config, store.cache, shown("Decoding images"))
            store.share_dataset(dataset.path)
    for warning in caught:
        complain(console, "warning", str(warning.message))
    return dataset
