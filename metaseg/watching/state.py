"""State of a study for the page: its runs and their curves, as the store has them now. Nothing is written."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from metaseg.cli.status import StudyStatus, study_statuses
from metaseg.schema import HISTORY, VAL_F1, study_file
from metaseg.store.runs import DamagedRunError, Store, from_json
from metaseg.watching.findings import Finding, Findings

Curve = tuple[tuple[int, float], ...]
"""Validated epochs and their F1."""

State = Literal["done", "running", "failed", "waiting"]


@dataclass(frozen=True)
class RunView:
    """A run as the page shows it."""

    arm: str
    part: str
    """The part of the data that its network is of, where its arm is several networks; else empty."""
    state: State
    curve: Curve
    """Its validations so far; of a run that was interrupted, those of its last checkpoint."""


@dataclass(frozen=True)
class StudyView:
    """A study as the page shows it."""

    status: StudyStatus
    about: str
    """One sentence on its images, which says SIMULATED where they are; empty if it has none."""
    baseline: str
    arms: tuple[str, ...]
    runs: tuple[RunView, ...]
    finding: Finding

    def count(self, state: State) -> int:
        """Number of runs in a state."""
        return sum(run.state == state for run in self.runs)


@dataclass
class Watched:
    """Reads a store again and again; what can't change any more is read once."""

    store: Store
    unreadable: list[str] = field(default_factory=list)
    """Paths of files that couldn't be read at the last look."""
    _finished: dict[str, Curve] = field(default_factory=dict)
    _checkpoints: dict[tuple[str, str], Curve] = field(default_factory=dict)
    """Curves by run and checkpoint."""
    _findings: "Findings | None" = None

    def statuses(self) -> list[StudyStatus]:
        """The state of each study."""
        self.unreadable = []
        return list(study_statuses(self.store, self.unreadable))

    def view(self, status: StudyStatus) -> StudyView:
        """A study with its curves and findings."""
        record = from_json(self.store.storage.read_foreign(study_file(status.name))) or {}
        done, failed = self.store.done(), self.store.failed()
        live = {str(run.get("run_id")): run for driver in status.drivers for run in driver["status"].get("running", ())}
        entries = [run for run in record.get("runs", ()) if isinstance(run, dict)]
        runs = tuple(self._run(entry, done, failed, live) for entry in entries)
        self._findings = self._findings or Findings(self.store)
        arms = tuple(dict.fromkeys(run.arm for run in runs))
        finding = self._findings.of(status, frozenset(str(entry.get("run_id")) for entry in entries) & done)
        about, baseline = str(record.get("about") or ""), str(record.get("baseline") or "")
        return StudyView(status, about, baseline, arms, runs, finding)

    def _run(self, entry: Mapping[str, Any], done: set[str], failed: set[str], live: Mapping[str, Any]) -> RunView:
        run_id, of = str(entry.get("run_id")), (str(entry.get("arm")), str(entry.get("part") or ""))
        if run_id in done:
            return RunView(*of, "done", self._of_finished(run_id))
        if run_id in live:
            told = _curve(live[run_id].get("curve"))
            return RunView(*of, "running", _joined(self._of_checkpoint(run_id), told))
        return RunView(*of, "failed" if run_id in failed else "waiting", self._of_checkpoint(run_id))

    def _of_finished(self, run_id: str) -> Curve:
        if run_id not in self._finished:
            try:
                rows = self.store.open_run(run_id).table(HISTORY, (), ("epoch", VAL_F1))
            except (DamagedRunError, OSError) as error:
                self.unreadable.append(str(error))
                return ()
            rows = rows[rows[VAL_F1].notna()]
            self._finished[run_id] = _curve(list(zip(rows["epoch"].tolist(), rows[VAL_F1].tolist(), strict=True)))
        return self._finished[run_id]

    def _of_checkpoint(self, run_id: str) -> Curve:
        """The curve in a run's newest readable checkpoint; PyTorch is imported only where there is one."""
        for where, content in self.store.checkpoints(run_id):
            if (run_id, where) in self._checkpoints:
                return self._checkpoints[run_id, where]
            from metaseg.training.checkpoint import unpack

            try:
                history = unpack(content)[0].history
            except ValueError:  # half written; an older one may be whole
                continue
            curve = tuple((epoch.epoch, epoch.val_f1) for epoch in history if epoch.val_f1 is not None)
            self._checkpoints = {key: known for key, known in self._checkpoints.items() if key[0] != run_id}
            self._checkpoints[run_id, where] = curve
            return curve
        return ()


def _curve(value: object) -> Curve:
    """Pairs of numbers that others have written; those that aren't are left out."""
    pairs = value if isinstance(value, list) else []
    numbers = [pair for pair in pairs if isinstance(pair, list | tuple) and len(pair) == 2]
    return tuple(
        (int(epoch), float(f1))
        for epoch, f1 in numbers
        if type(epoch) in (int, float) and type(f1) in (int, float) and 0 <= epoch < 1e9 and 0 <= f1 <= 1
    )


def _joined(before: Curve, now: Curve) -> Curve:
    """A run's curve from its checkpoint, and what its driver has heard since."""
    return tuple(sorted({**dict(before), **dict(now)}.items()))
