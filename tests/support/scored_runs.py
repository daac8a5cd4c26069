"""Runs whose scores are drawn instead of trained: takes the place of `metaseg.engine.run_study`."""

import io
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from fake_store import history, image_rows
from metaseg.engine.outcome import Outcome
from metaseg.store.runs import Store
from metaseg.study.plan import PlannedRun, Study

IMAGES = 24


def scores(run: PlannedRun, gains: dict[str, float]) -> np.ndarray:
    """F1 of each image: the same for the same run, whenever it is trained."""
    rng = np.random.default_rng([len(run.arm.name), run.config.seed])
    images = np.random.default_rng(0).uniform(0.6, 0.8, IMAGES)
    return images + gains.get(run.arm.name, 0.0) + rng.normal(0, 0.006) + rng.normal(0, 0.01, IMAGES)


@dataclass
class Trainer:
    """Finishes a study's missing runs, one after the other."""

    gains: dict[str, float] = field(default_factory=dict)
    before: Callable[[PlannedRun], None] = lambda run: None
    """Called before each; may raise."""
    failing: frozenset[tuple[str, int]] = frozenset()
    """Arm and seed of runs that fail."""
    times: Counter[str] = field(default_factory=Counter)
    """Number of times that each was finished, by label."""

    def __call__(self, study: Study, store: Store) -> Outcome:
        trained, failed = [], {}
        for run in study.missing(store):
            self.before(run)
            if (run.arm.name, run.config.seed) in self.failing:
                failed[run] = "it was told to"
                continue
            store.commit_run(run.run_id, files(run, scores(run, self.gains)))
            self.times[run.label] += 1
            trained.append(run)
        return Outcome(tuple(trained), failed, 0)


def files(run: PlannedRun, f1: np.ndarray) -> dict[str, bytes]:
    """Those of a run's files that results are made of."""
    config = {
        "run_id": run.run_id,
        "arm": {"block": str(run.arm.block_name), "metadata_mode": run.arm.metadata_mode},
        "seed": run.config.seed,
        "dataset": {"name": "fake", "fingerprint": run.config.dataset, "subgroup_column": "line"},
        "parameters": 1234,
    }
    found = {"config.json": json.dumps(config).encode()}
    for name, rows in (("images.parquet", image_rows(f1)), ("history.parquet", history())):
        table = io.BytesIO()
        rows.to_parquet(table, index=False)
        found[name] = table.getvalue()
    return found
