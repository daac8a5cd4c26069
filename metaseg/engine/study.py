"""Studies on Ray: train the runs that the store doesn't have yet."""

import contextlib
from collections.abc import Sequence

from rich.console import Console

from metaseg.config import ConfigError, EngineConfig
from metaseg.engine.follower import Follower
from metaseg.engine.outcome import Outcome
from metaseg.engine.progress import StudyProgress
from metaseg.engine.room import Worker, can_grow, count
from metaseg.engine.scheduler import Scheduler
from metaseg.engine.session import session
from metaseg.engine.shipping import ship_code, ship_weights
from metaseg.engine.watch import watched
from metaseg.engine.worker import Execute
from metaseg.store.claims import Claimant, tidy
from metaseg.store.runs import Store
from metaseg.study.execution import execute
from metaseg.study.plan import PlannedRun, Study
from metaseg.terminal import Terminal

MOST_NAMED = 5
"""Most files of others that a warning names."""


def run_study(
    study: Study,
    store: Store,
    config: EngineConfig | None = None,
    console: Console | None = None,
    execute: Execute = execute,
    followers: Sequence[Follower] = (),
) -> Outcome:
    """Train the runs of a study that the store doesn't have yet. Ray isn't started when nothing is missing.

    Runs start in order of their number of workers, then of their work (`metaseg.study.execution.work`), the largest
    first, then of their place in the study. A run that fails is recorded in the store with its traceback and doesn't
    stop the others. A run that another driver has claimed is left to it, and this function waits until it is done.

    Args:
        study: the runs.
        store: where results are kept; other processes can use it at the same time.
        config: resources, by default those of `EngineConfig`.
        console: where progress is shown, by default standard output.
        execute: trains one run; called in Ray's workers.
        followers: told when runs start, finish an epoch and end, such as trackers.

    Returns:
        The runs trained by this call, those that failed with the reason, and the number of retries.

    Raises:
        ConfigError: a run needs more workers than Ray has room for, and no autoscaler could make room; or its block
            can't be sent to workers.
        StorageError: the store is full or can't be reached.

    Example:
        >>> from pathlib import Path
        >>> from metaseg import NetworkConfig, ScheduleConfig, Store, plan, run_study
        >>> from metaseg import DataConfig, SyntheticConfig, make_seven_cells, prepare
        >>> cells = make_seven_cells(Path("cells"), SyntheticConfig(size=64, images_per_line=3, wells_per_line=3))
        >>> dataset = prepare(cells, DataConfig(), Path("cache"))
        >>> store, network = Store.at("store"), NetworkConfig(width=2, depth=1)
        >>> study = plan("cells", dataset, ["baseline"], 1, network, ScheduleConfig(epochs=1, crop=32))
        >>> study.declare(store)
        >>> outcome = run_study(study, store)
        Starting Ray ...
        >>> len(outcome.trained), outcome.failed
        (1, {})
    """
    config, console = config or EngineConfig(), console or Terminal()
    missing = study.missing(store)
    if not missing:
        remove_leftovers(store, console)
        return Outcome((), {}, 0)
    ship_code(run.config for run in missing)
    ship_weights((run.config for run in missing), store)
    console.print("Starting Ray ...", style="dim")
    with session(), Claimant(store.storage) as claims, watched(claims, console):
        worker = Worker.of(config)
        total = count(worker)
        _require_room(missing, config, worker, total)
        each = "-".join(map(str, config.workers_per_run))
        console.print(
            f"{len(missing)} runs to train, {each} worker(s) each; a worker is {worker}, Ray has room for {total} now.",
            style="dim",
            highlight=False,
        )
        with StudyProgress(study, missing, console, followers) as progress:
            scheduler = Scheduler(missing, study.dataset.path, store, config, worker, claims, progress, execute)
            try:
                return scheduler.run()
            finally:
                scheduler.close()
                remove_leftovers(store, console)


def remove_leftovers(store: Store, console: Console) -> None:
    """Remove what killed processes have left, as far as possible, and warn of files that aren't ours."""
    with contextlib.suppress(OSError):
        store.remove_leftovers()
        foreign = [store.storage.locate(name) for name in tidy(store.storage, store.done())]
        more = [f"and {len(foreign) - MOST_NAMED} more"] if len(foreign) > MOST_NAMED else []
        if foreign:
            names = ", ".join([*foreign[:MOST_NAMED], *more])
            console.print(f"warning: files of others are skipped: {names}", style="yellow", soft_wrap=True)


def _require_room(missing: Sequence[PlannedRun], config: EngineConfig, worker: Worker, total: int) -> None:
    least = max(run.workers_of(config)[0] for run in missing)
    if least > total and not can_grow():
        raise ConfigError(
            f"workers_per_run is {least}; expected at most {total}: Ray has room for {total} workers of {worker}"
        )
