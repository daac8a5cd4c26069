"""Results by scores that counts of pixels don't give, of boundaries and of objects: those that `metaseg score` made."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.results.declaration import ResultsError
from analysis.results.extra_scores import AGAIN, read_scores
from analysis.results.store_rows import Collected
from analysis.scores.metrics import f1
from metaseg.schema import AS_TRAINED, COUNTS, HD95, OBJECTS, ROW, SURFACE, ExtraScore, score_file
from metaseg.store.storage import Storage

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

COLUMNS: dict[str, list[str]] = {
    "surface_dice": SURFACE,
    "hd95": [HD95],
    "object_f1": OBJECTS,
}
"""By metric: what it is made of."""

METRICS: Mapping[str, str] = {"surface_dice": "surface Dice", "hd95": "negative HD95 (px)", "object_f1": "object F1"}
"""What can be asked for, and what its scores are called: more is always better."""

WANTED: Mapping[str, ExtraScore] = {"surface_dice": "surface-dice", "hd95": "hd95", "object_f1": "objects"}
"""What `metaseg score` calls it."""

HD95_MARGIN = 1.0
"""Pixels. Studies declare a margin of F1, which says nothing of lengths; this is what a mask can resolve."""


def with_scores(collected: Collected, storage: Storage, metric: str) -> tuple[Collected, str]:
    """The study by another score, in the form that `analysis.scores.image_scores.image_scores` takes, and sentences on
    that score.

    Args:
        collected: its results: of `analysis.results.store_rows.collect`, or of `analysis.results.dataset.read_results`.
        storage: the store that has the runs' `scores`; not read where the rows hold them already.
        metric: one of `METRICS`.

    Returns:
        The results, whose rows hold `score` and `metric` instead of counts: more is better, so HD95 is negative
        (pixels), and the study's margin is `HD95_MARGIN` then. Only as trained. Images that no HD95 is of in some run
        are left out of all runs, so that all means are over the same ones; so are, where the study says so, images
        whose reference lacks the class.

    Raises:
        ResultsError: an unknown metric; results without counts; a finished run without these scores, or with those of
            other weights or another tolerance; no image that all runs have a score of.
    """
    if metric not in METRICS:
        raise ResultsError(f"unknown metric {metric!r}; known: {', '.join(METRICS)}")
    if "tp" not in collected.images:
        raise ResultsError(f"these results are scores of images from elsewhere; {metric} needs a network's predictions")
    images = collected.images[collected.images["evaluation"] == AS_TRAINED]
    if not set(COLUMNS[metric]) <= set(images):
        images = _joined(collected, images, storage, metric)
    elif lacking := _lacking(images, metric):
        names = ", ".join(lacking)
        raise ResultsError(
            f"{collected.path}: no {metric}, or none that is defined, of runs {names}; {_advice(collected, metric)}; "
            "then collect"
        )
    if collected.study.empty == "left out":
        images = images[(images["tp"] + images["fn"]).to_numpy() > 0]
    score, about = _scored(images, metric)
    known = _known(images, score)
    study = collected.study
    if not known.any():
        raise ResultsError(f"study {study.name!r}: no image has {metric} in all runs; expected at least one")
    if metric == "hd95":
        study = replace(study, margin=HD95_MARGIN)
        about += _undefined(images, score, known)
    made_of = {*COUNTS, *(name for names in COLUMNS.values() for name in names)}
    rows = images.drop(columns=[name for name in images if name in made_of]).assign(score=score, metric=METRICS[metric])
    return replace(collected, study=study, images=rows[known].reset_index(drop=True), metric=METRICS[metric]), about


def _scored(images: pd.DataFrame, metric: str) -> tuple[Floats, str]:
    """Each row's score, more being better, and what it is."""
    if metric == "object_f1":
        found, invented, missed = (images[name].to_numpy(np.int64) for name in OBJECTS)
        return f1(found, invented, missed), (
            "Scores are F1 of objects: connected components, found where predicted and reference object share at least "
            "half of their union."
        )
    if metric == "hd95":
        return -images["hd95"].to_numpy(np.float64), (
            "Scores are 95 % Hausdorff distances in pixels, shown as negative numbers so that more is better, with a "
            f"margin of {HD95_MARGIN:g} pixel."
        )
    tolerances = np.unique(images["surface_tolerance"].to_numpy(np.float64))
    if len(tolerances) > 1:
        raise ResultsError(
            f"runs have surface Dice with tolerances of {' and '.join(f'{each:g}' for each in tolerances)} pixels; "
            "expected one: metaseg score with that --tolerance"
        )
    return images["surface_dice"].to_numpy(np.float64), (
        f"Scores are surface Dice: the part of both boundaries that is within {tolerances[0]:g} pixels of the other."
    )


