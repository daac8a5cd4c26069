"""The contract of a tracker, and what it is told. `tests/metaseg/tracking/test_contract.py` holds every one to it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

Value = str | int | float | bool
"""A setting, as trackers' tables show it."""

Ending = Literal["finished", "failed", "stopped"]
"""End of a run; a run that was stopped goes on when its study does."""

Values = Mapping[str, float]
"""Values of an epoch by name: `train_loss`, `val_f1` where it was validated, `learning_rate`, `images_per_second`,
`seconds`."""


@dataclass(frozen=True)
class TrackedRun:
    """A run, or a sweep's trial, as trackers show it."""

    study: str
    """Name of its study or sweep."""
    run_id: str
    label: str
    """Its name in messages: "sme seed 0 fold 1"."""
    arm: str
    seed: int
    fold: str = ""
    """Its fold; empty where there is one split."""
    part: str = ""
    """The part of the data that its network is of, where its arm is several networks; else empty."""
    settings: Mapping[str, Value] = field(default_factory=dict)
    """Settings of network and training by dotted name: `network.width`."""

    @property
    def params(self) -> dict[str, Value]:
        """Values that it is grouped and filtered by, and its settings: study, arm, seed, fold and run id first."""
        about: dict[str, Value] = {"study": self.study, "arm": self.arm, "seed": self.seed}
        some = {name: value for name, value in (("part", self.part), ("fold", self.fold)) if value}
        return {**about, **some, "run_id": self.run_id, **self.settings}


@dataclass(frozen=True)
class Kept:
    """Content of a tracker's record of a run."""

    epoch: int = 0
    """The last epoch; 0 if there is none."""
    ended: bool = False
    """True if the record was ended as that of a finished run: there is nothing to add."""


class Tracker(Protocol):
    """A tracker of one study or sweep. All methods may raise anything: `metaseg.tracking.sender` catches it.

    A record belongs to a study and a run id: `begin` continues the one that there is, whichever process made it.
    """

    live: bool
    """True if epochs are sent as they end; False if a record is written in one piece when its run is done."""

    def begin(self, run: TrackedRun) -> Kept:
        """Open or continue the record of a run."""

    def log(self, run: TrackedRun, epochs: Mapping[int, Values]) -> None:
        """Add epochs by their numbers, from 1: one as it ends, or several; in order, each once."""

    def show(self, run: TrackedRun, epoch: int, pictures: Mapping[str, bytes]) -> None:
        """Add pictures of samples: PNG files by name, drawn by the network of an epoch."""

    def end(self, run: TrackedRun, ending: Ending, summary: Values) -> None:
        """Close the record, with numbers on the run as a whole."""

    def publish(self, files: Mapping[str, bytes]) -> None:
        """Add the files of the study's report, by name, in place of those that were added before."""

    def close(self) -> None:
        """Write what is left."""

    def where(self) -> str:
        """Place of the records, and what opens them: one line."""
