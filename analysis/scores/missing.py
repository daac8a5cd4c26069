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

With folds, a run is of one fold, and runs of an arm are compared within each. The network that a seed gives in one fold
tells nothing of the one that it gives in another: where one is missing, its scores are the means of the arm's others in
that fold, so that the arm's mean there is the mean of those.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse.csgraph import connected_components

from analysis.results.codes import Codes, combined_codes, dense, first_rows, named_codes
from analysis.results.declaration import ResultsError
from metaseg.schema import LACKING

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def completed(rows: pd.DataFrame) -> pd.DataFrame:
    """Add a row for each score that a seed's networks lack in a subgroup where they have other scores.

    Where a seed's network of a fold is missing altogether, all its scores are filled in that the arm's other seeds have
    there.

    Args:
        rows: of one class, with columns arm, seed, subgroup, image, score, fold where there are several, and others
            that are an image's own.

    Returns:
        The same columns and `filled`: whether the score isn't a measured one. A filled score isn't `empty`. Nothing is
        added for arms that have no fold in common, directly or by other arms.

    Raises:
        ResultsError: a score is there twice; an image is in two folds; runs of an arm and fold, or arms, share no image
            by which to compare them.
    """
    run, runs = dense(combined_codes([rows["arm"], rows["seed"]])[0])
    item, items = dense(combined_codes([rows["subgroup"], rows["image"]])[0])
    shape = len(runs), len(items)
    counted = np.bincount(run * shape[1] + item, minlength=shape[0] * shape[1]).reshape(shape)
    first = first_rows(item, len(items))
    of_rows, folds = folds_of(rows)
    fold = of_rows[first]
    if folds > 1 and (fold[item] != of_rows).any():
        row = int((fold[item] != of_rows).argmax())
        _refuse_second_fold(rows.iloc[first[item[row]]], rows.iloc[row])
    stratum, strata = dense(combined_codes([rows["subgroup"].iloc[first]])[0])
    of_stratum = np.eye(len(strata), dtype=bool)[stratum]
    has = counted > 0
    wanted = ((has @ of_stratum) > 0)[:, stratum]
    if folds == 1 and counted.max(initial=0) < 2 and (has == wanted).all():
        return rows.assign(filled=False)
    heads = rows.iloc[first_rows(run, len(runs))]
    arm = dense(combined_codes([heads["arm"]])[0])[0]
    if folds > 1:
        wanted |= _of_other_seeds(has, wanted, arm, fold)
        wanted = ((wanted @ of_stratum) > 0)[:, stratum]
        if counted.max(initial=0) < 2 and (has == wanted).all():
            return rows.assign(filled=False)
    _refuse_repeated(rows, run, item)
    values = np.full(shape, np.nan)
    values[run, item] = rows["score"]
    names = [f"{row.arm} seed {row.seed}" for row in heads.itertuples()]
    filled = _filled(values, arm, stratum, fold, wanted, names)
    lacking, at = np.nonzero(wanted & ~has & ~np.isnan(filled))
    added = rows.iloc[first[at]].assign(
        arm=heads["arm"].array.take(lacking), seed=heads["seed"].to_numpy()[lacking], score=filled[lacking, at]
    )
    if "empty" in added:
        added["empty"] = False
    return pd.concat([rows.assign(filled=False), added.assign(filled=True)], ignore_index=True)


def folds_of(rows: pd.DataFrame) -> tuple[Codes, int]:
    """Each row's fold, as a number from 0 in order of the folds' names, and how many there are; one without folds."""
    if "fold" not in rows:
        return np.zeros(len(rows), np.int64), min(len(rows), 1)
    number, names = named_codes(rows["fold"])
    return number, len(names)


def _of_other_seeds(has: Bools, wanted: Bools, arm: Codes, fold: Codes) -> Bools:
    """`(runs, items)` what a seed's network of a fold would have if it were there, by other seeds of its arm."""
    found = np.zeros_like(has)
    for number in np.unique(fold):
        here = fold == number
        absent = ~has[:, here].any(axis=1)
        for row in np.flatnonzero(absent):
            found[row, here] = wanted[np.ix_((arm == arm[row]) & ~absent, here)].any(axis=0)
    return found


