"""The scheduler: gives a study's missing runs to slots, as many at once as Ray has room for, until none is left."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from rich.console import Console

from metaseg.config import ConfigError, EngineConfig
from metaseg.engine.failure import Failure, Kind, explain
from metaseg.engine.progress import StudyProgress
from metaseg.engine.room import Worker, can_grow, count, free_orphans, left_beside
from metaseg.engine.session import session
from metaseg.engine.watch import watched
from metaseg.engine.worker import Board, Execute, Job, Slot
from metaseg.store.claims import Claimant, tidy
from metaseg.store.runs import Store
from metaseg.store.storage import StorageError
from metaseg.study.execution import execute, work
from metaseg.study.plan import PlannedRun, Study
from metaseg.training import TRAINING_VERSION

remote: Any = ray.remote
"""Ray's stubs don't know of all that it takes."""

POLL_SECONDS = 0.5

LOOK_AGAIN_SECONDS = 5.0
"""Between attempts to claim a run that another driver has; idle slots are closed after as long."""

PATIENCE_SECONDS = 60.0
"""Without room for any run, before the user is told, and between two times that they are."""

MOST_NAMED = 5
"""Files of others that a warning names."""

PENDING = 4
"""Slots that may wait for room, so that nodes that join are used at once."""
PENDING_WITH_AUTOSCALER = 64
"""These tell the autoscaler how much is wanted."""

START_ATTEMPTS = 5
START_SECONDS = 60.0
"""Slots in a row that may die before they are ready, and for how long: a node that goes takes several at once."""


@dataclass(frozen=True)
class Outcome:
    """How a study ended."""

    trained: tuple[PlannedRun, ...]
    """By this command; others may have trained more."""
    failed: dict[PlannedRun, str]
    """Failed runs and why, in a line."""
    faults: int
    """Times that a run was tried again."""


def run_study(
    study: Study, store: Store, config: EngineConfig, console: Console, execute: Execute = execute
) -> Outcome:
    """Train the runs of a study that the store doesn't have yet. Ray isn't started when nothing is missing.

    Runs start in order of their number of workers, then of their work (`metaseg.study.execution.work`), the largest
    first, then of their place in the study. A run that fails is recorded in the store with its traceback and doesn't
    stop the others. A run that another driver has claimed is left to it, and this function waits until it is done.

    Raises:
        ConfigError: a run needs more workers than Ray has room for, and no autoscaler could make room.
        StorageError: the store is full or can't be reached.
    """
    missing = study.missing(store)
    if not missing:
        _tidy(store, console)
        return Outcome((), {}, 0)
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
        with StudyProgress(study, missing, console) as progress:
            scheduler = Scheduler(missing, study.dataset.path, store, config, worker, claims, progress, execute)
            try:
                return scheduler.run()
            finally:
                scheduler.close()
                _tidy(store, console)


def _tidy(store: Store, console: Console) -> None:
    """Remove what deaths have left; what can't be removed stays, for the next time. Name what isn't ours."""
    with contextlib.suppress(OSError):
        store.remove_leftovers()
        foreign = [store.storage.locate(name) for name in tidy(store.storage, store.done())]
        more = [f"and {len(foreign) - MOST_NAMED} more"] if len(foreign) > MOST_NAMED else []
        if foreign:
            names = ", ".join([*foreign[:MOST_NAMED], *more])
            console.print(f"warning: others' files are passed over: {names}", style="yellow", soft_wrap=True)


def _require_room(missing: Sequence[PlannedRun], config: EngineConfig, worker: Worker, total: int) -> None:
    least = max(run.workers_of(config)[0] for run in missing)
    if least > total and not can_grow():
        raise ConfigError(
            f"workers_per_run is {least}; expected at most {total}: Ray has room for {total} workers of {worker}"
        )


@dataclass(eq=False)
class Seat:
    """A slot as the scheduler sees it."""

    slot: Any
    workers: tuple[int, ...]
    future: Any = None
    """Of its becoming ready, or of its run's end; None while it is idle."""
    run: PlannedRun | None = None
    begun: bool = False
    """The run's workers have started."""
    since: float = field(default_factory=time.monotonic)
    """When it last became what it is: starting, idle or busy."""


