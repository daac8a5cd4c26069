"""Sending a study or sweep that is in a store to trackers, afterwards: what `metaseg track` does."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metaseg.config import ConfigError
from metaseg.data.dataset import Dataset
from metaseg.networks.block_source import Code
from metaseg.schema import SWEEP, study_file, sweep_file
from metaseg.store.names import check_name
from metaseg.store.runs import DamagedRunError, FinishedRun, Store, from_json, require_fingerprint
from metaseg.tracking.credentials import without_credentials
from metaseg.tracking.names import TrackerName
from metaseg.tracking.open import open_trackers
from metaseg.tracking.recorder import Drawings
from metaseg.tracking.samples import sample_pictures
from metaseg.tracking.sender import Sender
from metaseg.tracking.sources import recorded, recorded_trial, report_files, trials_of

Warn = Callable[[str], None]


@dataclass(frozen=True)
class Sent:
    """The outcome of sending a study to a tracker."""

    tracker: TrackerName
    runs: int
    """Number of runs, or trials, whose records were made or completed."""
    known: int
    """Number of those whose records were complete."""
    where: str
    """Place of the records, and what opens them."""


def send(store: Store, name: str, to: Sequence[TrackerName], blocks: Sequence[Code], warn: Warn) -> Iterator[Sent]:
    """Send the finished runs of a study or sweep, and its report, to trackers; yield what was sent to each.

    Args:
        store: the store.
        name: of the study or sweep.
        to: the trackers.
        blocks: code from outside metaseg that the runs' blocks and networks may be.
        warn: called with a line for each run that can't be sent, because its files are damaged.

    Raises:
        ConfigError: no such study, or a tracker's package isn't installed.
        Exception: whatever a tracker raises.
    """
    check_name("study", name)
    record = from_json(store.storage.read_or_none(study_file(name)))
    sweep = record is None
    record = record or from_json(store.storage.read_or_none(sweep_file(name, SWEEP)))
    if record is None:
        known = [file.removesuffix(".json") for file in store.storage.names("studies")] + store.storage.names("sweeps")
        raise ConfigError(f"study is {name!r}; {store.where} has {', '.join(known) or 'none'}")
    drawings = Drawings(Drawer(store, blocks))
    for tracker, opened in open_trackers(to, store, name).items():
        sender = Sender(opened, store, drawings)
        sends = _trials(store, name, record, sender) if sweep else _runs(store, name, record, sender, warn)
        sent = list(sends)
        sender.publish(report_files(store.storage, name, sweep))
        sender.close()
        yield Sent(tracker, sum(sent), len(sent) - sum(sent), sender.where)


def _runs(store: Store, study: str, record: Mapping[str, Any], sender: Sender, warn: Warn) -> Iterator[bool]:
    runs, done = record.get("runs"), store.done()
    if not isinstance(runs, list):
        raise ConfigError(f"{store.storage.locate(study_file(study))}: not a study's record; expected a list of runs")
    for run in runs:
        if isinstance(run, dict) and run.get("run_id") in done:
            try:
                finished = store.open_run(run["run_id"])
                tracked = recorded(study, run, finished)
                yield sender.done(tracked, finished)
            except (DamagedRunError, KeyError, ValueError) as error:
                warn(f"run {run['run_id']} isn't sent: {without_credentials(str(error))}")


def _trials(store: Store, sweep: str, record: Mapping[str, Any], sender: Sender) -> Iterator[bool]:
    seed = record.get("tuning_seed")
    for row in trials_of(store, sweep):
        yield sender.trial(*recorded_trial(row, seed if isinstance(seed, int) else 0))


class Drawer:
    """Draws samples of finished runs, where the store still has their decoded images."""

    def __init__(self, store: Store, blocks: Sequence[Code]) -> None:
        self._store, self._blocks = store, blocks
        self._datasets: dict[str, Dataset | None] = {}

    def __call__(self, finished: FinishedRun) -> Mapping[str, bytes]:
        """PNG files by name; empty where the images aren't there any more."""
        about = finished.description()
        fingerprint = require_fingerprint(about["dataset"]["fingerprint"])
        if fingerprint not in self._datasets:
            folder = self._store.fetch_dataset(fingerprint)
            self._datasets[fingerprint] = Dataset.open(folder) if folder.exists() else None
        dataset = self._datasets[fingerprint]
        return {} if dataset is None else sample_pictures(dataset.of_fold(about.get("fold")), finished, self._blocks)
