"""A study's page: what it compares, its options and presets, and the way from options to a report.

Importing this module is cheap: a page parses its options first, and imports what it needs afterwards.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

from metaseg.cli.early_ray import starting_ray
from metaseg.cli.option_file import to_toml
from metaseg.cli.options import Options, Preset, StudyOptions, parse
from metaseg.cli.process import FAILED, Read, command, complain, guarded, open_store, prepare_shown
from metaseg.cli.study_summary import distribution, print_plan
from metaseg.cli.until_decided import require_same_rule, rule_record, train_until_decided, with_rule
from metaseg.config import FOLDS_OF, ConfigError, Scoring
from metaseg.schema import BASELINE
from metaseg.store.names import as_name, check_name
from metaseg.study.arms import Arm, find_arm
from metaseg.terminal import Terminal
from metaseg.tracking.names import TrackerName

if TYPE_CHECKING:
    from rich.console import Console

    from metaseg.cli.process import Read
    from metaseg.store.runs import Store
    from metaseg.study.plan import Study
    from metaseg.sweeps.sweep import Sweep
    from metaseg.tracking.recorder import Recorder

Pictures = Callable[["Study", "Store"], Mapping[str, bytes]]
"""Draws predictions of trained networks: PNG files by name."""

AHEAD_SECONDS = 15.0
"""Time after which what the report needs is imported, which takes a second or two: before the last run is done."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """A study with its options given: its arms and how its images are read."""

    name: str
    """Name of the study in the store, of its record and reports."""
    read: "Read"
    """Makes the manifest; called with a folder that it may write to, and a progress callback."""
    arms: tuple[Arm, ...] = ()
    """Arms of the page's own, besides those of `metaseg.study.arms.ARMS`."""
    baseline: str = BASELINE
    """Name of the arm that the others are compared with."""
    scoring: Scoring = Scoring()
    """Rules by which scores are computed from counts of pixels."""
    pictures: Pictures = lambda study, store: {}
    """Called when all runs are done."""
    record: Callable[["Study", "Store"], None] = lambda study, store: None
    """Called before training; may write to the store what the report needs besides runs."""


@dataclass(frozen=True)
class StudyPage(Generic[Options]):
    """A page under `studies/`, or one of your own: to run from a command line (`main`) or from Python (`run`)."""

    presets: Mapping[Preset, Options]
    """Options by preset, all of one class."""
    page: Callable[[Options], Page]
    """Says what is compared, given the options. What takes time to import is imported in here."""
    description: str | None = None
    """Shown by `--help`: the page's docstring."""

    def options(self, preset: Preset = "quick", **settings: Any) -> Options:
        """A preset's options, with some set otherwise; raises `ConfigError` or `TypeError` where they can't be."""
        return replace(self.presets[preset], preset=preset, **settings)

    def plan(self, options: Options) -> "Study":
        """Read and decode the images, and resolve all runs. Trains nothing.

        Raises:
            ConfigError: an option can't be, or the images don't suit an arm.
            ManifestError: the images can't be read.
        """
        return _prepare(self.page(options), options, Terminal())[0]

    def run(self, options: Options) -> "Study":
        """Train what the store lacks, and write the report there; what `main` does, without a command line.

        Returns:
            The study as `plan` gives it. `analysis.read_results` reads its results from the store.

        Raises:
            ConfigError: as `plan`.
            ManifestError: as `plan`.
            RuntimeError: runs have failed, or couldn't be scored.
        """
        if options.dry_run:
            raise ConfigError("dry_run is set; expected it unset: `plan` gives the runs without training them")
        page, console = self.page(options), Terminal()
        study, store = _prepare(page, options, console)
        page.record(study, store)
        if carry_out(study, store, options, page.pictures, console, ()):
            raise RuntimeError(f"study {study.name!r} isn't complete; the lines above say which runs failed and why")
        return study

    def main(self) -> int:
        """Run the study as the command line says; returns the process's exit code."""
        options = parse(self.presets, self.description)
        return launch(self.page, options)


def named(page: str, manifest: Path | None) -> str:
    """A study's name: the page's, and where images are given that of their folder."""
    if manifest is None:
        return page
    folder = manifest.resolve()
    return as_name(f"{page}-{folder.name if folder.is_dir() else folder.parent.name}")


def with_folds(name: str, options: StudyOptions) -> str:
    """Name of a study or sweep: one with folds, limited training or equal steps has its own, unless one was given."""
    if getattr(options, "name", None) is not None:
        return name
    parts = [f"{value}_{count}" for value, count in options.data.training_limits.items()]
    parts += ["equal_steps"] if options.equal_steps else []
    name = as_name("-".join([name, *parts])) if parts else name
    folds = options.data.folds
    if folds is None:
        return name
    told = {"groups": "each_group_left_out", "column": "declared_folds"}
    column = str(folds).removeprefix(FOLDS_OF)
    of = f"each_{column}_left_out" if column != str(folds) else told.get(str(folds), f"{folds}_folds")
    return as_name(f"{name}-{of}")


def study_name(page: Page, options: StudyOptions) -> str:
    """Name of the study that a page with these options makes in the store."""
    return with_rule(with_folds(page.name, options), options)


