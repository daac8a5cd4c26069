"""Scores of the trained networks of `fold_trainings` as arrays, and in one small file."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]

FILE = Path(__file__).parent / "results" / "fold_trainings.npz"
STEP = 0.002
STEPS = {"folds": STEP, "split": STEP, "halves": STEP / 100, "new": STEP / 100}
"""To which scores are rounded in the file."""


@dataclass(frozen=True)
class Runs:
    """F1 of one arm's runs on all data sets."""

    folds: Floats
    """`(data sets, seeds, folds, units)`"""
    split: Floats
    """`(data sets, runs, 1, units)`: as many runs on the first fold alone."""
    halves: Floats
    """`(every second data set, 5, 2)` means on both halves of five splits."""
    new: Floats
    """`(data sets, seeds, folds)` means on images that are new to all; of runs in folds."""

    def of(self, seeds: list[int]) -> "Runs":
        """Those seeds alone, in folds."""
        return Runs(self.folds[:, seeds], self.split, self.halves, self.new[:, seeds])


def pack(folder: Path) -> dict[str, Runs]:
    """The arms' runs from the files of `benchmarks.fold_trainings`."""
    rows = pd.concat([pd.read_parquet(path) for path in sorted(folder.glob("*.parquet"))], ignore_index=True)
    sets = rows["dataset"].nunique()
    seeds = int(rows.loc[rows["design"] == "folds", "seed"].max()) + 1
    folds = int(rows.loc[rows["design"] == "folds", "fold"].max()) + 1

    def arrays(own: pd.DataFrame) -> Runs:
        own = own.sort_values(["dataset", "seed", "fold", "image"])
        tested, new = own[own["image"] >= 0], own[own["image"] < 0]
        in_folds = tested.loc[tested["design"] == "folds", "f1"].to_numpy().reshape(sets, seeds, folds, -1)
        more = tested.loc[tested["design"] == "split", "f1"].to_numpy()
        split = np.concatenate([in_folds[:, :, :1], more.reshape(sets, -1, 1, in_folds.shape[3])], axis=1)
        halves = tested[tested["design"] == "halves"].groupby(["dataset", "fold"])["f1"].mean().to_numpy(float)
        of_new = new.loc[new["design"] == "folds", "f1"].to_numpy().reshape(sets, seeds, folds)
        return Runs(in_folds, split, halves.reshape(-1, 5, 2), of_new)

    return {str(arm): arrays(own) for arm, own in rows.groupby("arm")}


def save(runs: dict[int, dict[str, Runs]], path: Path) -> None:
    """Write the arms' runs by size of data sets, rounded: images' scores to `STEP`, means to a hundredth of it."""
    arrays = {}
    for size, arms in runs.items():
        for arm, own in arms.items():
            for name, step in STEPS.items():
                rounded = np.round(getattr(own, name) / step)
                arrays[f"{size} {arm} {name}"] = rounded.astype(np.uint16)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)


def load(path: Path = FILE) -> dict[int, dict[str, Runs]]:
    """The arms' runs, by size of data sets, from the file of `save`."""
    found: dict[int, dict[str, Runs]] = {}
    with np.load(path, allow_pickle=False) as file:
        for key in file.files:
            size, arm, _ = key.split(" ")
            arrays = (file[f"{size} {arm} {name}"] * step for name, step in STEPS.items())
            found.setdefault(int(size), {}).setdefault(arm, Runs(*arrays))
    return found


def parted(first: Runs, second: Runs) -> Iterator[tuple[Runs, Runs]]:
    """All ways of parting the seeds of two copies of an arm into two arms of as many.

    The copies differ by nothing but their seeds, so that any such arms are equal, too; more of them make rates more
    precise than one would.
    """
    rng = np.random.default_rng(0)
    seeds, runs = first.folds.shape[1], first.split.shape[1]
    for chosen in combinations(range(1, 2 * seeds), seeds - 1):
        one = [0, *chosen]
        other = [seed for seed in range(2 * seeds) if seed not in one]
        order, swap = rng.permutation(2 * runs), rng.random(first.halves.shape) < 0.5
        folds, split, new = (
            np.concatenate([getattr(each, name) for each in (first, second)], axis=1)
            for name in ("folds", "split", "new")
        )
        halves = np.where(swap, first.halves, second.halves), np.where(swap, second.halves, first.halves)
        yield (
            Runs(folds[:, one], split[:, order[:runs]], halves[0], new[:, one]),
            Runs(folds[:, other], split[:, order[runs:]], halves[1], new[:, other]),
        )
