"""A study's page: what it compares, its options and presets, and the way from options to a report.

Importing this module is cheap: a page parses its options first, and imports what it needs afterwards.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

from rich.text import Text

from metaseg.cli.option_file import to_toml
from metaseg.cli.options import Options, Preset, StudyOptions, parse
from metaseg.cli.process import FAILED, Read, command, complain, guarded, open_store, prepare_shown
from metaseg.cli.until_decided import require_same_rule, rule_record, train_until_decided, with_rule
from metaseg.config import SPLITS, ConfigError, Scoring
from metaseg.schema import BASELINE
from metaseg.store.names import as_name, check_name
from metaseg.study.arms import Arm, find_arm
from metaseg.terminal import Terminal

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from metaseg.cli.process import Read
    from metaseg.data.dataset import Dataset
    from metaseg.data.metadata import MetadataColumn
    from metaseg.store.runs import Store
    from metaseg.study.plan import Study

MOST_SIZES = 10
"""Most folds whose sizes are printed one by one."""

Pictures = Callable[["Study", "Store"], Mapping[str, bytes]]
"""Draws predictions of trained networks: PNG files by name."""


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
    """Name of a study or sweep: one with folds has a name beside that of the same page without, unless it was given."""
    folds = options.data.folds
    if folds is None or getattr(options, "name", None) is not None:
        return name
    told = {"groups": "each_group_left_out", "column": "declared_folds"}
    return as_name(f"{name}-{told.get(str(folds), f'{folds}_folds')}")


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
        study, store = _prepare(asked, options, console)
        if not options.dry_run:
            asked.record(study, store)
            return carry_out(study, store, options, asked.pictures, console, command())
        from metaseg.study.estimate import print_estimate

        print_estimate(study, store, options.engine, console)
        return 0

    return guarded(body)


def _prepare(page: Page, options: StudyOptions, console: "Console") -> tuple["Study", "Store"]:
    from metaseg.scoring.masks import require_packages
    from metaseg.study.plan import plan

    name, rule = with_rule(with_folds(page.name, options), options), rule_record(options)
    check_name("study", name)
    for arm in options.arms:  # before images are read, which takes time
        _ = find_arm(arm, page.arms, options.metadata_dropout).block_name
    require_packages(options.extra_scores)
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
    # Only now: neither a dry run nor a wrong setting has to wait for Ray's or matplotlib's import.
    from analysis.report.study import report
    from metaseg.engine import run_study
    from metaseg.scoring.study import score_study

    if study.sequential:
        train = partial(run_study, config=options.engine, console=console)
        study, outcome = train_until_decided(study, store, train, console, command, to_toml(options))
    else:
        require_same_rule(study, store)
        study.declare(store, command, to_toml(options))
        outcome = run_study(study, store, options.engine, console)
    for run, reason in outcome.failed.items():
        where = f"traceback: {store.failure(run.run_id)}"
        complain(console, "failed", f"{run.label} ({run.run_id}): {reason}\n  {where}")
    scored = not options.extra_scores or score_study(
        store, study.name, options.extra_scores, console=console, blocks=study.own_code
    )
    if len(outcome.failed) < len(study.runs):
        drawn = {} if outcome.failed else pictures(study, store)
        report(store.storage, study.name, pictures=drawn, tables={"distribution": distribution(study.dataset)})
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


def print_plan(study: "Study", store: "Store", console: "Console") -> None:
    """Print what a study is trained on, and how many of its runs are done."""
    print_data(study.name, study.dataset, console)
    done = len(study.runs) - len(study.missing(store))
    if study.sequential:
        looks = ", ".join(map(str, study.sequential["looks"]))
        about = f"Until decided: looks at {looks} seeds; seeds are added only to comparisons that are still open."
        console.print(Text(about), soft_wrap=True)
    most = "At most " if study.sequential else ""
    console.print(Text(f"{most}{len(study.runs)} runs, {done} already done; store: {store.where}"), soft_wrap=True)


def print_data(name: str, dataset: "Dataset", console: "Console") -> None:
    """Print which data a study or sweep called `name` uses."""
    if dataset.about:
        console.print(Text(f"Data: {dataset.about}", "bold"), soft_wrap=True)
    count = len(dataset.tested) if dataset.folds else int(dataset.table["split"].isin(SPLITS).sum())
    sizes, total = _sizes(dataset), round(count / dataset.share)
    metadata = ", ".join(f"{column.name} ({column.kind}{_unknown(dataset, column)})" for column in dataset.metadata)
    samples = f"{'about ' if dataset.share < 1 else ''}{total} samples ({sizes})"
    title = Text(f"{name} on {dataset.name}: {samples}; metadata: {metadata}", "bold")
    console.print(title, soft_wrap=not console.is_terminal)  # a job's log says it is 80 columns wide


def _unknown(dataset: "Dataset", column: "MetadataColumn") -> str:
    """Number of samples without a value of a column, in words; empty where all have one."""
    from metaseg.data.metadata import is_known

    count = 0 if column.missing == "error" else int((~is_known(dataset.values[column.name])).sum())
    return f", {round(count / dataset.share)} unknown" if count else ""


def _sizes(dataset: "Dataset") -> str:
    """Number of samples in each split, or fold."""
    if dataset.folds is None:
        return ", ".join(f"{round(len(dataset.indices(split)) / dataset.share)} {split}" for split in SPLITS)
    counts = {view.fold: round(len(view.indices("test")) / dataset.share) for view in dataset.views}
    told = ", ".join(
        str(count) if dataset.folds.kind == "drawn" else f"{name} {count}" for name, count in counts.items()
    )
    about = f"at most {max(counts.values())} samples each" if len(counts) > MOST_SIZES else told
    return f"{len(counts)} folds: every sample is tested once; {about}"


def distribution(dataset: "Dataset") -> "pd.DataFrame":
    """Number of samples in each split, or fold, in all and by subgroup (paper, Table S1): a row a split or fold."""
    import pandas as pd

    part = "fold" if dataset.folds else "split"
    table = dataset.table.iloc[dataset.tested] if dataset.folds else dataset.table
    parts = [dataset.fold_of(row) for row in dataset.tested] if dataset.folds else table["split"]
    counts = pd.crosstab(pd.Series(list(parts), name=part), table["subgroup"].reset_index(drop=True))
    counts = counts.reindex(dataset.folds.names if dataset.folds else SPLITS)
    if list(counts) != ["all"]:
        counts.insert(0, "all", counts.sum(axis=1))
    return counts.rename_axis(index=part, columns=None).reset_index()
