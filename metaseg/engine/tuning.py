"""Sweeps on Ray Tune: Optuna proposes, Tune places and watches trials, each trained as a run is."""

import logging
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

# Before ray is imported. Ctrl-C is the study's to handle, and Tune's own records of a sweep are read by nobody: what
# counts is in the store.
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "600")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")

import optuna
import torch
from optuna.trial import FrozenTrial
from ray import tune
from ray.train.torch import get_device
from ray.tune.search import Searcher
from rich.console import Console

from metaseg.config import ConfigError, EngineConfig, RunConfig
from metaseg.engine.failure import Kind, explain
from metaseg.engine.room import Worker, can_grow, count
from metaseg.engine.session import session
from metaseg.engine.shipping import ship_blocks
from metaseg.engine.sweep_progress import SweepProgress
from metaseg.engine.watch import watched
from metaseg.engine.worker import fit_with_train, open_both, open_store, require_same_code, scaling
from metaseg.store.claims import Claimant
from metaseg.store.runs import Store
from metaseg.store.storage import StorageError
from metaseg.study.run_id import run_id
from metaseg.sweeps.continuation import load_record, open_sweep, pruner_settings, study_name
from metaseg.sweeps.journal import open_journal
from metaseg.sweeps.outcome import tell
from metaseg.sweeps.pruners import PrunerSettings, build_pruner
from metaseg.sweeps.sweep import FACTS, Sweep
from metaseg.sweeps.table import write_table
from metaseg.sweeps.trial import Execute, execute_trial
from metaseg.training import TRAINING_VERSION
from metaseg.training.world import World

# Of each trial that fails it tells a page, and at the end of each whose records it misses; the sweep tells a line.
logging.getLogger("ray.tune").setLevel(logging.CRITICAL)

WAITER: dict[str, float] = {"cpu": 0, "memory": 1 << 20}
"""What a trial reserves whose workers reserve for themselves: Ray wants it to be something."""


@dataclass(frozen=True)
class TrialJob:
    """All that a trial's process needs to know; small, since data travel by the store."""

    sweep: str
    study: str
    """What Optuna calls it."""
    optuna_id: int
    number: int
    config: RunConfig
    run: str
    """Its id, as the driver's code makes it."""
    version: int
    """`TRAINING_VERSION` of the driver's code."""
    measured: tuple[str, ...]
    pruner: PrunerSettings
    store: str
    dataset: Path
    engine: EngineConfig
    worker: Worker
    execute: Execute


def run_sweep(
    sweep: Sweep,
    store: Store,
    engine: EngineConfig,
    console: Console,
    command: list[str],
    execute: Execute = execute_trial,
) -> optuna.Study:
    """Try settings until as many are tried as the sweep wants; returns Optuna's study. Ray isn't started for none.

    Trials that a killed driver has left running are taken up again under their numbers, from their checkpoints.

    Raises:
        ConfigError: another driver runs this sweep, or the store's sweep of this name is another one.
        StorageError: the store is full or can't be reached.
    """
    with Claimant(store.storage) as claims:
        if not claims.claim(f"sweep-{sweep.name}"):
            raise ConfigError(f"sweep {sweep.name!r} is being run by another driver: `metaseg status {store.where}`")
        try:
            study = open_sweep(sweep, store, command)
            asker = Asker(sweep, study, store, engine, execute)
            try:
                if asker.wants_more():
                    ship_blocks([sweep.config({})])
                    console.print("Starting Ray ...", style="dim")
                    with session(), watched(claims, console), SweepProgress(sweep, study, claims, console) as progress:
                        asker.run(progress)
            finally:
                write_table(sweep, study, store)  # of a sweep that was stopped, too
        finally:
            claims.release(f"sweep-{sweep.name}")
    return study