def _known(images: pd.DataFrame, score: Floats) -> Bools:
    """Rows of those images (subgroups, classes) of which all runs have a score."""
    undefined = pd.MultiIndex.from_frame(images.loc[np.isnan(score), ROW].astype(str)).drop_duplicates()
    if not len(undefined):
        return np.ones(len(images), bool)
    return np.asarray(~pd.MultiIndex.from_frame(images[ROW].astype(str)).isin(undefined))


def _undefined(images: pd.DataFrame, score: Floats, known: Bools) -> str:
    """How many images are left out since a mask was empty, and whose."""
    nothing = np.isnan(score)
    if not nothing.any():
        return " Every run has one of every image."
    wanted = (images["tp"] + images["fn"]).to_numpy() > 0
    total, left_out = len(images[ROW].drop_duplicates()), len(images.loc[~known, ROW].drop_duplicates())
    absent = len(images.loc[~known & ~wanted, ROW].drop_duplicates())
    missed = images.loc[nothing & wanted].groupby("arm", observed=True, sort=False).size()
    by_arm = ", ".join(f"{arm} {count}" for arm, count in missed.items())
    return (
        f" {left_out} of {total} images (times classes) are left out, since there is no distance to an empty mask: "
        f"{absent} whose reference is empty, {left_out - absent} in which a run found nothing"
        + (f" (by arm, over runs: {by_arm}; HD95 doesn't count that against them)." if by_arm else ".")
    )


def _joined(collected: Collected, images: pd.DataFrame, storage: Storage, metric: str) -> pd.DataFrame:
    """The rows with the columns of the runs' score files."""
    missing = set(collected.missing)
    runs = [run for run in collected.study.runs if run not in missing]
    tables, lacking = [], []
    for run in runs:
        scores = read_scores(storage, run)
        if scores is None or not set(COLUMNS[metric]) <= set(scores.column_names):
            lacking.append(str(run))
        else:
            tables.append(scores.select([*ROW, *COLUMNS[metric]]).to_pandas().assign(run_id=run.run_id))
    if lacking:
        raise ResultsError(
            f"{storage.where}: {len(lacking)} of {len(runs)} runs have no {metric}, the first is {lacking[0]}; "
            f"{_advice(collected, metric)}"
        )
    scores = pd.concat(tables, ignore_index=True)
    keys = ["run_id", *ROW]
    # Both are in the order of the study's runs, and of each run's test images.
    found, wanted = (pd.MultiIndex.from_frame(each[keys].astype(str)) for each in (scores, images))
    if not found.equals(wanted):
        other = wanted.symmetric_difference(found)
        run_id, image = map(str, (other if len(other) else wanted)[0][:2])
        path = storage.locate(score_file(run_id))
        raise ResultsError(f"{path}: its rows aren't those of the run's images.parquet (image {image!r}); {AGAIN}")
    return images.assign(**{column: scores[column].to_numpy() for column in COLUMNS[metric]})


def _lacking(images: pd.DataFrame, metric: str) -> list[str]:
    """Ids of runs that have no such scores. Of HD95, which is missing where undefined, of runs without any."""
    there = images[COLUMNS[metric][0]].notna().groupby(images["run_id"], observed=True).any()
    return list(map(str, there.index[~there]))


def _advice(collected: Collected, metric: str) -> str:
    return f"compute them: metaseg score STORE --study {collected.study.name} --scores {WANTED[metric]}"
