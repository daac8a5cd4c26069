"""Runs that all have the same images in the same order, as complete studies do: their scores are an array already."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.results.codes import Codes, raw_codes

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class EqualRuns:
    """Places of each run's rows. With folds, a run is a seed's networks of all folds together."""

    starts: Codes
    """`(runs, folds)` first row of each network."""
    lengths: Codes
    """`(folds,)` how many rows each network of a fold has."""

    def first(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The first run's rows, with `place`, their number in the run, and `filled`."""
        own = rows.iloc[self._rows(0)]
        return own.assign(place=np.arange(len(own)), filled=False)

    def of_each(self, values: Floats) -> Iterator[Floats]:
        """Each run's part of a column, in the order of `first`."""
        for run in range(len(self.starts)):
            yield values[self._rows(run)]

    def _rows(self, run: int) -> slice | Codes:
        start, length = self.starts[run], self.lengths
        if len(length) == 1:
            return slice(int(start[0]), int(start[0] + length[0]))
        return np.concatenate([np.arange(at, at + rows) for at, rows in zip(start, length, strict=True)])


def equal_runs(rows: pd.DataFrame) -> EqualRuns | None:
    """The rows' runs if all have the rows of the first one, in its order and without repeats; else None.

    Args:
        rows: of one class, with columns arm, seed, fold where there are several, subgroup, group, image.
    """
    keys = [raw_codes(rows["arm"]), rows["seed"].to_numpy()]
    keys += [raw_codes(rows["fold"])] if "fold" in rows else []
    changes = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
    starts = np.append(0, np.flatnonzero(changes) + 1)
    heads = pd.DataFrame({name: key[starts] for name, key in zip(("arm", "seed", "fold"), keys, strict=False)})
    if heads.duplicated().any():
        return None
    run = heads.groupby(["arm", "seed"], sort=False).ngroup().to_numpy()
    fold = pd.factorize(heads["fold"])[0] if "fold" in heads else np.zeros(len(heads), np.int64)
    shape = int(run.max()) + 1, int(fold.max()) + 1
    if shape[0] * shape[1] != len(starts):
        return None
    place, length = np.empty(shape, np.int64), np.empty(shape, np.int64)
    place[run, fold], length[run, fold] = starts, np.diff(starts, append=len(rows))
    if (length != length[0]).any():
        return None
    found = EqualRuns(place, length[0])
    if found.first(rows).duplicated(["subgroup", "image"]).any():
        return None
    for column in ("subgroup", "group", "image"):
        code = raw_codes(rows[column])
        for at, count in zip(place.T, length[0], strict=True):
            first = code[at[0] : at[0] + count]
            if not all(np.array_equal(code[start : start + count], first) for start in at[1:]):
                return None
    return found
