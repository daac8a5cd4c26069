"""From options to tuned settings: what `studies/sweep_*.py` do once they have said what they search."""

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.text import Text

from metaseg import datasets
from metaseg.cli.option_file import to_toml
from metaseg.cli.options import Preset, StudyOptions
from metaseg.cli.presets import PAPER_NETWORK, PAPER_SCHEDULE, SMALL_NETWORK, SMALL_SCHEDULE
from metaseg.cli.process import FAILED, command, complain, guarded, open_store, prepare_shown
from metaseg.cli.study_page import carry_out, named, print_data, print_plan
from metaseg.config import NetworkConfig, ScheduleConfig
from metaseg.data.manifest import Manifest
from metaseg.datasets.source import Progress, Source
from metaseg.simulators.dry_run import simulate
from metaseg.simulators.seven_cells import SyntheticConfig, make_seven_cells
from metaseg.store.names import check_name
from metaseg.study.plan import find_arm, plan
from metaseg.sweeps.continuation import check_sweep
from metaseg.sweeps.outcome import best_trial, first_error
from metaseg.sweeps.space import Space
from metaseg.sweeps.sweep import SearchConfig, Sweep


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
    """How the manifest is stored: table, or the name of a published layout (dsb2018, livecell, nnunet ...)."""

    metadata: tuple[str, ...] = ()
    """Metadata columns that the networks see, as in own_data.py."""

    group_by: str | None = None
    """Column whose values mustn't straddle training, validation and test."""

    name: str | None = None
    """Name of the sweep in the store (default: made of the page's and the images')."""

    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)


PRESETS: dict[Preset, SweepOptions] = {
    "quick": SweepOptions(
        network=NetworkConfig(width=8, depth=2, reduction=1),
        schedule=ScheduleConfig(epochs=10, cycles=1, lr_max=1e-2, batch_size=4, crop=96, validate_every=2),
    ),
    "small": SweepOptions(
        search=SearchConfig(trials=60),
        network=SMALL_NETWORK,
        schedule=SMALL_SCHEDULE,
        synthetic=SyntheticConfig(size=256, images_per_line=108, wells_per_line=36),
    ),
    "paper": SweepOptions(
        search=SearchConfig(trials=100),
        network=PAPER_NETWORK,
        schedule=PAPER_SCHEDULE,
        synthetic=SyntheticConfig(size=1080, images_per_line=432, wells_per_line=48),
    ),
}
"""Networks, schedules and images of `studies/seven_cells.py`, and more trials where more can be afforded."""


def launch_sweep(page: str, space: Space, options: SweepOptions) -> int:
    """Search for settings and report; with `--tune-each-arm`, also train the arms with them and report on that.

    Args:
        page: the page's name.
        space: what it searches, before `--space`.
        options: from the command line.

    Returns:
        The process's exit code.
    """
    return guarded(lambda console: _launch(page, space, options, console))


def _launch(page: str, space: Space, options: SweepOptions, console: Console) -> int:
    name = named(page, options.manifest) if options.name is None else options.name
    check_name("study" if options.tune_each_arm else "sweep", name)
    space = space.changed(options.space)
    names = options.arms if options.tune_each_arm else (options.arm,)
    arms = [find_arm(name) for name in names]
    store = open_store(options.storage)

    def read(folder: Path, progress: Progress) -> Manifest:
        if options.manifest is None:
            return simulate(make_seven_cells, folder, options.synthetic, progress, dry_run=False)
        source = Source(options.manifest, folder, options.metadata, options.group_by, progress)
        return datasets.read(options.layout, source)

    dataset = prepare_shown(options.data, read, store, console)
    sweeps = [
        Sweep(
            f"{name}.{arm.name}",
            dataset,
            arm,
            options.network,
            options.schedule,
            space.for_arm(arm),
            options.search,
        )
        for arm in arms
    ]
    if options.tune_each_arm:  # whether the study can be, before hours are spent on its settings
        plan(name, dataset, options.arms, options.seeds, options.network, options.schedule)
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

    tuned: dict[str, tuple[NetworkConfig, ScheduleConfig]] = {}
    # Sweeps and the study that follows share one start of Ray; a single sweep may not need it at all.
    with session() if options.tune_each_arm else contextlib.nullcontext():
        for sweep in sweeps:
            study = run_sweep(sweep, store, options.engine, console, command())
            store.storage.write(f"sweeps/{sweep.name}/config.toml", to_toml(options).encode())
            report_sweep(store.storage, sweep.name)
            best = best_trial(sweep, study)
            if best is None:
                reason = first_error(study) or "no complete trial keeps to the constraints"
                complain(console, "failed", f"{sweep.name}: no settings were found: {reason}")
                return FAILED
            tuned[sweep.arm.name] = sweep.space.settings(best.params, options.network, options.schedule)
        if not options.tune_each_arm:
            return 0
        each = plan(
            f"{name}-tuned",
            dataset,
            options.arms,
            options.seeds,
            options.network,
            options.schedule,
            own_settings=tuned,
            sweeps={sweep.arm.name: sweep.name for sweep in sweeps},
        )
        print_plan(each, store, console)
        return carry_out(each, store, options, lambda study, store: {}, console)


def _print_space(sweep: Sweep, console: Console) -> None:
    """Say what is searched, and with which budget."""
    search, what = sweep.search, ", ".join(str(dimension) for dimension in sweep.space.dimensions)
    spent = f", at most {search.max_epochs} epochs in all" if search.max_epochs else ""
    line = f"{sweep.name}: {search.trials} trials by {search.sampler}, pruned by {search.pruner}{spent}; {what}"
    console.print(Text(line), soft_wrap=True)
