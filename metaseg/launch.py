"""From options to a report: what every page under `studies/` does once it has said what it compares."""

import os
import shlex
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from analysis.collect import ResultsError
from metaseg.config import ConfigError
from metaseg.data.dataset import Dataset, prepare
from metaseg.data.manifest import Manifest, ManifestError
from metaseg.options import StudyOptions
from metaseg.store import Store
from metaseg.study import Study, find_arm, plan

FAILED, MISUSED, INTERRUPTED = 1, 2, 130
"""Exit codes: a run or the store failed; a setting, a file or a value was wrong; Ctrl-C (SIGTERM: 143)."""

FAREWELL_SECONDS = 20
"""For what has to be tidied up after a signal: Ray doesn't always let go."""

Progressed = Callable[[int, int], None]
"""Called with how many items are done, and how many there are."""


def launch(name: str, options: StudyOptions, read: Callable[[Path, Progressed], Manifest]) -> int:
    """Prepare the data, train what is missing and report.

    Args:
        name: of the study; its record and reports are kept under it.
        options: from the command line.
        read: makes the manifest; gets a folder that it may write to, and a progress callback.

    Returns:
        The process's exit code: 0, or one of `FAILED`, `MISUSED` and `INTERRUPTED`.
    """
    console = Console()
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
        return _launch(name, options, read, console)
    except (ConfigError, ManifestError) as error:
        _complain(console, "error", str(error))
        return MISUSED
    except (OSError, ResultsError) as error:
        _complain(console, "error", f"{type(error).__name__}: {error}")
        return FAILED
    except KeyboardInterrupt:
        console.print(
            "\nStopped. Finished runs and checkpoints are kept. To go on, give the same command again:\n  "
            + shlex.join(_command()),
            soft_wrap=True,
            highlight=False,
        )
        return 128 + signals[0] if signals else INTERRUPTED


def _launch(name: str, options: StudyOptions, read: Callable[[Path, Progressed], Manifest], console: Console) -> int:
    for arm in options.arms:
        find_arm(arm)
    store = _open_store(options.storage)
    dataset = _prepare(options, read, store, console)
    study = plan(name, dataset, options.arms, options.seeds, options.network, options.schedule)
    _print_plan(study, store, console, options.dry_run)
    if options.dry_run:
        return 0
    store.write_study(name, study.record(_command()))

    # Only now: neither a dry run nor a wrong setting has to wait for Ray's or matplotlib's import.
    from analysis.report import report
    from metaseg.engine import run_study

    outcome = run_study(study, store, options.engine, console)
    for run, reason in outcome.failed.items():
        where = f"traceback: {store.failure(run.run_id)}"
        _complain(console, "failed", f"{run.label} ({run.run_id}): {reason}\n  {where}")
    if len(outcome.failed) < len(study.runs):
        report(store.storage, name)
    if outcome.failed:
        names = ", ".join(run.label for run in outcome.failed)
        _complain(console, "failed", f"{len(outcome.failed)} of {len(study.runs)} runs ({names}); run again to retry")
        return FAILED
    more = f"--seeds {options.seeds + 2}"
    console.print(f"More seeds make this firmer: the same command with {more} keeps these {len(study.runs)} runs.")
    return 0


def _command() -> list[str]:
    return [Path(sys.executable).name, *sys.argv]


def _complain(console: Console, kind: Literal["error", "failed", "warning"], message: str) -> None:
    """Print what is wrong; `message` is shown as it is, brackets included."""
    style = "bold yellow" if kind == "warning" else "bold red"
    console.print(Text.assemble((f"{kind}: ", style), message), soft_wrap=True)


def _open_store(where: str) -> Store:
    relative = "://" not in where and not Path(where).expanduser().is_absolute()
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ and relative:
        raise ConfigError(
            f"storage is {where!r}; expected an absolute path: a submitted job works in a temporary copy of its folder"
        )
    return Store.at(where)


def _prepare(
    options: StudyOptions, read: Callable[[Path, Progressed], Manifest], store: Store, console: Console
) -> Dataset:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as progress:

        def shown(description: str) -> Progressed:
            task = progress.add_task(description, total=None)
            return lambda done, total: progress.update(task, completed=done, total=total)

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            manifest = read(store.scratch / "datasets", shown("Reading the manifest"))
            dataset = prepare(manifest, options.data, store.cache, shown("Decoding images"))
            store.share_dataset(dataset.path)
    for warning in caught:
        _complain(console, "warning", str(warning.message))
    return dataset


def _print_plan(study: Study, store: Store, console: Console, every_run: bool) -> None:
    table = study.dataset.table
    sizes = ", ".join(f"{len(study.dataset.indices(split))} {split}" for split in ("train", "val", "test"))
    metadata = ", ".join(f"{column.name} ({column.kind})" for column in study.dataset.metadata)
    images = f"{len(table)} images ({sizes})"
    title = Text(f"{study.name} on {study.dataset.name}: {images}; metadata: {metadata}", "bold")
    console.print(title, soft_wrap=not console.is_terminal)  # a job's log says it is 80 columns wide
    missing = study.missing(store)
    done = len(study.runs) - len(missing)
    console.print(Text(f"{len(study.runs)} runs, {done} already done; store: {store.where}"), soft_wrap=True)
    if not every_run:
        return
    listing = Table("run id", "arm", "seed", "block", "metadata", "state")
    for run in study.runs:
        state = "missing" if run in missing else "done"
        listing.add_row(
            run.run_id, run.arm.name, str(run.config.seed), run.config.block, run.config.metadata_mode, state
        )
    console.print(listing)
