"""Sweeps on Ray Tune: Optuna proposes, Tune places and watches trials, each trained as a run is."""

import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

# Before ray is imported. Ctrl-C is handled by the command, and nobody reads Tune's own records of a sweep: everything
# that counts is in the store.
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "600")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")

import optuna
from optuna.trial import FrozenTrial
from ray import tune
from ray.tune.search import Searcher
from rich.console import Console

from metaseg.config import ConfigError, EngineConfig
from metaseg.engine.room import Worker, can_grow, count
from metaseg.engine.session import session
from metaseg.engine.shipping import ship_code, ship_weights
from metaseg.engine.sweep_progress import SweepProgress
from metaseg.engine.trial_worker import TrialJob, trial_function
from metaseg.engine.watch import watched
from metaseg.store.claims import Claimant
from metaseg.store.runs import Store
from metaseg.store.storage import StorageError
from metaseg.study.run_id import run_id
from metaseg.sweeps.continuation import load_record, open_sweep, pruner_settings, study_name
from metaseg.sweeps.outcome import tell
from metaseg.sweeps.sweep import FACTS, Sweep
from metaseg.sweeps.table import row_of, write_table
from metaseg.sweeps.trial import Execute, execute_trial
from metaseg.training import TRAINING_VERSION

# Tune logs a page for each failed trial, and a list of trials without its records at the end; the sweep prints one line
# for each failed trial instead.
logging.getLogger("ray.tune").setLevel(logging.CRITICAL)

OnTrial = Callable[[dict[str, Any]], None]
"""Told of a trial that has ended, by its row of the sweep's table; returns at once and raises nothing."""

WAITER: dict[str, float] = {"cpu": 0, "memory": 1 << 20}
"""Resources of a trial whose workers reserve their own: Ray wants some, so it is a megabyte."""


def run_sweep(
    sweep: Sweep,
    store: Store,
    engine: EngineConfig,
    console: Console,
    command: list[str],
    execute: Execute = execute_trial,
    on_trial: OnTrial = lambda row: None,
) -> optuna.Study:
    """Run the trials that the sweep still lacks; returns Optuna's study. Ray isn't started if none is missing.

    Trials that a killed driver has left running are resumed from their checkpoints, under their old numbers. `on_trial`
    is called with the table's row of each trial that ends (`metaseg.sweeps.table`).

    Raises:
        ConfigError: another driver runs this sweep, or the store has a different sweep of this name.
        StorageError: the store is full or can't be reached.
    """
    with Claimant(store.storage) as claims:
        if not claims.claim(f"sweep-{sweep.name}"):
            raise ConfigError(f"sweep {sweep.name!r} is being run by another driver: `metaseg status {store.where}`")
        try:
            study = open_sweep(sweep, store, command)
            asker = Asker(sweep, study, store, engine, execute, on_trial)
            try:
                if asker.wants_more():
                    ship_code([sweep.config({})])
                    ship_weights([sweep.config({})], store)
                    console.print("Starting Ray ...", style="dim")
                    with session(), watched(claims, console), SweepProgress(sweep, study, claims, console) as progress:
                        asker.run(progress)
            finally:
                write_table(sweep, study, store)  # also if the sweep was stopped
        finally:
            claims.release(f"sweep-{sweep.name}")
    return study


class Asker(Searcher):
    """The link between Ray Tune and Optuna: proposes trials and takes their results.

    It has no state to save, since Optuna's journal has everything.
    """

    def __init__(
        self,
        sweep: Sweep,
        study: optuna.Study,
        store: Store,
        engine: EngineConfig,
        execute: Execute,
        on_trial: OnTrial = lambda row: None,
    ) -> None:
        super().__init__()
        self._on_trial = on_trial
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
        """Return True if there is a trial to start or to resume."""
        search = self._sweep.search
        affordable = search.max_epochs is None or self._spent < search.max_epochs
        return bool(self._left) or (self._asked < search.trials and affordable)

    def run(self, progress: "SweepProgress") -> None:
        """Run trials until there are none left to start."""
        self._progress = progress
        worker = self._worker = Worker.of(self._engine)
        each = self._engine.workers_per_run
        room = count(worker) // each[0]
        if room == 0 and not can_grow():
            raise ConfigError(
                f"workers_per_run is {each[0]}; expected at most {count(worker)}: Ray has no room for more"
            )
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
        """Give Tune a trial: one that a killed driver has left, else a new one; `FINISHED` if there is none."""
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
        """Remember why a trial is retried, since Tune doesn't say so when it gives up."""
        if "fault" in result:
            self._faults[trial_id] = result["fault"]

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell Optuna how a trial ended. Its process has left the facts in the journal, unless it died."""
        number = self._trials.pop(trial_id)
        trial = self._study.get_trials(deepcopy=False)[number]
        if result and result.get("store_failed"):
            self._broken = result["store_failed"].removeprefix("StorageError: ")
            return  # it stays in the state "running", and the next command resumes it
        facts = trial.user_attrs.get(FACTS)
        if facts is None:
            reason = (result or {}).get("failed") or self._faults.get(trial_id, "its process died again and again")
            facts = {"state": "failed", "epochs": 0, "values": {}, "error": reason}
            self._study._storage.set_trial_user_attr(trial._trial_id, FACTS, facts)
        self._end(trial, facts)
        assert self._progress is not None
        self._progress.ended(number, facts)
        self._on_trial(row_of(self._study.get_trials(deepcopy=False)[number], self._sweep))

    def _end(self, trial: FrozenTrial, facts: dict[str, Any]) -> None:
        self._spend(facts)
        tell(self._study, trial, facts, self._sweep)

    def _spend(self, facts: dict[str, Any]) -> None:
        self._spent += 0 if facts.get("reused") else facts["epochs"]

    def __getstate__(self) -> dict[str, Any]:
        """Return no state: Tune writes itself and its parts to a file, which nobody reads here."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: see the class."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: see the class."""