def launch(page: Callable[[Options], Page], options: Options) -> int:
    """Prepare the data, train what is missing and report; or with `--dry-run`, list the runs and what they will cost.

    Args:
        page: what is compared, and on what.
        options: from the command line.

    Returns:
        The process's exit code: 0, or one of `FAILED`, `MISUSED` and `INTERRUPTED` (`metaseg.cli.process`).
    """

    def body(console: "Console") -> int:
        asked = page(options)
        if not options.dry_run:
            afterwards.enter_context(starting_ray(study_name(asked, options), options.storage))
        study, store = _prepare(asked, options, console)
        if not options.dry_run:
            asked.record(study, store)
            return carry_out(study, store, options, asked.pictures, console, command())
        from metaseg.study.estimate import print_estimate

        print_estimate(study, store, options.engine, console)
        return 0

    with contextlib.ExitStack() as afterwards:  # a Ray that nobody needs ends after errors are told
        return guarded(body)


def _prepare(page: Page, options: StudyOptions, console: "Console") -> tuple["Study", "Store"]:
    from metaseg.scoring.masks import require_packages
    from metaseg.study.plan import plan

    name, rule = study_name(page, options), rule_record(options)
    check_name("study", name)
    for arm in options.arms:  # before images are read, which takes time
        _ = find_arm(arm, page.arms, options.metadata_dropout).block_name
    require_packages(options.extra_scores)
    if options.track:
        from metaseg.tracking.open import require_trackers

        require_trackers(options.track)
    store = open_store(options.storage)
    dataset = prepare_shown(options.data, page.read, store, console)
    study = plan(
        name,
        dataset,
        options.arms,
        options.max_seeds if rule else options.seeds,
        options.network,
        options.schedule,
        more_arms=page.arms,
        baseline=page.baseline,
        scoring=page.scoring,
        crossed=options.crossed_seeds,
        architecture=options.architecture,
        loss=options.loss,
        early_stopping=options.early_stopping,
        metadata_dropout=options.metadata_dropout,
        equal_steps=options.equal_steps,
    )
    study = replace(study, sequential=rule)
    print_plan(study, store, console)
    if dataset.share < 1:
        about = f"Planned on {len(dataset.table)} samples: the others are drawn when the study runs, and give run ids."
        console.print(about, soft_wrap=True, highlight=False)
    return study, store


def carry_out(
    study: "Study",
    store: "Store",
    options: StudyOptions,
    pictures: Pictures,
    console: "Console",
    command: Sequence[str],
) -> int:
    """Train what is missing of a study and report.

    Args:
        study: what is trained.
        store: where its runs are kept.
        options: all of the study's, which the report has as `config.toml`.
        pictures: what is drawn when all runs are done.
        console: to print on.
        command: the command line, for the study's record; empty where there is none.

    Returns:
        The exit code.
    """
    with recording(options.track, store, study, console) as recorder:
        return _train_and_report(study, store, options, pictures, console, command, recorder)


@contextlib.contextmanager
def recording(
    names: Sequence[TrackerName], store: "Store", about: "Study | Sweep", console: "Console"
) -> "Iterator[Recorder | None]":
    """Context in which trackers are sent what happens to a study or sweep; None where none are asked for."""
    if not names:
        yield None
        return
    from metaseg.tracking.recorder import Recorder

    with Recorder(names, store, about, console) as recorder:
        yield recorder


def _train_and_report(
    study: "Study",
    store: "Store",
    options: StudyOptions,
    pictures: Pictures,
    console: "Console",
    command: Sequence[str],
    recorder: "Recorder | None",
) -> int:
    # Only now: neither a dry run nor a wrong setting has to wait for Ray's or matplotlib's import.
    from metaseg.engine import run_study

    ahead = threading.Timer(AHEAD_SECONDS, import_module, ["analysis.report.study"])
    ahead.daemon = True
    ahead.start()
    followers = () if recorder is None else (recorder,)
    if study.sequential:
        train = partial(run_study, config=options.engine, console=console, followers=followers)
        study, outcome = train_until_decided(study, store, train, console, command, to_toml(options))
    else:
        require_same_rule(study, store)
        study.declare(store, command, to_toml(options))
        outcome = run_study(study, store, options.engine, console, followers=followers)
    ahead.cancel()
    for run, reason in outcome.failed.items():
        where = f"traceback: {store.failure(run.run_id)}"
        complain(console, "failed", f"{run.label} ({run.run_id}): {reason}\n  {where}")
    from analysis.report.study import report
    from metaseg.scoring.study import score_study

    scored = not options.extra_scores or score_study(
        store, study.name, options.extra_scores, console=console, blocks=study.own_code
    )
    if len(outcome.failed) < len(study.runs):
        drawn = {} if outcome.failed else pictures(study, store)
        report(store.storage, study.name, pictures=drawn, tables={"distribution": distribution(study.dataset)})
    if recorder:
        recorder.finish(study.runs)
    if outcome.failed:
        names = ", ".join(run.label for run in outcome.failed)
        complain(console, "failed", f"{len(outcome.failed)} of {len(study.runs)} runs ({names}); run again to retry")
        return FAILED
    if not scored:
        return FAILED
    if study.sequential:
        return 0
    console.print(
        f"Seeds that are added because of this report would void its p-values; --until-decided allows for looking, and "
        f"keeps these {len(study.runs)} runs."
    )
    return 0
