"""Accuracy of each training: its final validation F1 after the same number of epochs on the same images."""

from collections.abc import Callable
from statistics import mean, stdev
from typing import Any

from benchmarks.training.trainers import make_trainers
from benchmarks.training.work import Work


def final_scores(
    work: Work, names: list[str], epochs: int, seeds: int, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """A row a trainer: its mean validation F1 after the last epoch, the SD over seeds, and each seed's."""
    rows: list[dict[str, Any]] = []
    scores: dict[str, list[float]] = {}

    def missing(name: str, reason: str) -> None:
        if all(row["name"] != name for row in rows):
            rows.append({"name": name, "not_measured": reason})

    for seed in range(seeds):
        for name in names:
            for trainer in make_trainers([name], work, seed, epochs, missing).values():
                say(f"{name}, seed {seed}: {epochs} epochs")
                try:
                    for _ in range(epochs):
                        trainer.lap()
                    scores.setdefault(name, []).append(trainer.score())
                finally:
                    trainer.close()
    return [
        {
            "name": name, "f1": mean(each), "sd": stdev(each) if len(each) > 1 else None, "f1_by_seed": each,
            "epochs": epochs,
        }
        for name, each in scores.items()
    ] + rows  # fmt: skip
