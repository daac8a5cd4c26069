"""A study's progress in the terminal: a line for each run that ends, and a live table of the running ones."""

import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from metaseg.engine.follower import Follower
from metaseg.study.plan import PlannedRun, Study
from metaseg.training.history import Epoch

HEARTBEAT_SECONDS = 15.0
"""Time between status lines if there is no live table, because output goes to a file or a job's log."""

QUIET_SECONDS = 60.0
"""A run that has been quiet for less than this isn't called silent, however short its epochs are."""
QUIET_BEFORE_EPOCHS_SECONDS = 300.0
"""The same as long as no run has finished an epoch."""
MOST_POINTS = 100
"""Most points of a running run's curve in the driver's status, which is written every few seconds."""

QUIET_EPOCHS = 5
"""A run that has been quiet for the time of this many epochs, the longest so far, is called silent."""


def clock(seconds: float) -> str:
    """Format a duration as `m:ss` or `h:mm:ss`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class StudyProgress:
    """Shows the runs of `missing` as they start, train and end. Use as a context manager.

    The time left is estimated from samples trained, since a run on a part of the data has fewer than a whole run.
    """

    def __init__(
        self, study: Study, missing: Sequence[PlannedRun], console: Console, followers: Sequence[Follower] = ()
    ) -> None:
        self._study, self._followers = study.name, followers
        self._sample_counts = {run.run_id: study.sample_count(run) for run in missing}
        self._console = console
        self._runs = {run.run_id: run for run in missing}
        self._running: dict[str, float] = {}
        self._epochs: dict[str, Epoch] = {}
        self._curves: dict[str, dict[int, float | None]] = {}
        """Validation F1 of each run by epoch, as far as this command has heard of it."""
        self._heard: dict[str, float] = {}
        """Time of each running run's start or last news."""
        self._longest: dict[str, float] = {}
        """Seconds of each run's longest epoch, evaluation included."""
        self._called: set[str] = set()
        """Runs whose present silence has been reported to the user."""
        self._best_f1: dict[str, float] = {}
        self._done = self._failed = self._faults = 0
        self._spared = 0
        """Samples that early stopping has left out."""
        self._began: float | None = None
        self._heartbeat = time.monotonic()
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=2, transient=True)

    def __enter__(self) -> "StudyProgress":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def started(self, run: PlannedRun) -> None:
        """Show that a slot has taken the run."""
        self._began = self._began or time.monotonic()
        self._running[run.run_id] = self._heard[run.run_id] = time.monotonic()
        self._called.discard(run.run_id)
        for follower in self._followers:
            follower.started(run)

    def silence(self, run: str) -> float:
        """Seconds since a running run has begun or sent news."""
        return time.monotonic() - self._heard[run]

    def is_silent(self, run: str) -> bool:
        """Return True if a run has sent no news for several epochs' time: its own, or others' before its first."""
        longest = self._longest.get(run) or max(self._longest.values(), default=0.0)
        return self.silence(run) > max(
            QUIET_SECONDS if longest else QUIET_BEFORE_EPOCHS_SECONDS, QUIET_EPOCHS * longest
        )

    def update(self, news: Iterable[tuple[str, Epoch | str | None]]) -> None:
        """Take in news since the last update, oldest first: run ids, each with an epoch, a warning, or None."""
        for run, message in news:
            if isinstance(message, str):
                self.note(f"{self._runs[run].label}: {message}")
            if run in self._heard:
                if isinstance(message, Epoch):
                    self._longest[run] = max(self._longest.get(run, 0.0), self.silence(run))
                self._heard[run] = time.monotonic()
                self._called.discard(run)
            if not isinstance(message, Epoch):
                continue
            self._epochs[run] = message
            self._curves.setdefault(run, {})[message.epoch] = message.val_f1
            for follower in self._followers:
                follower.epoch(self._runs[run], message)
            if message.val_f1 is not None:
                self._best_f1[run] = max(message.val_f1, self._best_f1.get(run, 0.0))
        for run in self._running:
            if run not in self._called and self.is_silent(run):
                self._called.add(run)
                self.note(f"{self._runs[run].label}: {self._silence_told(run)}; its process or machine may stand still")
        if not self._console.is_terminal and time.monotonic() - self._heartbeat > HEARTBEAT_SECONDS:
            self._heartbeat = time.monotonic()
            states = [f"{self._runs[run].label}: {', '.join(self._cells(run))}" for run in self._running]
            self._console.print(f"  {self._summary()} | {' | '.join(states)}", soft_wrap=True, highlight=False)

    def done(self, run: PlannedRun) -> None:
        """Show that the run is in the store."""
        self._done += 1
        notes = [f"best val F1 {self._best_f1[run.run_id]:.3f}"] if run.run_id in self._best_f1 else []
        newest, epochs = self._epochs.get(run.run_id), run.config.schedule.epochs
        if run.config.early_stopping and newest and newest.epoch < epochs:
            self._spared += self._sample_counts[run.run_id] * (epochs - newest.epoch)
            notes = [f"epoch {newest.epoch}/{epochs}, stopped early", *notes]
        self._end(run, Text("done  ", style="green"), ", ".join(notes))
        for follower in self._followers:
            follower.done(run)

    def done_elsewhere(self, run: PlannedRun) -> None:
        """Show that another driver has put the run into the store."""
        self._done += 1
        self._end(run, Text("done  ", style="green"), "by another driver")
        for follower in self._followers:
            follower.done(run)

    def failed(self, run: PlannedRun, reason: str) -> None:
        """Show that the run ended with an error."""
        self._failed += 1
        self._end(run, Text("FAILED", style="bold red"), reason)
        for follower in self._followers:
            follower.failed(run)

    def again(self, run: PlannedRun, reason: str) -> None:
        """Show that the run ended with an error and will be retried."""
        self._faults += 1
        self._running.pop(run.run_id)
        self._epochs.pop(run.run_id, None)
        self.note(f"{run.label} again: {reason}")

    def note(self, message: str) -> None:
        """Print a note about something that isn't as it should be."""
        self._console.print(Text.assemble(("note  ", "yellow"), f" {message}"), soft_wrap=True, highlight=False)

    def status(self) -> dict[str, Any]:
        """This driver's status, for `metaseg status`."""
        running = [
            {
                "run_id": run,
                "label": self._runs[run].label,
                "state": ", ".join(self._cells(run)),
                "curve": self._curve(run),
            }
            for run in self._running
        ]
        return {
            "study": self._study,
            "runs": len(self._runs),
            "done": self._done,
            "failed": self._failed,
            "retries": self._faults,
            "running": running,
            "time_left": self._time_left(),
        }

    def _curve(self, run: str) -> list[tuple[int, float]]:
        """Validated epochs and their F1, thinned out evenly to `MOST_POINTS`."""
        points = [(epoch, round(f1, 4)) for epoch, f1 in sorted(self._curves.get(run, {}).items()) if f1 is not None]
        step = -(-len(points) // MOST_POINTS) or 1
        return points[::-step][::-1]

    def _end(self, run: PlannedRun, status: Text, note: str) -> None:
        began = self._running.pop(run.run_id, None)
        seconds = "" if began is None else clock(time.monotonic() - began)
        line = Text.assemble(status, f" {run.label:<24} {run.run_id}  {seconds:>6}  {note}")
        self._console.print(
            Text.assemble(line, f"  ({self._done + self._failed}/{len(self._runs)})"), soft_wrap=True, highlight=False
        )

    def _silence_told(self, run: str) -> str:
        minutes = int(self.silence(run) // 60)
        return f"no sign of life for {minutes} minute{'s' if minutes != 1 else ''}"

    def _cells(self, run: str) -> list[str]:
        return [*self._epoch_cells(run), *([self._silence_told(run)] if self.is_silent(run) else [])]

    def _epoch_cells(self, run: str) -> list[str]:
        epochs = self._runs[run].config.schedule.epochs
        if run not in self._epochs:
            return [f"epoch 0/{epochs}"]
        newest = self._epochs[run]
        cells = [f"epoch {newest.epoch}/{epochs}", f"loss {newest.train_loss:.3f}"]
        if run in self._best_f1:
            cells.append(f"best val F1 {self._best_f1[run]:.3f}")
        return [*cells, f"{newest.images_per_second:.0f} images/s"]

    def _time_left(self) -> str:
        """Time left at this command's mean speed so far in samples per second, if no run ends early."""
        planned = sum(self._sample_counts[run_id] * run.config.schedule.epochs for run_id, run in self._runs.items())
        finished = sum(self._sample_counts[run_id] * epoch.epoch for run_id, epoch in self._epochs.items())
        if self._began is None or not finished:
            return "?"
        return clock((time.monotonic() - self._began) / finished * (planned - self._spared - finished))

    def _summary(self) -> str:
        waiting = len(self._runs) - self._done - self._failed - len(self._running)
        failed = f"{self._failed} failed, " if self._failed else ""
        return (
            f"{self._done} done, {failed}{len(self._running)} running, {waiting} waiting, time left {self._time_left()}"
        )

    def _render(self) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        for run in self._running:
            table.add_row(self._runs[run].label, *self._cells(run))
        return Group(table, Text(self._summary(), style="bold"))