class Asker(Searcher):
    """Ray Tune's way to Optuna: proposes trials and takes their results.

    It has no state to save: Optuna's journal has it all.
    """

    def __init__(self, sweep: Sweep, study: optuna.Study, store: Store, engine: EngineConfig, execute: Execute) -> None:
        super().__init__()
        self._sweep, self._study, self._store, self._engine, self._execute = sweep, study, store, engine, execute
        self._spent = 0
        self._left: list[FrozenTrial] = []
        trials = study.get_trials(deepcopy=False)
        self._asked = len(trials)
        for trial in trials:
            facts = trial.user_attrs.get(FACTS)
            if facts is None:
                self._left += [] if trial.state.is_finished() else [trial]
            elif trial.state.is_finished():
                self._spend(facts)
            else:
                self._end(trial, facts)  # its driver was killed before it could
        self._trials: dict[str, int] = {}
        self._faults: dict[str, str] = {}
        self._progress: SweepProgress | None = None
        self._broken: str | None = None
        record = load_record(store, sweep.name)
        assert record is not None
        self._study_name = study_name(record)
        self._worker = Worker(engine.cpus_per_worker, 0.0)

    def wants_more(self) -> bool:
        """Whether there is a trial to start or to take up again."""
        search = self._sweep.search
        affordable = search.max_epochs is None or self._spent < search.max_epochs
        return bool(self._left) or (self._asked < search.trials and affordable)

    def run(self, progress: "SweepProgress") -> None:
        """Run trials until there is none to start."""
        self._progress = progress
        worker = self._worker = Worker.of(self._engine)
        each = self._engine.workers_per_run
        room = count(worker) // each[0]
        if room == 0 and not can_grow():
            raise ConfigError(f"workers_per_run is {each[0]}; expected at most {count(worker)}: that is Ray's room now")
        one = each[-1] == 1
        resources: dict[str, float] = {"cpu": worker.cpus, "gpu": worker.gpus} if one else WAITER
        records = tempfile.mkdtemp(prefix="metaseg-ray-tune-")
        try:
            tune.Tuner(
                tune.with_resources(trial_function, resources),
                tune_config=tune.TuneConfig(
                    search_alg=self,
                    num_samples=-1,
                    reuse_actors=True,  # a warm process: the next trial starts in milliseconds instead of seconds
                    max_concurrent_trials=self._engine.max_concurrent or (None if can_grow() else room),
                ),
                run_config=tune.RunConfig(
                    storage_path=records,
                    name="sweep",
                    verbose=0,
                    failure_config=tune.FailureConfig(max_failures=self._engine.max_retries),
                    callbacks=[progress],
                ),
            ).fit()
        finally:
            shutil.rmtree(records, ignore_errors=True)
        if self._broken:
            raise StorageError(self._broken)

    def suggest(self, trial_id: str) -> Any:
        """A trial for Tune: one that a killed driver has left, else a new one; or that there is none."""
        if self._broken or not self.wants_more():
            return Searcher.FINISHED
        if self._left:
            trial = optuna.Trial(self._study, self._left.pop(0)._trial_id)
        else:
            trial = self._study.ask()
            self._asked += 1
        params = self._sweep.space.suggest(trial)
        number, optuna_id = trial.number, trial._trial_id
        self._trials[trial_id] = number
        sweep = self._sweep
        config = sweep.config(params)
        job = TrialJob(
            sweep=sweep.name,
            study=self._study_name,
            optuna_id=optuna_id,
            number=number,
            config=config,
            run=run_id(config),
            version=TRAINING_VERSION,
            measured=sweep.measured,
            pruner=pruner_settings(sweep),
            store=self._store.where,
            dataset=sweep.dataset.path,
            engine=self._engine,
            worker=self._worker,
            execute=self._execute,
        )
        assert self._progress is not None
        self._progress.started(number, params)
        return {"job": job}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Remember why a trial is tried again: when it is given up, Tune doesn't say."""
        if "fault" in result:
            self._faults[trial_id] = result["fault"]

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell Optuna what became of a trial: its process has left the facts in the journal, unless it died."""
        number = self._trials.pop(trial_id)
        trial = self._study.get_trials(deepcopy=False)[number]
        if result and result.get("store_failed"):
            self._broken = result["store_failed"].removeprefix("StorageError: ")
            return  # still running: whoever goes on with the sweep takes it up
        facts = trial.user_attrs.get(FACTS)
        if facts is None:
            reason = (result or {}).get("failed") or self._faults.get(trial_id, "its process died again and again")
            facts = {"state": "failed", "epochs": 0, "values": {}, "error": reason}
            self._study._storage.set_trial_user_attr(trial._trial_id, FACTS, facts)
        self._end(trial, facts)
        assert self._progress is not None
        self._progress.ended(number, facts)

    def _end(self, trial: FrozenTrial, facts: dict[str, Any]) -> None:
        self._spend(facts)
        tell(self._study, trial, facts, self._sweep)

    def _spend(self, facts: dict[str, Any]) -> None:
        self._spent += 0 if facts.get("reused") else facts["epochs"]

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune writes itself and its parts to a file, which here nobody reads."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: see the class."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see the class."""


@lru_cache(maxsize=4)
def open_study(store: str, sweep: str, study: str, pruner: PrunerSettings) -> optuna.Study:
    """The sweep's study in a trial's process, which reports to it and asks for judgement, but proposes nothing."""
    storage = open_journal(open_store(store).storage, sweep)
    return optuna.load_study(study_name=study, storage=storage, pruner=build_pruner(pruner))


def train(settings: dict[str, TrialJob]) -> None:
    """Run a trial in this process, one of its workers; the first leaves the facts in Optuna's journal."""
    job = settings["job"]
    require_same_code(job.config, job.run, job.version)
    store, dataset = open_both(job.store, job.dataset, job.config)
    study = open_study(job.store, job.sweep, job.study, job.pruner)
    # A trial of one worker is none of Ray Train's, which knows no device then; Ray shows the process its own GPU alone.
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
            raise  # Tune tries it again, so many times
        tune.report({"store_failed" if failure.kind is Kind.STORE else "failed": failure.reason})
    else:
        tune.report({"ended": 1})