class Scheduler:
    """The state of a study that is being trained. `run` trains it, `close` ends what is left of it in Ray."""

    def __init__(
        self,
        missing: Sequence[PlannedRun],
        dataset: Path,
        store: Store,
        config: EngineConfig,
        worker: Worker,
        claims: Claimant,
        progress: StudyProgress,
        execute: Execute,
    ) -> None:
        self._dataset, self._store, self._config, self._worker = dataset, store, config, worker
        self._claims, self._progress, self._execute = claims, progress, execute
        self._waiting = sorted(missing, key=lambda run: (-run.workers_of(config)[0], -work(run.config)))
        self._held: set[str] = set()
        """Ids of waiting runs that other drivers had when last looked at."""
        self._attempts: dict[PlannedRun, int] = {}
        self._seats: list[Seat] = []
        self._failed_starts: list[float] = []
        self._trained: list[PlannedRun] = []
        self._failed: dict[PlannedRun, str] = {}
        self._faults = 0
        self._room = count(worker)
        self._looked = self._moved = time.monotonic()
        # On the driver's node: it is of use for as long as the driver lives.
        self._here: Any = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._board: Any = remote(num_cpus=0, max_restarts=-1, scheduling_strategy=self._here)(Board).remote()

    def run(self) -> Outcome:
        """Train until every run is done, by whomever, or has failed."""
        while self._waiting or self._busy():
            self._look_around()
            self._hand_out()
            self._open_slots()
            self._close_unused_slots()
            ended = self._ended()
            self._hear()  # first, since a run's last news are for the line that tells of its end
            for seat in ended:
                self._settle(seat)
            self._end_stalled()
            self._tell()
        return Outcome(tuple(self._trained), self._failed, self._faults)

    def close(self) -> None:
        """Give up what is running, so that others may have it."""
        for seat in self._seats:
            ray.kill(seat.slot)
            if seat.run:
                with contextlib.suppress(StorageError):
                    self._claims.release(seat.run.run_id)
        ray.kill(self._board)

    def _workers(self, run: PlannedRun) -> tuple[int, ...]:
        return run.workers_of(self._config)

    def _free(self) -> list[PlannedRun]:
        """Waiting runs that no other driver is known to have."""
        return [run for run in self._waiting if run.run_id not in self._held]

    def _busy(self) -> list[Seat]:
        return [seat for seat in self._seats if seat.run]

    def _look_around(self) -> None:
        """Now and then: has the cluster changed, have other drivers ended runs or died?"""
        if time.monotonic() - self._looked < LOOK_AGAIN_SECONDS:
            return
        self._looked = time.monotonic()
        self._room = count(self._worker)
        free_orphans()
        taken = self._claims.taken() if self._held else set()
        for run in [run for run in self._waiting if run.run_id in self._held - taken]:
            self._held.remove(run.run_id)
            if self._store.is_done(run.run_id):
                self._waiting.remove(run)
                self._progress.done_elsewhere(run)

    def _hand_out(self) -> None:
        """Give each idle slot the first waiting run that fits it and can be claimed."""
        idle = [seat for seat in self._seats if seat.future is None]
        for run in self._free() if idle else ():
            seat = next((seat for seat in idle if seat.workers == self._workers(run)), None)
            if len(self._busy()) == self._config.max_concurrent:
                return
            if seat is None:
                continue
            if not self._claims.claim(run.run_id):
                self._held.add(run.run_id)
                continue
            self._waiting.remove(run)
            if self._store.is_done(run.run_id):  # by another driver, since this study was planned
                self._claims.release(run.run_id)
                self._progress.done_elsewhere(run)
                continue
            idle.remove(seat)
            job = Job(
                run.config,
                run.run_id,
                TRAINING_VERSION,
                self._dataset,
                self._store.where,
                self._config,
                self._execute,
                self._board,
            )
            seat.run, seat.begun, seat.since = run, False, time.monotonic()
            seat.future = seat.slot.fit.remote(job)
            self._progress.started(run)
            if not idle:
                return

    def _open_slots(self) -> None:
        """Start slots for waiting runs, several workers first."""
        free = self._free()
        for shape in sorted({self._workers(run) for run in free}, reverse=True):
            runs = sum(self._workers(run) == shape for run in free)
            slots = sum(seat.workers == shape and not seat.run for seat in self._seats)
            for _ in range(min(runs - slots, self._slots_allowed(shape, slots))):
                self._open(shape)

    def _slots_allowed(self, shape: tuple[int, ...], unoccupied: int) -> int:
        """How many more slots of a shape may be started now; `unoccupied` have no run yet."""
        most = self._config.max_concurrent
        allowed = PENDING_WITH_AUTOSCALER if most is None else most - len(self._seats)
        large = [seat for seat in self._seats if seat.workers[-1] > 1]
        pending = [seat.workers[0] for seat in large if not seat.begun]
        if shape[-1] > 1:
            # One may wait for room: that is what an autoscaler acts on. More would be processes for nothing.
            used = sum(seat.workers[0] for seat in self._seats)
            fits = used + shape[0] <= self._room or can_grow() or not large
            return min(allowed, int(fits and not pending))
        pending += [self._workers(run)[0] for run in self._free() if self._workers(run)[-1] > 1]
        if pending:
            small = len(self._seats) - len(large)
            return min(allowed, left_beside(self._room, max(pending)) - small)
        return min(allowed, (PENDING_WITH_AUTOSCALER if can_grow() else PENDING) - unoccupied)

    def _open(self, shape: tuple[int, ...]) -> None:
        one, worker = shape[-1] == 1, self._worker
        options: dict[str, Any] = {"num_cpus": worker.cpus, "num_gpus": worker.gpus} if one else {"num_cpus": 0}
        if not one:
            options["scheduling_strategy"] = self._here
        slot = remote(**options)(Slot).remote(shape, worker.cpus, worker.gpus)
        self._seats.append(Seat(slot, shape, slot.ready.remote()))

    def _close_unused_slots(self) -> None:
        """Give back room that nothing here can use now: another driver may be waiting for it, or an autoscaler."""
        shapes = {self._workers(run) for run in self._free()}
        large = any(shape[-1] > 1 for shape in shapes)
        for seat in [seat for seat in self._seats if not seat.run]:
            unused = seat.workers not in shapes or (large and seat.workers[-1] == 1)
            if unused and (not shapes or time.monotonic() - seat.since > LOOK_AGAIN_SECONDS):
                ray.kill(seat.slot)
                self._seats.remove(seat)

    def _ended(self) -> list[Seat]:
        """Slots that have become ready or whose runs have ended; waits a little for the first."""
        by_future = {seat.future: seat for seat in self._seats if seat.future is not None}
        if not by_future:
            time.sleep(POLL_SECONDS)
            return []
        ray.wait(list(by_future), timeout=POLL_SECONDS)
        ended, _ = ray.wait(list(by_future), num_returns=len(by_future), timeout=0)
        return [by_future[future] for future in ended]

    def _hear(self) -> None:
        """Read the board."""
        with contextlib.suppress(RayError):  # it is being restarted: no news
            news = ray.get(self._board.take.remote(), timeout=10)
            for seat in self._busy():
                seat.begun = seat.begun or any(run == seat.run.run_id for run, _ in news if seat.run)
            self._progress.update(news)

    def _settle(self, seat: Seat) -> None:
        """A slot has become ready, or its run has ended."""
        run, future = seat.run, seat.future
        seat.run, seat.future, seat.since = None, None, time.monotonic()
        try:
            failure: Failure | None = ray.get(future)
        except RayError as error:
            failure = explain(error)
        if run is not None:
            self._claims.release(run.run_id)
        if failure is not None:
            # Whatever it was, the next run gets a fresh process. And a slot that can't be reached mustn't go on.
            ray.kill(seat.slot)
            self._seats.remove(seat)
            self._fail(run, failure)
        elif run is not None:
            self._trained.append(run)
            self._progress.done(run)
        else:
            self._failed_starts.clear()

    def _end_stalled(self) -> None:
        """End the slots of runs that stand still, where that is wanted, and try the runs again."""
        minutes = self._config.stall_minutes
        for seat in self._busy() if minutes else ():
            run = seat.run
            assert run is not None
            assert minutes
            if self._progress.silence(run.run_id) < 60 * minutes:
                continue
            ray.kill(seat.slot)
            self._seats.remove(seat)
            self._claims.release(run.run_id)
            self._fail(run, Failure(Kind.MACHINE, f"no sign of life for {minutes:g} minutes (stall_minutes)", ""))

    def _fail(self, run: PlannedRun | None, failure: Failure) -> None:
        """Try the run again or record that it has failed; a slot that died before it had one is replaced."""
        if run is None:
            self._failed_starts.append(time.monotonic())
            times = len(self._failed_starts)
            if times >= START_ATTEMPTS and self._failed_starts[-1] - self._failed_starts[0] > START_SECONDS:
                raise OSError(f"{times} slots in a row ended before they were ready: {failure.reason}")
            return
        if failure.kind is Kind.CODE:
            raise ConfigError(failure.reason.removeprefix("CodeChangedError: "))
        if failure.kind is Kind.STORE:
            raise StorageError(failure.reason.removeprefix("StorageError: "))
        self._attempts[run] = self._attempts.get(run, 0) + (failure.kind is Kind.MACHINE)
        if failure.kind is Kind.RUN or self._attempts[run] > self._config.max_retries:
            self._failed[run] = failure.reason
            self._store.record_failure(run.run_id, failure.reason, failure.traceback)
            self._progress.failed(run, failure.reason)
            return
        self._faults += 1
        tries = f"{self._attempts[run]} of {self._config.max_retries}" if failure.kind is Kind.MACHINE else "preempted"
        self._progress.again(run, f"{failure.reason} (retry {tries})")
        self._waiting.insert(0, run)

    def _tell(self) -> None:
        """Let others see how it goes, and the user why it doesn't."""
        self._claims.status = self._progress.status()
        now = time.monotonic()
        if any(seat.begun for seat in self._busy()):
            self._moved = now
        if now - self._moved > PATIENCE_SECONDS:
            self._moved = now
            reason = (
                f"{len(self._held)} runs are being trained by another driver"
                if self._held and not self._free()
                else f"Ray has room for {self._room} workers of {self._worker} when nothing else runs on it"
            )
            self._progress.note(f"still waiting: {reason}; Ctrl-C ends this, and the same command goes on")
