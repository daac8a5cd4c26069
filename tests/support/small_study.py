"""A small study, and running it with a function in the place of training."""

import io

from rich.console import Console

from metaseg.config import EngineConfig, NetworkConfig, ScheduleConfig
from metaseg.data.dataset import Dataset
from metaseg.engine import Outcome, run_study
from metaseg.engine.worker import Execute
from metaseg.store.runs import Store
from metaseg.study.plan import Study, plan

SCHEDULE = ScheduleConfig(epochs=3, cycles=1, batch_size=5, crop=16)


def small_study(dataset: Dataset) -> Study:
    """Three arms with two seeds each."""
    return plan("study", dataset, ["baseline", "sme", "film"], 2, NetworkConfig(width=4, depth=2), SCHEDULE)


def run_with(function: Execute, study: Study, store: Store, **settings: object) -> tuple[Outcome, str]:
    """The study's outcome, and what was printed; `settings` are those of `EngineConfig`."""
    console = Console(file=io.StringIO(), width=200)
    outcome = run_study(study, store, EngineConfig(**settings), console, function)
    return outcome, console.file.getvalue()
