"""Tracking beside a study that is trained: a thread for each tracker, which neither slows nor fails the study."""

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.text import Text

from metaseg.store.runs import FinishedRun, Store
from metaseg.study.plan import PlannedRun, Study
from metaseg.sweeps.sweep import Sweep
from metaseg.terminal import visible
from metaseg.tracking.credentials import without_credentials
from metaseg.tracking.names import TrackerName
from metaseg.tracking.open import open_trackers
from metaseg.tracking.samples import sample_pictures
from metaseg.tracking.sender import Pictures, Sender
from metaseg.tracking.sources import planned, recorded_trial, report_files, trials_of, values_of
from metaseg.tracking.tracker import Tracker
from metaseg.training.history import Epoch

FAREWELL_SECONDS = 120.0
"""Time in which trackers may send what is left when a study is done."""
INTERRUPTED_SECONDS = 5.0
"""The same when it was interrupted."""

Event = Callable[[Sender], object]
"""Something to send."""


class Recorder:
    """Sends what happens to a study's runs to trackers (`metaseg.engine.follower.Follower`). Use as a context manager.

    A tracker that fails is warned of once and left alone afterwards; `metaseg track` can send the rest.
    """

    def __init__(self, names: Sequence[TrackerName], store: Store, about: Study | Sweep, console: Console) -> None:
        self._store, self._about, self._study, self._console = store, about, about.name, console
        self._drawn = Drawings(self._draw)
        trackers = open_trackers(names, store, about.name)
        self._feeds = [Feed(name, tracker, self) for name, tracker in trackers.items()]

    def __enter__(self) -> "Recorder":
        for feed in self._feeds:
            self.note(f"{feed.name}: {feed.sender.where}", "dim")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        deadline = time.monotonic() + (FAREWELL_SECONDS if kind is None else INTERRUPTED_SECONDS)
        for feed in self._feeds:
            feed.close()
        for feed in self._feeds:
            feed.join(max(0.0, deadline - time.monotonic()))

    @property
    def store(self) -> Store:
        """The store of the runs."""
        return self._store

    @property
    def pictures(self) -> Pictures:
        """Draws samples of a run, once for all trackers."""
        return self._drawn

    @property
    def again(self) -> str:
        """Advice: the command that sends what a tracker lacks."""
        return f"metaseg track {self._store.where} --study {self._study} --to"

    def note(self, line: str, style: str = "") -> None:
        """Print a line."""
        self._console.print(Text(visible(line), style), soft_wrap=True)

    def started(self, run: PlannedRun) -> None:
        """See `Follower`."""
        tracked = planned(self._study, run)
        self._tell(lambda sender: sender.started(tracked))

    def epoch(self, run: PlannedRun, epoch: Epoch) -> None:
        """See `Follower`."""
        tracked = planned(self._study, run)
        self._tell(lambda sender: sender.epoch(tracked, epoch.epoch, values_of(epoch)))

    def done(self, run: PlannedRun) -> None:
        """See `Follower`."""
        tracked = planned(self._study, run)
        self._tell(lambda sender: sender.done(tracked))

    def failed(self, run: PlannedRun) -> None:
        """See `Follower`."""
        tracked = planned(self._study, run)
        self._tell(lambda sender: sender.failed(tracked))

    def trial(self, row: Mapping[str, Any]) -> None:
        """Send a sweep's trial that has ended: a row of the sweep's table (`metaseg.sweeps.table`)."""
        assert isinstance(self._about, Sweep)
        tracked, curve, ending = recorded_trial(row, self._about.search.tuning_seed)
        self._tell(lambda sender: sender.trial(tracked, curve, ending))

    def finish(self, runs: Sequence[PlannedRun] = ()) -> None:
        """Send the report, and what was done before, as far as trackers lack it: runs, or all trials of a sweep."""
        if isinstance(self._about, Sweep):
            for row in trials_of(self._store, self._study):
                self.trial(row)
        done = self._store.done() if runs else set()
        for run in runs:
            if run.run_id in done:
                self.done(run)
        files = report_files(self._store.storage, self._study, isinstance(self._about, Sweep))
        self._tell(lambda sender: sender.publish(files))

    def _tell(self, event: Event) -> None:
        for feed in self._feeds:
            feed.put(event)

    def _draw(self, finished: FinishedRun) -> Mapping[str, bytes]:
        run_id = finished.folder.rpartition("/")[2]
        if isinstance(self._about, Sweep):  # trials keep no weights
            return {}
        run = next((run for run in self._about.runs if run.run_id == run_id), None)
        return sample_pictures(self._about.dataset_of(run), finished, self._about.own_code) if run else {}


class Drawings:
    """Pictures of finished runs, each drawn once, whichever tracker asks first; one that can't be drawn is left out."""

    def __init__(self, draw: Pictures) -> None:
        self._draw, self._lock = draw, threading.Lock()
        self._drawn: dict[str, Mapping[str, bytes]] = {}

    def __call__(self, finished: FinishedRun) -> Mapping[str, bytes]:
        """PNG files by name."""
        with self._lock:
            if finished.folder not in self._drawn:
                try:
                    self._drawn[finished.folder] = self._draw(finished)
                except Exception:  # pictures are an extra: whatever is wrong with one, curves are sent
                    self._drawn[finished.folder] = {}
            return self._drawn[finished.folder]


class Feed:
    """A tracker and the thread that feeds it."""

    def __init__(self, name: TrackerName, tracker: Tracker, recorder: Recorder) -> None:
        self.name = name
        self.sender = Sender(tracker, recorder.store, recorder.pictures)
        self._recorder = recorder
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._broken = False
        self._thread = threading.Thread(target=self._run, name=f"tracking-{name}", daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        """Give the tracker something to send; returns at once."""
        if not self._broken:
            self._events.put(event)

    def close(self) -> None:
        """Let it send what is left and end."""
        self._events.put(None)

    def join(self, seconds: float) -> None:
        """Wait until it has ended, and warn if it hasn't in time."""
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._warn("it hasn't taken everything in time")

    def _run(self) -> None:
        while (event := self._events.get()) is not None:
            self._send(event)
        self._send(Sender.close)

    def _send(self, event: Event) -> None:
        if self._broken:
            return
        try:
            event(self.sender)
        except Exception as error:  # of a tracker: anything
            self._broken = True
            reason = (str(error).strip().splitlines() or [""])[0]
            self._warn(f"{type(error).__name__}: {without_credentials(reason)}")

    def _warn(self, reason: str) -> None:
        self._recorder.note(
            f"warning: tracker {self.name} is left alone from now on: {reason:.300} (training isn't affected; "
            f"{self._recorder.again} {self.name} sends what it lacks)",
            "yellow",
        )
