"""From options to a report: what every page under `studies/` does once it has said what it compares."""

import os
import shlex
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from analysis.collect import ResultsError
from metaseg.config import SPLITS, ConfigError, Scoring
from metaseg.data.dataset import Dataset, prepare
from metaseg.data.manifest import Manifest, ManifestError
from metaseg.estimate import print_estimate
from metaseg.extra_scores import require_packages
from metaseg.options import StudyOptions
from metaseg.store import Store
from metaseg.study import BASELINE, Arm, Study, find_arm, plan
from metaseg.study_scores import score_study

FAILED, MISUSED, INTERRUPTED = 1, 2, 130
"""Exit codes: a run or the store failed; a setting, a file or a value was wrong; Ctrl-C (SIGTERM: 143)."""

FAREWELL_SECONDS = 20
"""For what has to be tidied up after a signal: Ray doesn't always let go."""

Progressed = Callable[[int, int], None]
"""Called with how many items are done, and how many there are."""


Pictures = Callable[[Study, Store], Mapping[str, bytes]]
"""Draws what trained networks do: PNG files by name."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """What a page under `studies/` says of its study, besides the options."""

    name: str
    """Its record and reports are kept under it."""
    read: Callable[[Path, Progressed], Manifest]
    """Makes the manifest; gets a folder that it may write to, and a progress callback."""
    arms: tuple[Arm, ...] = ()
    """Arms of its own."""
    baseline: str = BASELINE
    """The arm that the others are compared with."""
    scoring: Scoring = Scoring()
    """How results are made of counts."""
    pictures: Pictures = lambda study, store: {}
    """Called when all runs are done."""


def named(page: str, manifest: Path | None) -> str:
    """What a page's study is called: its name, and that of the images' folder where they aren't simulated."""
    if manifest is None:
        return page
    folder = manifest.resolve()
    return f"{page}-{folder.name if folder.is_dir() else folder.parent.name}"


def launch(page: Page, options: StudyOptions) -> int:
    """Prepare the data, train what is missing and report.

    Args:
        page: what is compared, and on what.
        options: from the command line.

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
        return _launch(page, options, console)
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


def _launch(page: Page, options: StudyOptions, console: Console) -> int:
    for arm in options.arms:
        find_arm(arm, page.arms)
    require_packages(options.extra_scores)
    store = _open_store(options.storage)
    dataset = _prepare(options, page.read, store, console)
    study = plan(
        page.name,
        dataset,
        options.arms,
        options.seeds,
        options.network,
        options.schedule,
        more_arms=page.arms,
        baseline=page.baseline,
        scoring=page.scoring,
    )
    _print_plan(study, store, console)
    if dataset.share < 1:
        about = f"Planned on {len(dataset.table)} samples: the others are drawn when the study runs, and give run ids."
        console.print(about, soft_wrap=True, highlight=False)
    if options.dry_run:
        print_estimate(study, store, options.engine, console)
        return 0
    store.write_study(page.name, study.record(_command()))

    # Only now: neither a dry run nor a wrong setting has to wait for Ray's or matplotlib's import.
    from analysis.report import report
    from metaseg.engine import run_study

    outcome = run_study(study, store, options.engine, console)
    for run, reason in outcome.failed.items():
        where = f"traceback: {store.failure(run.run_id)}"
        _complain(console, "failed", f"{run.label} ({run.run_id}): {reason}\n  {where}")
    scored = not options.extra_scores or score_study(store, page.name, options.extra_scores, console=console)
    if len(outcome.failed) < len(study.runs):
        pictures = {} if outcome.failed else page.pictures(study, store)
        report(store.storage, page.name, pictures=pictures, tables={"distribution": distribution(dataset)})
    if outcome.failed:
        names = ", ".join(run.label for run in outcome.failed)
        _complain(console, "failed", f"{len(outcome.failed)} of {len(study.runs)} runs ({names}); run again to retry")
        return FAILED
    if not scored:
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


def _print_plan(study: Study, store: Store, console: Console) -> None:
    dataset = study.dataset
    if dataset.about:
        console.print(Text(f"Data: {dataset.about}", "bold"), soft_wrap=True)
    counts = {split: round(len(dataset.indices(split)) / dataset.share) for split in SPLITS}
    sizes = ", ".join(f"{count} {split}" for split, count in counts.items())
    metadata = ", ".join(f"{column.name} ({column.kind})" for column in dataset.metadata)
    samples = f"{'about ' if dataset.share < 1 else ''}{sum(counts.values())} samples ({sizes})"
    title = Text(f"{study.name} on {dataset.name}: {samples}; metadata: {metadata}", "bold")
    console.print(title, soft_wrap=not console.is_terminal)  # a job's log says it is 80 columns wide
    done = len(study.runs) - len(study.missing(store))
    console.print(Text(f"{len(study.runs)} runs, {done} already done; store: {store.where}"), soft_wrap=True)


def distribution(dataset: Dataset) -> pd.DataFrame:
    """How many samples each split has, in all and of each subgroup (paper, Table S1): a row a split."""
    counts = pd.crosstab(dataset.table["split"], dataset.table["subgroup"]).reindex(SPLITS)
    if list(counts) != ["all"]:
        counts.insert(0, "all", counts.sum(axis=1))
    return counts.rename_axis(columns=None).reset_index()
