"""Training time until a validation F1: of the shortest schedule, among several, that ends with it."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.training.rounds import Spread
from benchmarks.training.trainers import make_trainers
from benchmarks.training.work import Work

LENGTHS = (3, 6, 12)
"""Epochs of the schedules."""
TARGET = 0.85
"""Mean F1 over validation images."""


def time_to_f1(
    work: Work, names: list[str], lengths: Sequence[int], seeds: int, target: float, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """A row a trainer: for each seed, the seconds of the shortest training whose F1 at its end is at least `target`.

    A schedule that is made for many epochs learns slowly at first, so each length is a training of its own, with a
    schedule of that length, from nothing. A seed's longer trainings are left out once a shorter one has reached the
    target. `seconds` are of training; `seconds_in_all` add reading and building, compiling, choosing arithmetic, the
    trainer's own validation, and the last score. Both are None where any seed hasn't reached the target.
    """
    rows: list[dict[str, Any]] = []

    def missing(name: str, reason: str) -> None:
        if all(row["name"] != name for row in rows):
            rows.append({"name": name, "not_measured": reason})

    trained: dict[str, dict[int, list[dict[str, Any]]]] = {}
    for seed in range(seeds):
        for name in names:
            runs = []
            for epochs in sorted(lengths):
                run = _train(work, name, seed, epochs, missing)
                if run is None:
                    break
                say(f"{name}, seed {seed}, {epochs} epochs: F1 {run['f1']:.3f} in {run['seconds']:.1f} s of training")
                runs.append(run)
                if run["f1"] >= target:
                    break
            if runs:
                trained.setdefault(name, {})[seed] = runs
    return [_row(name, list(by_seed.values()), target) for name, by_seed in trained.items()] + rows


def _train(work: Work, name: str, seed: int, epochs: int, missing: Callable[[str, str], None]) -> dict[str, Any] | None:
    """One training from nothing; None where the trainer can't take part."""
    begun = time.perf_counter()
    for trainer in make_trainers([name], work, seed, epochs, missing).values():
        try:
            laps = [trainer.lap() for _ in range(epochs)]
            f1 = trainer.score()
        finally:
            trainer.close()
        return {
            "epochs": epochs, "f1": f1, "seconds": sum(lap.seconds for lap in laps),
            "validation": sum(lap.validation for lap in laps), "seconds_in_all": time.perf_counter() - begun,
            "about": trainer.about,
        }  # fmt: skip
    return None


def _row(name: str, by_seed: list[list[dict[str, Any]]], target: float) -> dict[str, Any]:
    reached = [runs[-1] for runs in by_seed if runs[-1]["f1"] >= target]
    row: dict[str, Any] = {
        "name": name, "target": target, "reached": f"{len(reached)} of {len(by_seed)}",
        "epochs": None, "seconds": None, "seconds_in_all": None, "validation": None,
        "best_f1": max(run["f1"] for runs in by_seed for run in runs), "about": by_seed[0][0]["about"],
        "trainings": by_seed,
    }  # fmt: skip
    if len(reached) == len(by_seed):
        row["epochs"] = ", ".join(str(run["epochs"]) for run in reached)
        for what in ("seconds", "seconds_in_all", "validation"):
            row[what] = vars(Spread.of([run[what] for run in reached]))
    return row
