"""Columns as numbers from 0, by which rows are counted and summed quickly."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

Codes = npt.NDArray[np.int64]

SMALL = 2**20
"""Numbers below are counted in a table of as many entries."""


def codes(column: pd.Series) -> tuple[Codes, int]:
    """Each row's value as a number from 0, and the count of numbers; fast for categories and integers."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.codes.to_numpy().astype(np.int64), len(column.cat.categories)
    if pd.api.types.is_integer_dtype(column.dtype) and len(column):
        least, most = int(column.min()), int(column.max())
        if most - least < SMALL:
            return column.to_numpy(np.int64) - least, most - least + 1
    numbers, values = pd.factorize(column)
    return numbers.astype(np.int64), len(values)


def distinct(numbers: Codes, size: int) -> Codes:
    """Numbers from 0 to `size` - 1 that occur, ascending; found by counting where that is faster than hashing."""
    if size < max(SMALL, 4 * len(numbers)):
        return np.flatnonzero(np.bincount(numbers, minlength=size))
    return np.sort(np.asarray(pd.unique(numbers)))


def combined_codes(columns: Sequence[pd.Series]) -> tuple[Codes, int]:
    """`codes` of combinations of columns' values: not all numbers need occur, the last column's is the remainder."""
    total, sizes = codes(columns[0])
    for column in columns[1:]:
        numbers, size = codes(column)
        if sizes * max(size, 1) >= 2**62:
            total, values = (np.asarray(part, np.int64) for part in pd.factorize(total))
            sizes = len(values)
        total, sizes = total * size + numbers, sizes * size
    return total, sizes


def dense(numbers: Codes) -> tuple[Codes, Codes]:
    """Each number's place among those that occur, and these, ascending; counted where that is quicker than hashed."""
    size = int(numbers.max(initial=-1)) + 1
    if size < max(SMALL, 4 * len(numbers)):
        found = np.bincount(numbers, minlength=size) > 0
        return (np.cumsum(found) - 1)[numbers], np.flatnonzero(found)
    place, values = pd.factorize(numbers, sort=True)
    return place.astype(np.int64), values


def first_rows(numbers: Codes, size: int) -> Codes:
    """The first row of each number from 0 to `size` - 1, all of which occur."""
    first = np.empty(size, np.int64)
    first[numbers[::-1]] = np.arange(len(numbers) - 1, -1, -1)  # the last to be written is the first row
    return first