def counting(cell: pd.DataFrame) -> pd.DataFrame:
    """The rows of one class and subgroup, without those of runs that lack too much of it.

    A seed's network that lacks more than half (`LACKING`) of the cell's images in its fold doesn't count: its scores
    become the means of the arm's networks of that fold which do, as if it were missing. A seed is left out that has no
    network that counts, or lacks images which aren't filled in; and an arm whose networks that count lack more than
    half of the cell's images.

    Args:
        cell: rows of `completed`.
    """
    run, runs = dense(combined_codes([cell["arm"], cell["seed"]])[0])
    item, items = dense(combined_codes([cell["subgroup"], cell["image"]])[0])
    fold, folds = folds_of(cell)
    arm = dense(combined_codes([cell["arm"]])[0])[0]
    of_run = arm[first_rows(run, len(runs))]
    arms, filled = int(arm.max()) + 1, cell["filled"].to_numpy()
    of_fold = np.bincount(fold[first_rows(item, len(items))], minlength=folds)
    measured = np.bincount((run * folds + fold)[~filled], minlength=len(runs) * folds).reshape(-1, folds)
    counts = (measured > 0) & (measured >= (1 - LACKING) * of_fold - 1e-9)
    has = np.bincount((arm * len(items) + item)[~filled & counts[run, fold]], minlength=arms * len(items)) > 0
    covered = has.reshape(arms, -1).mean(axis=1) >= 1 - LACKING - 1e-9
    stays = (np.bincount(run, minlength=len(runs)) == len(items)) & counts.any(axis=1) & covered[of_run]
    score = cell["score"].to_numpy(copy=True)
    ours = stays[run] & counts[run, fold]
    partial = np.zeros((arms, folds), bool)
    np.logical_or.at(partial, of_run, (measured > 0) & ~counts)
    place = arm * len(items) + item
    number = np.bincount(place[ours], minlength=arms * len(items))
    mean = np.bincount(place[ours], score[ours], arms * len(items)) / np.maximum(number, 1)
    moved = ~counts[run, fold] & partial[arm, fold] & (number[place] > 0)
    score[moved] = mean[place[moved]]
    kept: pd.DataFrame = cell.assign(score=score, filled=filled | ~counts[run, fold])[stays[run]]
    return kept.reset_index(drop=True)


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


def _filled(values: Floats, arm: Codes, stratum: Codes, fold: Codes, wanted: Bools, names: list[str]) -> Floats:
    """Values `(runs, items)` without NaN where they are wanted."""
    filled = values.copy()
    effect = np.zeros(values.shape)
    for number in np.unique(arm):
        own = np.flatnonzero(arm == number)
        for part in np.unique(fold):
            here = np.flatnonzero(fold == part)
            block = values[np.ix_(own, here)]
            lacks = wanted[np.ix_(own, here)] & np.isnan(block)
            there, trained = ~np.isnan(block).all(axis=0), ~np.isnan(block).all(axis=1)
            if not lacks.any() or not there.any():
                continue
            runs, items = additive(block[np.ix_(trained, there)], [names[j] for j in own[trained]])
            # A network that isn't there is taken to be like the mean of those that are: other folds don't tell.
            by_run = np.zeros(len(own))
            by_run[trained] = runs
            effect[np.ix_(own, here)] = by_run[:, None]
            estimate = by_run[:, None] + items
            filled[np.ix_(own, here[there])] = np.where(lacks[:, there], estimate, block[:, there])
    for part in np.unique(stratum):
        here = np.flatnonzero(stratum == part)
        with_part = np.flatnonzero(wanted[:, here].any(axis=1))
        block = filled[np.ix_(with_part, here)]
        if np.isnan(block).any():
            own_effect = effect[np.ix_(with_part, here)]
            try:
                filled[np.ix_(with_part, here)] = _by_arm(block, arm[with_part], own_effect, names)
            except ResultsError:
                if fold[here].min() == fold[here].max():
                    raise
                # A study that isn't finished can have an arm in some folds and another in the others: not compared yet.
    return filled


def _by_arm(block: Floats, arm: Codes, effect: Floats, names: list[str]) -> Floats:
    """The second step: a block of one subgroup, in which runs lack what no run of their arm has."""
    arms, of_run = np.unique(arm, return_inverse=True)
    means = np.stack([block[of_run == a].mean(axis=0) for a in range(len(arms))])
    own = np.stack([effect[of_run == a].mean(axis=0) for a in range(len(arms))])
    shift, items = additive(means, [names[int(np.argmax(of_run == a))] for a in range(len(arms))])
    estimate = shift[of_run][:, None] + items + (effect - own[of_run])
    return np.where(np.isnan(block), estimate, block)


def _refuse_repeated(rows: pd.DataFrame, run: Codes, item: Codes) -> None:
    repeated = pd.DataFrame({"run": run, "item": item}).duplicated().to_numpy()
    if repeated.any():
        row = rows.iloc[int(repeated.argmax())]
        raise ResultsError(
            f"{int(repeated.sum())} scores are there twice; the first: {row['arm']} seed {row['seed']}, image "
            f"{row['image']!r}, class {row['class']!r}, subgroup {row['subgroup']!r}"
        )


def _refuse_second_fold(first: pd.Series, row: pd.Series) -> None:
    raise ResultsError(
        f"image {row['image']!r} is in fold {first['fold']!r} and, for {row['arm']} seed {row['seed']}, in fold "
        f"{row['fold']!r}; expected each image in one fold"
    )
