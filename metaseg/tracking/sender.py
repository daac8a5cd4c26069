"""Sends what happens to a study's runs to one tracker: each epoch once, in order, whatever was sent before."""

from collections.abc import Callable, Mapping
from functools import cached_property

from metaseg.store.runs import FinishedRun, Store
from metaseg.tracking.sources import checkpointed, history_of, summary_of
from metaseg.tracking.tracker import Ending, Kept, TrackedRun, Tracker, Values

Pictures = Callable[[FinishedRun], Mapping[str, bytes]]
"""Draws samples of a finished run: PNG files by name."""


class Sender:
    """One tracker's view of a study. Its methods raise whatever the tracker does."""

    def __init__(self, tracker: Tracker, store: Store, pictures: Pictures) -> None:
        self._tracker, self._store, self._pictures = tracker, store, pictures
        self._last: dict[str, int] = {}
        """The last epoch that is in the record of each open run."""
        self._open: dict[str, TrackedRun] = {}

    @cached_property
    def where(self) -> str:
        """Place of the records, and what opens them."""
        return self._tracker.where()

    def started(self, run: TrackedRun) -> None:
        """Take note of a run that begins, or begins again after a fault."""
        if run.run_id not in self._open and self._tracker.live:
            self._begin(run)

    def epoch(self, run: TrackedRun, number: int, values: Values) -> None:
        """Send an epoch, and before it those that a resumed run had before; hold it back if they aren't known."""
        if not self._tracker.live:
            return
        if run.run_id not in self._open:
            self._begin(run)
        if number > self._last[run.run_id] + 1:
            self._send(run, checkpointed(self._store, run.run_id), below=number)
        if number == self._last[run.run_id] + 1:
            self._send(run, {number: values})

    def done(self, run: TrackedRun, finished: FinishedRun | None = None) -> bool:
        """Complete the record of a finished run from its files; returns False if there was nothing to add."""
        finished = finished or self._store.find_trained(run.run_id)
        if finished is None:
            return False
        kept = Kept() if run.run_id in self._open else self._begin(run)
        if kept.ended:
            self._open.pop(run.run_id)
            return False
        summary = summary_of(finished)
        self._send(run, history_of(finished))
        self._tracker.show(run, int(summary.get("best_epoch", self._last[run.run_id])), self._pictures(finished))
        self._end(run, "finished", summary)
        return True

    def trial(self, run: TrackedRun, curve: Mapping[int, Values], ending: Ending) -> bool:
        """Send a sweep's trial that has ended: from its files, or its curve alone if it left none (pruned, failed)."""
        if ending == "finished":
            return self.done(run)
        kept = self._begin(run)
        if kept.ended:
            self._open.pop(run.run_id)
            return False
        self._send(run, curve)
        self._end(run, ending, {})  # also of a record that has all epochs: it was opened, and would seem to run on
        return kept.epoch < max(curve, default=1)

    def failed(self, run: TrackedRun) -> None:
        """Note that a run has failed."""
        if run.run_id in self._open:
            self._end(run, "failed", {})

    def publish(self, files: Mapping[str, bytes]) -> None:
        """Send the files of the study's report."""
        if files:
            self._tracker.publish(files)

    def close(self) -> None:
        """End the records of runs that are open still: their training has stopped."""
        for run in list(self._open.values()):
            self._end(run, "stopped", {})
        self._tracker.close()

    def _begin(self, run: TrackedRun) -> Kept:
        kept = self._tracker.begin(run)
        self._open[run.run_id], self._last[run.run_id] = run, kept.epoch
        return kept

    def _send(self, run: TrackedRun, epochs: Mapping[int, Values], below: float = float("inf")) -> None:
        new = {number: epochs[number] for number in sorted(epochs) if self._last[run.run_id] < number < below}
        if new:
            self._tracker.log(run, new)
            self._last[run.run_id] = max(new)

    def _end(self, run: TrackedRun, ending: Ending, summary: Values) -> None:
        self._tracker.end(run, ending, summary)
        del self._open[run.run_id]
