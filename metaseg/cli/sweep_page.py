"""A sweep's page: which settings it searches on which images, and the way from options to tuned settings.

Importing this module is cheap: a page parses its options first, and imports what it needs afterwards.
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Generic, TypeVar

import tyro
from rich.text import Text

from metaseg.cli.option_file import to_toml
from metaseg.cli.options import Preset, StudyOptions, parse
from metaseg.cli.study_page import Page, carry_out, recording, with_folds
from metaseg.cli.study_summary import print_data, print_plan
from metaseg.config import ConfigError
from metaseg.simulators.settings import SyntheticConfig
from metaseg.store.names import as_name, check_name
from metaseg.study.arms import find_arm
from metaseg.sweeps.search import SearchConfig

if TYPE_CHECKING:
    from rich.console import Console

    from metaseg.config import NetworkConfig, ScheduleConfig
    from metaseg.data.dataset import Dataset
    from metaseg.study.plan import Study
    from metaseg.sweeps.space import Space
    from metaseg.sweeps.sweep import Sweep


@dataclass(frozen=True, kw_only=True)
class SweepOptions(StudyOptions):
    """Options that every sweep has."""

    arm: str = "sme"
    """The arm whose settings are searched for."""

    tune_each_arm: bool = False
    """Search in each of --arms instead, with equal budgets, then train each with its own best settings and --seeds
    fresh seeds as a study: does metadata still help when every arm is tuned?"""

    arms: tuple[str, ...] = ("baseline", "me", "sme", "sme-dummy", "film")
    """Arms of --tune-each-arm; the baseline must be among them."""

    space: tuple[str, ...] = ()
    """Changes to the space: NAME=LOW..HIGH (with :log where it is searched by ratios) or NAME=A,B,C."""

    search: Annotated[SearchConfig, tyro.conf.arg(name="")] = field(default_factory=SearchConfig)

    manifest: Path | None = None
    """CSV or Parquet table of your images, or the folder of a published layout. Without it, images are simulated."""

    layout: str = "table"
    """Format of the manifest: table, or the name of a published layout (dsb2018, livecell, nnunet ...)."""

    metadata: tuple[str, ...] = ()
    """Metadata columns that the networks see, as in own_data.py."""

    group_by: str | None = None
    """Column whose values mustn't straddle training, validation and test."""

    fold: str | None = None
    """Fold in whose training and validation samples settings are searched, where there are --folds. --tune-each-arm
    searches in each of them, for that fold's own networks."""

    name: str | None = None
    """Name of the sweep in the store (default: made of the page's and the images')."""

    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)


Swept = TypeVar("Swept", bound=SweepOptions)


@dataclass(frozen=True)
class SweepPage(Generic[Swept]):
    """A page under `studies/`, or one of your own, that searches for settings."""

    presets: Mapping[Preset, Swept]
    """Options by preset, all of one class."""
    page: Callable[[Swept], Page]
    """Gives the sweep's name, images, own arms and baseline, given the options; imports in here what takes time."""
    space: Callable[[Swept], "Space"]
    """Gives what is searched, before `--space`."""
    description: str | None = None
    """Shown by `--help`: the page's docstring."""

    def main(self) -> int:
        """Search as the command line says; returns the process's exit code.

        With `--tune-each-arm`, the arms are then trained with their best settings, and reported on as a study.
        """
        options = parse(self.presets, self.description)
        from metaseg.cli.process import guarded

        return guarded(lambda console: _launch(self.page(options), self.space(options), options, console))


