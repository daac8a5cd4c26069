"""Scores of one class and subgroup as an array of runs by units: what every test starts from."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.record import Average
from analysis.scores import cells, codes, combined_codes, distinct

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Layout:
    """A multi-reader multi-case study: runs are the readers, nested in arms; units are the cases, crossed with runs.

    A unit is a group of images that aren't independent (a well, a patient); without groups, an image. A run's mean is
    that of its units with their `weights`, by which groups of many images count more: it is the mean over images. Where
    the mean is made of strata of fixed shares (an average of subgroups), there is a column for each unit in each
    stratum that it has images in.
    """

    arms: tuple[str, ...]
    """Names."""
    arm: npt.NDArray[np.int64]
    """`(runs,)` place in `arms`."""
    seed: npt.NDArray[np.int64]
    """`(runs,)`"""
    values: Floats
    """`(runs, columns)` mean score of each unit's images; NaN where a run has none of them."""
    units: tuple[str, ...]
    """`(columns,)` names."""
    images: int
    """How many."""
    weights: Floats = field(default_factory=lambda: np.zeros(0))
    """`(columns,)` shares in a run's mean; they sum to 1. Equal by default."""
    stratum: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """`(columns,)` numbers from 0. One stratum by default."""

    def __post_init__(self) -> None:
        columns = len(self.units)
        if not len(self.weights):
            object.__setattr__(self, "weights", np.full(columns, 1 / max(columns, 1)))
        if not len(self.stratum):
            object.__setattr__(self, "stratum", np.zeros(columns, np.int64))

    @property
    def complete(self) -> bool:
        """Whether every run has every unit."""
        return not np.isnan(self.values).any()

    @cached_property
    def effective(self) -> Floats:
        """`(strata,)` units of equal weight that would tell as much: (sum n)² / sum n², n images a unit."""
        squares = np.bincount(self.stratum, self._share**2)
        # Rounded, so that units of equal weight count as what they are.
        return np.asarray(np.round(1 / squares, 9))

    @property
    def freedom(self) -> float:
        """Degrees of freedom among units."""
        return float(np.sum(self.effective - 1))

    @property
    def size(self) -> float:
        """Units of equal weight that the whole mean is worth."""
        return float(np.round(1 / np.sum(self.weights**2), 9)) if len(self.weights) else 0.0

    @cached_property
    def _share(self) -> Floats:
        """`(columns,)` shares in the stratum's mean."""
        return np.asarray(self.weights / np.bincount(self.stratum, self.weights)[self.stratum])

    @cached_property
    def _unit(self) -> npt.NDArray[np.int64]:
        return np.asarray(pd.factorize(np.array(self.units, dtype=object))[0], np.int64)

    def of(self, arm: str) -> Floats:
        """`(seeds, columns)` values of an arm's runs, by ascending seed."""
        rows = np.flatnonzero(self.arm == self.arms.index(arm))
        return self.values[rows[np.argsort(self.seed[rows], kind="stable")]]

    def seeds_of(self, arm: str) -> tuple[int, ...]:
        """Seeds of an arm's runs, ascending."""
        return tuple(sorted(self.seed[self.arm == self.arms.index(arm)].tolist()))

    def only(self, columns: npt.NDArray[np.bool_]) -> "Layout":
        """The same without some columns; strata keep their shares in the mean."""
        kept, stratum = self.weights[columns], self.stratum[columns]
        of_strata = np.bincount(self.stratum, self.weights), np.bincount(stratum, kept, self.stratum.max() + 1)
        weights = kept * (of_strata[0] / of_strata[1])[stratum]
        units = tuple(np.array(self.units, dtype=object)[columns])
        return replace(
            self, values=self.values[:, columns], units=units, weights=weights / weights.sum(), stratum=stratum
        )

    def deviations(self, values: Floats) -> Floats:
        """How far each unit moves the mean, so that the sum of squares estimates the variance of the mean on new units.

        With weights w that sum to 1 in a stratum and deviations c from its mean, units of equal variance have
        E c² = variance x (1 - 2 w + sum w²): w c over the root of that bracket is what is returned, times the stratum's
        share in the mean. For units of equal weight the sum is the sum of squares over U (U - 1).

        Args:
            values: `(..., columns)`, such as differences of two arms by unit.

        Returns:
            `(..., columns)`; NaN where a stratum has a single unit.
        """
        count = len(self.effective)
        strata = (self.stratum == np.arange(count)[:, None]).astype(np.float64)
        centred = values - ((values * self._share) @ strata.T)[..., self.stratum]
        bracket = 1 - 2 * self._share + np.bincount(self.stratum, self._share**2)[self.stratum]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.weights * centred / np.sqrt(np.where(bracket > 1e-12, bracket, np.nan)))

    def variance(self, values: Floats) -> Floats:
        """`(...)` variance of the weighted mean of `(..., columns)` values on new units.

        A unit with images in several strata moves their means together.
        """
        moved = self.deviations(values)
        if len(set(self.units)) == len(self.units):
            return np.asarray((moved**2).sum(axis=-1))
        of_unit = (self._unit[:, None] == np.arange(self._unit.max() + 1)).astype(np.float64)
        return np.asarray(((moved @ of_unit) ** 2).sum(axis=-1))

    def freedom_of(self, values: Floats) -> float:
        """Degrees of freedom of `variance`, of `(columns,)` values: Satterthwaite's, over strata."""
        parts = np.bincount(self.stratum, self.deviations(values) ** 2)
        if not parts.sum() > 0:
            return self.freedom
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(parts.sum() ** 2 / np.sum(parts**2 / (self.effective - 1)))


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
        cell: rows of `analysis.scores.with_overall`, with arm, seed, stratum, group, image and f1.
        average: whether subgroups are strata.
    """
    arm, size = codes(cell["arm"])
    here = np.flatnonzero(np.bincount(arm, minlength=size))
    arms = tuple(map(str, cell["arm"].cat.categories[here]))
    seed, seeds = pd.factorize(cell["seed"].to_numpy(), sort=True)
    run, runs = _dense(np.searchsorted(here, arm) * len(seeds) + seed)
    unit, units = _names(cell["group"])
    stratum, strata = _dense(codes(cell["stratum"])[0] if average == "subgroups" else np.zeros(len(cell), np.int64))
    column, columns = _dense(stratum * len(units) + unit)
    place = run * len(columns) + column
    total, shape = len(runs) * len(columns), (len(runs), len(columns))
    counts = np.bincount(place, minlength=total).reshape(shape)
    sums = np.bincount(place, cell["f1"].to_numpy(), total).reshape(shape)
    values = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    # A run may lack images: a unit has as many as the run that has most.
    images = counts.max(axis=0).astype(np.float64)
    of_column = columns // len(units)
    weights = images / np.bincount(of_column, images)[of_column] / len(strata)
    of_run, order = np.divmod(runs, len(seeds))
    return Layout(
        arms, of_run, seeds[order].astype(np.int64), values, tuple(units[k] for k in columns % len(units)),
        len(distinct(*combined_codes([cell["stratum"], cell["image"]]))), weights, of_column,
    )  # fmt: skip


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
