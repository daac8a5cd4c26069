"""From options to a report: what every page under `studies/` does once it has said what it compares."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.text import Text

from metaseg.cli.option_file import to_toml
from metaseg.cli.options import StudyOptions
from metaseg.cli.process import FAILED, Read, command, complain, guarded, open_store, prepare_shown
from metaseg.config import SPLITS, Scoring
from metaseg.data.dataset import Dataset
from metaseg.scoring.masks import require_packages
from metaseg.scoring.study import score_study
from metaseg.store.names import as_name, check_name
from metaseg.store.runs import Store
from metaseg.study.estimate import print_estimate
from metaseg.study.plan import BASELINE, Arm, Study, find_arm, plan

Pictures = Callable[[Study, Store], Mapping[str, bytes]]
"""Draws what trained networks do: PNG files by name."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """What a page under `studies/` says of its study, besides the options."""

    name: str
    """Its record and reports are kept under it."""
    read: Read
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
    return as_name(f"{page}-{folder.name if folder.is_dir() else folder.parent.name}")


def launch(page: Page, options: StudyOptions) -> int:
    """Prepare the data, train what is missing and report.

    Args:
        page: what is compared, and on what.
        options: from the command line.

    Returns:
        The process's exit code: 0, or one of `FAILED`, `MISUSED` and `INTERRUPTED`.
    """
    return guarded(lambda console: _launch(page, options, console))


def _launch(page: Page, options: StudyOptions, console: Console) -> int:
    check_name("study", page.name)
    for arm in options.arms:
        find_arm(arm, page.arms)
    require_packages(options.extra_scores)
    store = open_store(options.storage)
    dataset = prepare_shown(options.data, page.read, store, console)
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
    print_plan(study, store, console)
    if dataset.share < 1:
        about = f"Planned on {len(dataset.table)} samples: the others are drawn when the study runs, and give run ids."
        console.print(about, soft_wrap=True, highlight=False)
    if options.dry_run:
        print_estimate(study, store, options.engine, console)
        return 0
    return carry_out(study, store, options, page.pictures, console)


def carry_out(study: Study, store: Store, options: StudyOptions, pictures: Pictures, console: Console) -> int:
    """Train what is missing of a study and report; returns the exit code."""
    study.declare(store, command(), to_toml(options))

    # Only now: neither a dry run nor a wrong setting has to wait for Ray's or matplotlib's import.
    from analysis.report.study import report
    from metaseg.engine import run_study

    outcome = run_study(study, store, options.engine, console)
    for run, reason in outcome.failed.items():
        where = f"traceback: {store.failure(run.run_id)}"
        complain(console, "failed", f"{run.label} ({run.run_id}): {reason}\n  {where}")
    scored = not options.extra_scores or score_study(store, study.name, options.extra_scores, console=console)
    if len(outcome.failed) < len(study.runs):
        drawn = {} if outcome.failed else pictures(study, store)
        report(store.storage, study.name, pictures=drawn, tables={"distribution": distribution(study.dataset)})
    if outcome.failed:
        names = ", ".join(run.label for run in outcome.failed)
        complain(console, "failed", f"{len(outcome.failed)} of {len(study.runs)} runs ({names}); run again to retry")
        return FAILED
    if not scored:
        return FAILED
    more = f"--seeds {options.seeds + 2}"
    console.print(f"More seeds make this firmer: the same command with {more} keeps these {len(study.runs)} runs.")
    return 0


def print_plan(study: Study, store: Store, console: Console) -> None:
    """Say what a study is trained on, and how much of it is done."""
    print_data(study.name, study.dataset, console)
    done = len(study.runs) - len(study.missing(store))
    console.print(Text(f"{len(study.runs)} runs, {done} already done; store: {store.where}"), soft_wrap=True)


def print_data(name: str, dataset: Dataset, console: Console) -> None:
    """Say what a study or sweep called `name` is made on."""
    if dataset.about:
        console.print(Text(f"Data: {dataset.about}", "bold"), soft_wrap=True)
    counts = {split: round(len(dataset.indices(split)) / dataset.share) for split in SPLITS}
    sizes = ", ".join(f"{count} {split}" for split, count in counts.items())
    metadata = ", ".join(f"{column.name} ({column.kind})" for column in dataset.metadata)
    samples = f"{'about ' if dataset.share < 1 else ''}{sum(counts.values())} samples ({sizes})"
    title = Text(f"{name} on {dataset.name}: {samples}; metadata: {metadata}", "bold")
    console.print(title, soft_wrap=not console.is_terminal)  # a job's log says it is 80 columns wide


def distribution(dataset: Dataset) -> pd.DataFrame:
    """How many samples each split has, in all and of each subgroup (paper, Table S1): a row a split."""
    counts = pd.crosstab(dataset.table["split"], dataset.table["subgroup"]).reindex(SPLITS)
    if list(counts) != ["all"]:
        counts.insert(0, "all", counts.sum(axis=1))
    return counts.rename_axis(columns=None).reset_index()
