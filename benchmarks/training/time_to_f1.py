"""Time to the same F1: how long each trainer must train, with a schedule as long as that, to reach it."""

from collections.abc import Callable
from typing import Any

from benchmarks.training.trainers import make_trainers
from benchmarks.training.work import Work

LENGTHS = (4, 8, 16, 32)
"""Epochs of the schedules that are tried, each to its end."""


def time_to_f1(
    work: Work, names: list[str], target: float, seeds: int, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """A row a trainer and seed.

    `seconds` are those of training, validation not included, with the shortest of the schedules that ends with at least
    `target`, None where none does; `epochs` is its length, and `f1_by_epochs` what all that were tried ended with.
    """
    rows: list[dict[str, Any]] = []

    def missing(name: str, reason: str) -> None:
        if all(row["name"] != name for row in rows):
            rows.append({"name": name, "not_measured": reason})

    for seed in range(seeds):
        for name in names:
            row: dict[str, Any] = {"name": name, "seed": seed, "target": target, "seconds": None, "epochs": None}
            tried: dict[int, float] = {}
            for epochs in LENGTHS:
                for trainer in make_trainers([name], work, seed, epochs, missing).values():
                    try:
                        seconds = sum(trainer.lap().seconds for _ in range(epochs))
                        tried[epochs] = trainer.score()
                    finally:
                        trainer.close()
                    say(f"{name}, seed {seed}, {epochs} epochs: F1 {tried[epochs]:.3f} after {seconds:.0f} s")
                if tried.get(epochs, 0.0) >= target:
                    row |= {"seconds": seconds, "epochs": epochs}
                    break
            if tried:
                rows.append(row | {"f1_by_epochs": tried})
    return rows
