"""Scores of one class and subgroup as an array of runs by units: what every test starts from."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.results.codes import Codes, combined_codes, dense, first_rows
from analysis.results.declaration import ResultsError
from analysis.scores.equal_runs import EqualRuns, equal_runs
from analysis.scores.image_scores import cells_of_class, split
from analysis.scores.layout import columns_of, runs_of
from analysis.scores.missing import completed, folds_of
from metaseg.schema import Average

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Filled:
    """Imputed part of a score matrix (`analysis.scores.missing`)."""

    share: Floats
    """`(runs, columns)` share of a unit's images that the run lacks and other runs of its arm have. It is 1 in all
    columns of a fold for which the row has no network that counts, whether or not other runs of the arm have one."""
    lacked: npt.NDArray[np.bool_]
    """`(arms, images)` whether no run of the arm has the image."""
    weights: Floats
    """`(images,)` shares in a run's mean."""


@dataclass(frozen=True, eq=False)
class ScoreMatrix:
    """Scores of one class and subgroup as a multi-reader multi-case study: runs are readers, units are cases.

    Runs are nested in arms and crossed with units. A unit is a group of images that aren't independent (a well, a
    patient), or an image if there are no groups. The mean of a run is the mean over its units with their `weights`:
    groups with many images count more, so that it equals the mean over images. If the mean is made of strata of fixed
    shares (an average of subgroups), each unit has a column in each stratum in which it has images.

    Example:
        >>> from analysis import example_scores, score_matrices
        >>> matrix = next(matrix for _, _, matrix in score_matrices(example_scores()))
        >>> matrix.arms, matrix.values.shape
        (('baseline', 'sme'), (6, 30))
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
    """Number of images."""
    weights: Floats = field(default_factory=lambda: np.zeros(0))
    """`(columns,)` shares in a run's mean; they sum to 1. Equal by default."""
    stratum: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """`(columns,)` numbers from 0. One stratum by default."""
    filled: Filled | None = None
    """None if all scores were measured."""
    fold: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """`(columns,)` numbers from 0. One fold by default. With several, a row is one seed's networks of all folds, each
    tested on the units of its own."""
    of_folds: int = 0
    """Number of the study's folds, of which units may lie in some only (a subgroup's do); at least those in `fold`."""

    def __post_init__(self) -> None:
        columns = len(self.units)
        if not len(self.weights):
            object.__setattr__(self, "weights", np.full(columns, 1 / max(columns, 1)))
        if not len(self.stratum):
            object.__setattr__(self, "stratum", np.zeros(columns, np.int64))
        if not len(self.fold):
            object.__setattr__(self, "fold", np.zeros(columns, np.int64))
        object.__setattr__(self, "of_folds", max(self.of_folds, len(np.unique(self.fold))))

    @property
    def complete(self) -> bool:
        """True if every run has every unit."""
        return not np.isnan(self.values).any()

    @cached_property
    def effective(self) -> Floats:
        """`(strata,)` effective number of units: (sum n)² / sum n², with n images per unit."""
        squares = np.bincount(self.stratum, self._share**2)
        # Rounded, so that units of equal weight count as what they are.
        return np.asarray(np.round(1 / squares, 9))

    @property
    def freedom(self) -> float:
        """Degrees of freedom among units."""
        return float(np.sum(self.effective - 1))

    @property
    def size(self) -> float:
        """Effective number of units of the whole mean."""
        return float(np.round(1 / np.sum(self.weights**2), 9)) if len(self.weights) else 0.0

    @cached_property
    def _share(self) -> Floats:
        """`(columns,)` shares in the stratum's mean."""
        return np.asarray(self.weights / np.bincount(self.stratum, self.weights)[self.stratum])

    @cached_property
    def _unit(self) -> npt.NDArray[np.int64]:
        return np.asarray(pd.factorize(np.array(self.units, dtype=object))[0], np.int64)

    def common(self, arm: str, reference: str) -> float:
        """The share of images, by their weights, that some run of each of the two arms has."""
        return 1.0 - float(self.filled.weights[self._apart(arm, reference)].sum()) if self.filled else 1.0

    def common_images(self, arm: str, reference: str) -> int:
        """Number of images that at least one run of each of the two arms has."""
        return self.images - int(self._apart(arm, reference).sum()) if self.filled else self.images

    def _apart(self, arm: str, reference: str) -> npt.NDArray[np.bool_]:
        """`(images,)` whether one of the two arms lacks the image; there are scores that were filled in."""
        assert self.filled is not None
        return np.asarray(self.filled.lacked[[self.arms.index(arm), self.arms.index(reference)]].any(axis=0))

    def of(self, arm: str) -> Floats:
        """`(seeds, columns)` values of an arm's runs, by ascending seed."""
        rows = np.flatnonzero(self.arm == self.arms.index(arm))
        return self.values[rows[np.argsort(self.seed[rows], kind="stable")]]

    def seeds_of(self, arm: str) -> tuple[int, ...]:
        """Seeds of an arm's runs, ascending."""
        return tuple(sorted(self.seed[self.arm == self.arms.index(arm)].tolist()))

    def deviations(self, values: Floats) -> Floats:
        """Influence of each unit on the mean; the sum of squares estimates the variance of the mean over new units.

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
        """Satterthwaite degrees of freedom of `variance` for `(columns,)` values, over strata."""
        parts = np.bincount(self.stratum, self.deviations(values) ** 2)
        if not parts.sum() > 0:
            return self.freedom
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(parts.sum() ** 2 / np.sum(parts**2 / (self.effective - 1)))


def score_matrices(scores: pd.DataFrame, average: Average = "images") -> Iterator[tuple[str, str, ScoreMatrix]]:
    """Arrange scores as matrices: yields each class and subgroup, `OVERALL` first, with its `ScoreMatrix`.

    Args:
        scores: table of `analysis.scores.image_scores.image_scores`; `analysis.scores.image_scores.with_overall` says
            which runs a cell has.
        average: mean that `OVERALL` shows: over images, or of the subgroups' means.

    Example:
        >>> from analysis import example_scores, score_matrices
        >>> [(subgroup, matrix.values.shape) for _, subgroup, matrix in score_matrices(example_scores())]
        [('Average', (6, 30)), ('a', (6, 15)), ('b', (6, 15))]
    """
    single = scores["subgroup"].nunique() == 1
    for name, rows in split(scores, "class"):
        runs = equal_runs(rows)
        # Where all runs have the same rows, the first run's tell how each is laid out.
        first = runs.first(rows) if runs else completed(rows)
        for subgroup, cell in cells_of_class(first, average, single):
            if len(cell):
                laid = score_matrix(cell, average)
                yield name, subgroup, _with_all_runs(laid, cell, rows, runs, average) if runs else laid


def score_matrix(cell: pd.DataFrame, average: Average = "images") -> ScoreMatrix:
    """The matrix of one class and subgroup.

    Args:
        cell: rows of `analysis.scores.image_scores.with_overall`, with arm, seed, stratum, group, image, score
            and filled.
        average: whether subgroups are strata.
    """
    arms, run, of_run, seeds = runs_of(cell["arm"], cell["seed"])
    column, units, of_column = columns_of(cell, average)
    place = run * len(units) + column
    total, shape = len(of_run) * len(units), (len(of_run), len(units))
    fold, folds = folds_of(cell)
    of_columns = fold[first_rows(column, len(units))]
    if folds > 1 and (wrong := fold != of_columns[column]).any():
        row = cell.iloc[int(wrong.argmax())]
        raise ResultsError(f"group {row['group']!r} is in fold {row['fold']!r} and in another; expected one")
    counts = np.bincount(place, minlength=total).reshape(shape)
    values = np.bincount(place, cell["score"].to_numpy(), total).reshape(shape) / counts
    images = counts[0].astype(np.float64)
    of_stratum = np.bincount(of_column, images)
    weights = images / of_stratum[of_column] / len(of_stratum)
    item, items = dense(combined_codes([cell["stratum"], cell["image"]])[0])
    filled = None
    if cell["filled"].any():
        share = np.zeros(len(items))
        share[item] = (weights / images)[column]
        filled = _not_measured(cell["filled"].to_numpy(), of_run[run], item, place, share, counts)
        if folds > 1:
            measured = np.bincount((run * folds + fold)[~cell["filled"].to_numpy()], minlength=len(of_run) * folds)
            filled.share[measured.reshape(-1, folds)[:, of_columns] == 0] = 1
    return ScoreMatrix(arms, of_run, seeds, values, units, len(items), weights, of_column, filled, of_columns, folds)


def _not_measured(
    filled: npt.NDArray[np.bool_], arm: Codes, item: Codes, place: Codes, weights: Floats, counts: Codes
) -> Filled:
    """Imputed part of a cell, from each row's arm, image and position in runs x columns."""
    shape = int(arm.max()) + 1, len(weights)
    at = arm * shape[1] + item
    lacked = np.bincount(at[~filled], minlength=shape[0] * shape[1]) == 0
    from_own = filled & ~lacked[at]
    share = np.bincount(place[from_own], minlength=counts.size).reshape(counts.shape) / counts
    return Filled(share, lacked.reshape(shape), weights)


def _with_all_runs(
    laid: ScoreMatrix, cell: pd.DataFrame, rows: pd.DataFrame, runs: EqualRuns, average: Average
) -> ScoreMatrix:
    """The matrix of all runs.

    Args:
        laid: the first run's.
        cell: its rows, with `place`: which of the run's rows they are.
        rows: of the class, all runs.
        runs: of these rows.
        average: whether subgroups are strata.
    """
    heads = rows.iloc[runs.starts[:, 0]]
    arms, run, of_run, seeds = runs_of(heads["arm"], heads["seed"])
    column, place = columns_of(cell, average)[0], cell["place"].to_numpy()
    images = np.bincount(column)
    values = np.empty((len(heads), len(images)))
    for number, score in zip(run, runs.of_each(rows["score"].to_numpy()), strict=True):
        values[number] = np.bincount(column, score[place]) / images
    return replace(laid, arms=arms, arm=of_run, seed=seeds, values=values)
