"""Code that runs in Ray Tune's processes: one trial of a sweep, trained as a run is."""

from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import optuna
import torch
from ray import tune
from ray.train.torch import get_device

from metaseg.config import EngineConfig, RunConfig
from metaseg.engine.failure import Kind, explain
from metaseg.engine.room import Worker
from metaseg.engine.worker import fit_with_train, open_both, open_store, require_same_code, scaling
from metaseg.sweeps.journal import open_journal
from metaseg.sweeps.pruners import PrunerSettings, build_pruner
from metaseg.sweeps.sweep import FACTS
from metaseg.sweeps.trial import Execute
from metaseg.training.world import World


@dataclass(frozen=True)
class TrialJob:
    """Everything a trial's process needs to know; small, since data go through the store."""

    sweep: str
    study: str
    """Name of Optuna's study."""
    optuna_id: int
    number: int
    config: RunConfig
    run: str
    """The run's id, as the driver's code computes it."""
    version: int
    """`TRAINING_VERSION` of the driver's code."""
    measured: tuple[str, ...]
    pruner: PrunerSettings
    store: str
    dataset: Path
    engine: EngineConfig
    worker: Worker
    execute: Execute


@lru_cache(maxsize=4)
def open_study(store: str, sweep: str, study: str, pruner: PrunerSettings) -> optuna.Study:
    """Open the sweep's study in a trial's process, which reports scores and asks the pruner, but proposes nothing."""
    storage = open_journal(open_store(store).storage, sweep)
    return optuna.load_study(study_name=study, storage=storage, pruner=build_pruner(pruner))


def train(settings: dict[str, TrialJob]) -> None:
    """Run a trial in this process, one of its workers; the first leaves the facts in Optuna's journal."""
    job = settings["job"]
    require_same_code(job.config, job.run, job.version)
    store, dataset = open_both(job.store, job.dataset, job.config)
    study = open_study(job.store, job.sweep, job.study, job.pruner)
    # A trial of one worker runs without Ray Train, which then knows no device; Ray shows the process only its own GPU.
    one = job.engine.workers_per_run[-1] == 1
    device = torch.device("cuda" if job.worker.gpus else "cpu") if one else get_device()

    def judge(epoch: int, score: float) -> bool:
        step = job.pruner.step(epoch, job.config.schedule.epochs)
        study._storage.set_trial_intermediate_value(job.optuna_id, step, score)
        return study.pruner.prune(study, study._storage.get_trial(job.optuna_id))

    origin = (job.sweep, job.number)
    facts = job.execute(job.config, dataset, store, device, job.measured, origin, judge, job.engine)
    if World.current().rank == 0:
        study._storage.set_trial_user_attr(job.optuna_id, FACTS, asdict(facts))


def trial_function(settings: dict[str, TrialJob]) -> None:
    """Run a trial; Ray Tune calls it in an actor that is kept warm from trial to trial."""
    job = settings["job"]
    each = job.engine.workers_per_run
    try:
        if each[-1] == 1:
            train(settings)
        else:
            fit_with_train(train, settings, scaling(each, job.worker.cpus, job.worker.gpus), f"trial-{job.number}")
    except Exception as error:
        failure = explain(error)
        if failure.kind in (Kind.MACHINE, Kind.PREEMPTION):
            tune.report({"fault": failure.reason})
            raise  # Tune retries it, up to `max_failures` times
        tune.report({"store_failed" if failure.kind is Kind.STORE else "failed": failure.reason})
    else:
        tune.report({"ended": 1})
