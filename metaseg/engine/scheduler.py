"""The scheduler: gives a study's missing runs to slots, as many at once as Ray has room for, until none is left."""

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from metaseg.config import ConfigError, EngineConfig
from metaseg.engine.board import Board
from metaseg.engine.failure import Failure, Kind, explain
from metaseg.engine.outcome import Outcome
from metaseg.engine.progress import StudyProgress
from metaseg.engine.room import Worker, can_grow, count, free_orphans, left_beside
from metaseg.engine.seat import Seat
from metaseg.engine.worker import Execute, Job, Slot
from metaseg.store.claims import Claimant
from metaseg.store.runs import Store
from metaseg.store.storage import StorageError
from metaseg.study.execution import work
from metaseg.study.plan import PlannedRun
from metaseg.training import TRAINING_VERSION

remote: Any = ray.remote
"""Untyped, since Ray's stubs lack some of its options."""

POLL_SECONDS = 0.5

LOOK_AGAIN_SECONDS = 5.0
"""Time between attempts to claim a run that another driver has; idle slots are closed after the same time."""

PATIENCE_SECONDS = 60.0
"""Time without room for any run after which the user is told, and between two such messages."""

PENDING = 4
"""Number of slots that may wait for room, so that nodes that join are used at once."""
PENDING_WITH_AUTOSCALER = 64
"""The same where nodes can be added: waiting slots tell the autoscaler how much is wanted."""

START_ATTEMPTS = 5
"""Number of slots in a row that may die before they are ready."""
START_SECONDS = 60.0
"""Time for which they may do so, whatever their number: a node that is lost takes several slots at once."""


class Scheduler:
    """The state of a study that is being trained. `run` trains it, `close` ends whatever of it is left in Ray."""

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
        """Ids of waiting runs that other drivers held at the last look."""
        self._attempts: dict[PlannedRun, int] = {}
        self._seats: list[Seat] = []
        self._failed_starts: list[float] = []
        self._trained: list[PlannedRun] = []
        self._failed: dict[PlannedRun, str] = {}
        self._faults = 0
        self._room = count(worker)
        self._looked = self._moved = time.monotonic()
        # On the driver's node, since it is only of use as long as the driver lives.
        self._here: Any = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._board: Any = remote(num_cpus=0, max_restarts=-1, scheduling_strategy=self._here)(Board).remote()

    def run(self) -> Outcome:
        """Train until every run has failed or is done, whoever trained it."""
        while self._waiting or self._busy():
            self._look_around()
            self._hand_out()
            self._open_slots()
            self._close_unused_slots()
            ended = self._ended()
            self._hear()  # first, since a run's last news belong in the line that reports its end
            for seat in ended:
                self._settle(seat)
            self._end_stalled()
            self._tell()
        return Outcome(tuple(self._trained), self._failed, self._faults)

    def close(self) -> None:
        """End the slots and release the claims of running runs, so that other drivers may train them."""
        for seat in self._seats:
            ray.kill(seat.slot)
            if seat.run:
                with contextlib.suppress(StorageError):
                    self._claims.release(seat.run.run_id)
        ray.kill(self._board)

    def _workers(self, run: PlannedRun) -> tuple[int, ...]:
        return run.workers_of(self._config)

    def _free(self) -> list[PlannedRun]:
        """Waiting runs that no other driver is known to hold."""
        return [run for run in self._waiting if run.run_id not in self._held]

    def _busy(self) -> list[Seat]:
        return [seat for seat in self._seats if seat.run]

    def _look_around(self) -> None:
        """Check now and then whether the cluster has changed, and whether other drivers have ended runs or died."""
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
        """Number of further slots of a shape that may be started now; `unoccupied` slots of it have no run yet."""
        most = self._config.max_concurrent
        allowed = PENDING_WITH_AUTOSCALER if most is None else most - len(self._seats)
        large = [seat for seat in self._seats if seat.workers[-1] > 1]
        pending = [seat.workers[0] for seat in large if not seat.begun]
        if shape[-1] > 1:
            # One may wait for room, since an autoscaler acts on that. More would be processes for nothing.
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
        """Give back room that no run here can use now: another driver may need it, or an autoscaler may remove it."""
        shapes = {self._workers(run) for run in self._free()}
        large = any(shape[-1] > 1 for shape in shapes)
        for seat in [seat for seat in self._seats if not seat.run]:
            unused = seat.workers not in shapes or (large and seat.workers[-1] == 1)
            if unused and (not shapes or time.monotonic() - seat.since > LOOK_AGAIN_SECONDS):
                ray.kill(seat.slot)
                self._seats.remove(seat)

    def _ended(self) -> list[Seat]:
        """Slots that have become ready or whose runs have ended; waits a moment for the first."""
        by_future = {seat.future: seat for seat in self._seats if seat.future is not None}
        if not by_future:
            time.sleep(POLL_SECONDS)
            return []
        ray.wait(list(by_future), timeout=POLL_SECONDS)
        ended, _ = ray.wait(list(by_future), num_returns=len(by_future), timeout=0)
        return [by_future[future] for future in ended]

    def _hear(self) -> None:
        """Read the news on the board."""
        with contextlib.suppress(RayError):  # it is being restarted: no news
            news = ray.get(self._board.take.remote(), timeout=10)
            for seat in self._busy():
                seat.begun = seat.begun or any(run == seat.run.run_id for run, _ in news if seat.run)
            self._progress.update(news)

    def _settle(self, seat: Seat) -> None:
        """Handle a slot that has become ready, or whose run has ended."""
        run, future = seat.run, seat.future
        seat.run, seat.future, seat.since = None, None, time.monotonic()
        try:
            failure: Failure | None = ray.get(future)
        except RayError as error:
            failure = explain(error)
        if run is not None:
            self._claims.release(run.run_id)
        if failure is not None:
            # Whatever the failure, the next run gets a fresh process, and a slot that can't be reached mustn't go on.
            ray.kill(seat.slot)
            self._seats.remove(seat)
            self._fail(run, failure)
        elif run is not None:
            self._trained.append(run)
            self._progress.done(run)
        else:
            self._failed_starts.clear()

    def _end_stalled(self) -> None:
        """If `stall_minutes` is set, end the slots of stalled runs and retry the runs."""
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
        """Retry the run or record that it has failed; a slot that died before it had a run is replaced."""
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
        """Publish the status for others, and tell the user why nothing moves, if so."""
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
