"""Imputation of scores that some runs lack, so that every mean is over the same images.

A run's mean over the images that it happens to have would be as much about which images these are as about the run.
Here each missing score is estimated in two steps, by least squares:

1. Within an arm, score = run + image: a run's missing score is what the arm's other runs have on the image, moved by
   how much the run differs from them on the images that it shares with them.
2. An image that no run of an arm has: mean of arm = arm + image, within each subgroup. Its score is what the other arms
   have there, moved by how much the arm differs from them on the images that they share. So arms are compared on common
   images, and their difference is taken to be the same on the others, which is said where it is reported.

Without missing scores nothing changes, and each missing score changes little: what is estimated is the mean over all
images in any case. `analysis.scores.score_matrix.ScoreMatrix` keeps what was filled in, and `analysis.stats.mrmc`
doesn't take it for data.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse.csgraph import connected_components

from analysis.results.codes import Codes, combined_codes, dense, first_rows
from analysis.results.declaration import ResultsError

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def completed(rows: pd.DataFrame) -> pd.DataFrame:
    """Add a row for each score that a run lacks in a subgroup where it has other scores.

    Args:
        rows: of one class, with columns arm, seed, subgroup, image, score, and others that are an image's own.

    Returns:
        The same columns and `filled`: whether the score isn't a measured one. A filled score isn't `empty`.

    Raises:
        ResultsError: a score is there twice; runs of an arm, or arms, share no image by which to compare them.
    """
    run, runs = dense(combined_codes([rows["arm"], rows["seed"]])[0])
    item, items = dense(combined_codes([rows["subgroup"], rows["image"]])[0])
    shape = len(runs), len(items)
    counted = np.bincount(run * shape[1] + item, minlength=shape[0] * shape[1]).reshape(shape)
    first = first_rows(item, len(items))
    stratum, strata = dense(combined_codes([rows["subgroup"].iloc[first]])[0])
    of_stratum = np.eye(len(strata), dtype=bool)[stratum]
    has = counted > 0
    wanted = ((has @ of_stratum) > 0)[:, stratum]
    if counted.max(initial=0) < 2 and (has == wanted).all():
        return rows.assign(filled=False)
    _refuse_repeated(rows, run, item)
    values = np.full(shape, np.nan)
    values[run, item] = rows["score"]
    heads = rows.iloc[first_rows(run, len(runs))]
    arm = dense(combined_codes([heads["arm"]])[0])[0]
    names = [f"{row.arm} seed {row.seed}" for row in heads.itertuples()]
    filled = _filled(values, arm, stratum, wanted, names)
    lacking, at = np.nonzero(wanted & ~has)
    added = rows.iloc[first[at]].assign(
        arm=heads["arm"].array.take(lacking), seed=heads["seed"].to_numpy()[lacking], score=filled[lacking, at]
    )
    if "empty" in added:
        added["empty"] = False
    return pd.concat([rows.assign(filled=False), added.assign(filled=True)], ignore_index=True)


def additive(values: Floats, names: Iterable[str] = ()) -> tuple[Floats, Floats]:
    """Least-squares fit of value = row + column to the observed cells.

    Args:
        values: `(rows, columns)`, NaN where missing; each column has a value in some row.
        names: what rows are called in errors.

    Returns:
        `(rows,)` effects, with a mean of 0, and `(columns,)` effects.

    Raises:
        ResultsError: rows without columns in common, so that their effects can't be told from those of the columns.
    """
    there = ~np.isnan(values)
    known = np.where(there, values, 0.0)
    count = there.sum(axis=0)
    shared = there.astype(np.float64) @ there.T
    pieces, piece = connected_components(shared > 0, directed=False)
    if pieces > 1:
        called = list(names) or [f"row {i}" for i in range(len(values))]
        apart = called[int(np.argmax(piece != piece[0]))]
        raise ResultsError(f"{called[0]} and {apart} share no image; expected runs that have images in common")
    laplacian = np.diag(there.sum(axis=1).astype(np.float64)) - (there / count) @ there.T
    means = known.sum(axis=0) / count
    rows = np.linalg.pinv(laplacian, hermitian=True) @ np.where(there, values - means, 0.0).sum(axis=1)
    columns = (known - np.where(there, rows[:, None], 0.0)).sum(axis=0) / count
    return rows, columns


def _filled(values: Floats, arm: Codes, stratum: Codes, wanted: Bools, names: list[str]) -> Floats:
    """Values `(runs, items)` without NaN where they are wanted."""
    filled = values.copy()
    effect = np.zeros(len(values))
    for number in np.unique(arm):
        own = np.flatnonzero(arm == number)
        there = ~np.isnan(values[own]).all(axis=0)
        lacks = wanted[own] & np.isnan(values[own])
        if not lacks.any():
            continue
        runs, items = additive(values[own][:, there], [names[j] for j in own])
        effect[own] = runs
        block = filled[own]
        block[:, there] = np.where(lacks[:, there], runs[:, None] + items, values[own][:, there])
        filled[own] = block
    for part in np.unique(stratum):
        here = np.flatnonzero(stratum == part)
        with_part = np.flatnonzero(wanted[:, here].any(axis=1))
        block = filled[np.ix_(with_part, here)]
        if np.isnan(block).any():
            filled[np.ix_(with_part, here)] = _by_arm(block, arm[with_part], effect[with_part], names)
    return filled


def _by_arm(block: Floats, arm: Codes, effect: Floats, names: list[str]) -> Floats:
    """The second step: a block of one subgroup, in which runs lack what no run of their arm has."""
    arms, of_run = np.unique(arm, return_inverse=True)
    means = np.stack([block[of_run == a].mean(axis=0) for a in range(len(arms))])
    own = np.array([effect[of_run == a].mean() for a in range(len(arms))])
    shift, items = additive(means, [names[int(np.argmax(of_run == a))] for a in range(len(arms))])
    estimate = shift[of_run][:, None] + items + (effect - own[of_run])[:, None]
    return np.where(np.isnan(block), estimate, block)


def _refuse_repeated(rows: pd.DataFrame, run: Codes, item: Codes) -> None:
    repeated = pd.DataFrame({"run": run, "item": item}).duplicated().to_numpy()
    if repeated.any():
        row = rows.iloc[int(repeated.argmax())]
        raise ResultsError(
            f"{int(repeated.sum())} scores are there twice; the first: {row['arm']} seed {row['seed']}, image "
            f"{row['image']!r}, class {row['class']!r}, subgroup {row['subgroup']!r}"
        )
