"""Scores of one class and subgroup as an array of runs by units: what every test starts from."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.record import Average
from analysis.scores import cells, codes, combined_codes, distinct

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Layout:
    """A multi-reader multi-case study: runs are the readers, nested in arms; units are the cases, crossed with runs.

    A unit is a group of images that aren't independent (a well, a patient); without groups, an image. Its value for a
    run is the run's mean score M plus U w (m - M): m the mean of the unit's images, w their weight's share in M, U the
    number of units. So the mean over units is the mean over images however unequal groups are, and where they are equal
    the value is the mean of the unit's images. With strata, m is compared with the stratum's mean instead of M.
    """

    arms: tuple[str, ...]
    """Names."""
    arm: npt.NDArray[np.int64]
    """`(runs,)` place in `arms`."""
    seed: npt.NDArray[np.int64]
    """`(runs,)`"""
    values: Floats
    """`(runs, units)`; NaN where a run has no score of any of a unit's images."""
    units: tuple[str, ...]
    images: int
    """How many."""
    strata: int = 1
    """How many parts of fixed weight the mean is made of; units lie within them."""

    @property
    def complete(self) -> bool:
        """Whether every run has every unit."""
        return not np.isnan(self.values).any()

    @property
    def freedom(self) -> int:
        """Degrees of freedom among units."""
        return len(self.units) - self.strata

    def of(self, arm: str) -> Floats:
        """`(seeds, units)` values of an arm's runs, by ascending seed."""
        rows = np.flatnonzero(self.arm == self.arms.index(arm))
        return self.values[rows[np.argsort(self.seed[rows], kind="stable")]]

    def seeds_of(self, arm: str) -> tuple[int, ...]:
        """Seeds of an arm's runs, ascending."""
        return tuple(sorted(self.seed[self.arm == self.arms.index(arm)].tolist()))


def layouts(scores: pd.DataFrame, average: Average = "images") -> Iterator[tuple[str, str, Layout]]:
    """Each class and subgroup, `OVERALL` first, with its layout.

    Args:
        scores: of `analysis.scores.image_scores`. Which runs a cell has: `analysis.scores.with_overall`.
        average: what the overall score is.
    """
    for name, subgroup, cell in cells(scores, average):
        if len(cell):
            yield name, subgroup, layout(cell, average)


def layout(cell: pd.DataFrame, average: Average = "images") -> Layout:
    """The layout of one class and subgroup.

    Args:
        cell: rows of `analysis.scores.with_overall`, with arm, seed, stratum, group, image, weight and f1.
        average: whether subgroups are strata.
    """
    arm, size = codes(cell["arm"])
    here = np.flatnonzero(np.bincount(arm, minlength=size))
    arms = tuple(map(str, cell["arm"].cat.categories[here]))
    seed, seeds = pd.factorize(cell["seed"].to_numpy(), sort=True)
    run, runs = _dense(np.searchsorted(here, arm) * len(seeds) + seed)
    unit, units = _names(cell["group"])
    f1, weight = cell["f1"].to_numpy(), cell["weight"].to_numpy()
    stratum, strata = _dense(codes(cell["stratum"])[0] if average == "subgroups" else np.zeros(len(cell), np.int64))

    def summed(values: Floats, by: npt.NDArray[np.int64], size: int) -> Floats:
        sums: Floats = np.bincount(run * size + by, values, len(runs) * size).astype(np.float64)
        return sums.reshape(len(runs), size)

    total = summed(weight, np.zeros(len(cell), np.int64), 1)
    means = summed(weight * f1, np.zeros(len(cell), np.int64), 1) / total
    centre = means
    if len(strata) > 1:
        in_strata = summed(weight, stratum, len(strata))
        centre = summed(weight * f1, stratum, len(strata)) / np.where(in_strata > 0, in_strata, np.nan)
    parts = summed(weight * (f1 - centre[run, stratum]), unit, len(units))
    found = (np.bincount(run * len(units) + unit, minlength=len(runs) * len(units)) > 0).reshape(len(runs), len(units))
    values = np.where(found, means + found.sum(axis=1, keepdims=True) * parts / total, np.nan)
    images = len(distinct(*combined_codes([cell["stratum"], cell["image"]])))
    of_run, order = np.divmod(runs, len(seeds))
    return Layout(arms, of_run, seed=seeds[order].astype(np.int64), values=values, units=units, images=images,
                  strata=len(strata))  # fmt: skip


def _dense(numbers: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Each number's place among those that occur, and these, ascending; for numbers from 0 that aren't large."""
    found = np.bincount(numbers) > 0
    return (np.cumsum(found) - 1)[numbers], np.flatnonzero(found)


def _names(column: pd.Series) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """Each row's place among the column's distinct values, and these as text, in alphabetical order."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        number, here = _dense(codes(column)[0])
        values = column.cat.categories[here]
    else:
        number, values = pd.factorize(column)
    names = np.array([str(value) for value in values], dtype=object)
    order = np.argsort(names, kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return place[number], tuple(names[order])