def _launch(page: Page, space: "Space", options: SweepOptions, console: "Console") -> int:
    from metaseg.cli.process import FAILED, command, complain, open_store, prepare_shown
    from metaseg.study.plan import plan
    from metaseg.sweeps.continuation import check_sweep
    from metaseg.sweeps.outcome import best_trial, first_error
    from metaseg.sweeps.sweep import Sweep

    if options.until_decided:
        raise ConfigError("--until-decided is for studies; a sweep's arms are compared with --seeds seeds each")
    name = with_folds(page.name, options)
    check_name("study" if options.tune_each_arm else "sweep", name)
    space = space.changed(options.space)
    names = options.arms if options.tune_each_arm else (options.arm,)
    arms = [find_arm(name, page.arms, options.metadata_dropout) for name in names]
    if options.track:
        from metaseg.tracking.open import require_trackers

        require_trackers(options.track)
    store = open_store(options.storage)
    dataset = prepare_shown(options.data, page.read, store, console)
    sweeps = [
        Sweep(
            f"{name}.{arm.name}" if view.fold is None else as_name(f"{name}.{arm.name}.fold-{view.fold}"),
            view,
            arm,
            options.network,
            options.schedule,
            space.for_arm(arm, options.architecture),
            options.search,
            options.architecture,
            options.loss,
            options.early_stopping,
        )
        for view in _searched(dataset, options)
        for arm in arms
    ]

    def planned(
        name: str,
        tuned: "Mapping[tuple[str, str | None], tuple[NetworkConfig, ScheduleConfig]]",
        searched: Mapping[str, str],
    ) -> "Study":
        return plan(
            name,
            dataset,
            options.arms,
            options.seeds,
            options.network,
            options.schedule,
            more_arms=page.arms,
            baseline=page.baseline,
            scoring=page.scoring,
            own_settings=tuned,
            sweeps=searched,
            crossed=options.crossed_seeds,
            architecture=options.architecture,
            loss=options.loss,
            early_stopping=options.early_stopping,
            metadata_dropout=options.metadata_dropout,
            equal_steps=options.equal_steps,
        )

    if options.tune_each_arm:  # whether the study can be, before hours are spent on its settings
        planned(name, {}, {})
    for sweep in sweeps:  # all of them, before the first is searched to its end
        check_sweep(sweep, store)
    print_data(name, dataset, console)
    for sweep in sweeps:
        _print_space(sweep, console)
    if options.dry_run:
        return 0

    # Only now: neither a dry run nor a wrong setting has to wait for Ray's or matplotlib's import.
    from analysis.report.sweep import report_sweep
    from metaseg.engine.session import session
    from metaseg.engine.tuning import run_sweep

    tuned: dict[tuple[str, str | None], tuple[NetworkConfig, ScheduleConfig]] = {}
    # Sweeps and the study that follows share one start of Ray; a single sweep may not need it at all.
    with session() if options.tune_each_arm else contextlib.nullcontext():
        for sweep in sweeps:
            with recording(options.track, store, sweep, console) as recorder:
                on_trial = recorder.trial if recorder else lambda row: None
                study = run_sweep(sweep, store, options.engine, console, command(), on_trial=on_trial)
                store.storage.write(f"sweeps/{sweep.name}/config.toml", to_toml(options).encode())
                report_sweep(store.storage, sweep.name)
                if recorder:
                    recorder.finish()
            best = best_trial(sweep, study)
            if best is None:
                reason = first_error(study) or "no complete trial keeps to the constraints"
                complain(console, "failed", f"{sweep.name}: no settings were found: {reason}")
                return FAILED
            settings = sweep.space.settings(best.params, options.network, options.schedule)
            tuned[sweep.arm.name, sweep.dataset.fold] = settings
        if not options.tune_each_arm:
            if options.fold is not None:
                console.print(Text(_in_one_fold(options)), soft_wrap=True)
            return 0
        each = planned(f"{name}-tuned", tuned, {sweep.label: sweep.name for sweep in sweeps})
        print_plan(each, store, console)
        return carry_out(each, store, options, page.pictures, console, command())


def _searched(dataset: "Dataset", options: SweepOptions) -> "tuple[Dataset, ...]":
    """The dataset as the folds see it in which settings are searched: without their test images."""
    if options.fold is not None and options.tune_each_arm:
        raise ConfigError(f"fold is {options.fold!r}; expected none with --tune-each-arm, which tunes in each fold")
    if options.tune_each_arm:
        return dataset.views
    if options.fold is None and dataset.folds:
        raise ConfigError(f"--fold is missing; expected one of {', '.join(dataset.folds.names)}, to search in")
    return (dataset.of_fold(options.fold),)


def _in_one_fold(options: SweepOptions) -> str:
    """Warning that the best settings of a search in one fold don't serve all folds."""
    return (
        f"The best settings were chosen on images that other folds than {options.fold} test: to train all folds with "
        "them would make scores too good. For a study with folds, search in each: --tune-each-arm --folds"
    )


def _print_space(sweep: "Sweep", console: "Console") -> None:
    """Print what is searched, and with which budget."""
    search, what = sweep.search, ", ".join(str(dimension) for dimension in sweep.space.dimensions)
    spent = f", at most {search.max_epochs} epochs in all" if search.max_epochs else ""
    line = f"{sweep.name}: {search.trials} trials by {search.sampler}, pruned by {search.pruner}{spent}; {what}"
    console.print(Text(line), soft_wrap=True)
