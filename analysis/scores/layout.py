"""The layout of a score matrix: the run and the column that each row of a table belongs to."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.results.codes import codes, dense, named_codes
from metaseg.schema import Average


def runs_of(
    arm: pd.Series, seed: pd.Series
) -> tuple[tuple[str, ...], npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Arms that there are; each row's run; each run's place in arms and its seed: runs are by arm, then seed."""
    numbers, size = codes(arm)
    here = np.flatnonzero(np.bincount(numbers, minlength=size))
    number, seeds = pd.factorize(seed.to_numpy(), sort=True)
    run, runs = dense(np.searchsorted(here, numbers) * len(seeds) + number)
    of_run, order = np.divmod(runs, len(seeds))
    return tuple(map(str, arm.cat.categories[here])), run, of_run, seeds[order].astype(np.int64)


def columns_of(
    cell: pd.DataFrame, average: Average
) -> tuple[npt.NDArray[np.int64], tuple[str, ...], npt.NDArray[np.int64]]:
    """Each row's column; each column's unit and stratum."""
    unit, units = named_codes(cell["group"])
    stratum, _ = dense(codes(cell["stratum"])[0] if average == "subgroups" else np.zeros(len(cell), np.int64))
    column, columns = dense(stratum * len(units) + unit)
    of_column, of_unit = np.divmod(columns, len(units))
    return column, tuple(units[of_unit]), of_column
