"""Declared comparisons by resampling, as a check of the F test."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.results.declaration import Comparison
from analysis.scores.score_matrix import ScoreMatrix
from analysis.stats.mrmc import difference
from analysis.stats.permutation import Permutation, permutation, sign_flip
from analysis.stats.resampling import bootstrap
from metaseg.schema import Seeds

DRAWS, PERMUTATIONS = 4999, 9999
"""Number of bootstrap draws, and of random relabellings where there are more than can all be counted."""

COLUMNS = ["arm", "reference", "difference", "low", "high", "method", "p_runs", "p_runs_least", "p_signs"]


def resample(
    matrix: ScoreMatrix, comparisons: Sequence[Comparison], generator: np.random.Generator, seeds: Seeds = "nested"
) -> pd.DataFrame:
    """Bootstrap confidence interval and permutation tests of each comparison whose arms have scores.

    Returns:
        A row per comparison: arm, reference, difference; low, high and method of the 95 % bootstrap interval; p_runs
        of exchanging runs and the least that it can be, NaN for crossed seeds; p_signs of flipping units' signs.
    """
    rows = []
    for comparison in comparisons:
        pair = comparison.arm, comparison.reference
        if not set(pair) <= set(matrix.arms):
            continue
        interval = bootstrap(matrix, *pair, generator, DRAWS, seeds)
        runs, signs = (test(matrix, *pair, generator, PERMUTATIONS) for test in (permutation, sign_flip))
        if seeds == "crossed":  # runs of a pair can't be exchanged with others
            runs = Permutation(np.nan, np.nan, False)
        rows.append(
            {
                "arm": comparison.arm,
                "reference": comparison.reference,
                "difference": difference(matrix, *pair, seeds).estimate,
                "low": interval.low,
                "high": interval.high,
                "method": interval.method,
                "p_runs": runs.p,
                "p_runs_least": runs.smallest,
                "p_signs": signs.p,
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS)
