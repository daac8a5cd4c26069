"""Status of a store's sweeps, from their journals alone."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import optuna

from metaseg.config import ConfigError
from metaseg.store.runs import Store
from metaseg.sweeps.continuation import load_record, study_name
from metaseg.sweeps.journal import open_journal
from metaseg.sweeps.objectives import Constraint
from metaseg.sweeps.outcome import best_within
from metaseg.sweeps.sweep import FACTS, readable


@dataclass(frozen=True)
class SweepStatus:
    """Counts of a sweep's trials, and the best trial so far."""

    name: str
    planned: int
    counts: dict[str, int]
    """Number of trials in each state: complete, pruned, failed, running."""
    best: str
    """Validation F1, number and settings of the best complete trial that satisfies the constraints; empty before there
    is one."""


def sweep_statuses(store: Store, unreadable: list[str]) -> Iterator[SweepStatus]:
    """The status of each sweep of the store, in the order of their names.

    Args:
        store: the store.
        unreadable: a list to which folders of sweeps are added whose record or journal can't be read.
    """
    for name in store.storage.names("sweeps"):
        try:
            record = load_record(store, name)
            if record is not None:  # else its driver hasn't written it yet
                yield _status(store, name, record)
        except (ConfigError, KeyError, OSError, TypeError, ValueError):  # an incomplete record can raise any of these
            unreadable.append(store.storage.locate(f"sweeps/{name}"))


def _status(store: Store, name: str, record: dict[str, Any]) -> SweepStatus:
    study = optuna.load_study(study_name=study_name(record), storage=open_journal(store.storage, name))
    counts: Counter[str] = Counter()
    for trial in study.get_trials(deepcopy=False):
        facts = trial.user_attrs.get(FACTS, {})
        counts[facts.get("state", "failed") if trial.state.is_finished() else "running"] += 1
    found = ""
    if best := best_within([Constraint.parse(text) for text in record["constraints"]], study):
        settings = ", ".join(f"{name} {readable(value)}" for name, value in best.params.items())
        found = f"val F1 {best.user_attrs[FACTS]['values']['val_f1']:.4f} by trial {best.number}: {settings}"
    return SweepStatus(name, record["trials_planned"], dict(counts), found)
