"""Labels that are missing or wrong: scores of the same networks when they are told the truth and when they aren't."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from analysis.probes.controls import metadata_columns
from analysis.scores.image_scores import image_scores
from analysis.scores.score_matrix import ScoreMatrix, score_matrices
from metaseg.schema import AS_TRAINED, META, OVERALL, UNKNOWN, ZEROS, Average, Empty

TRUTH, INSTEAD = "truth", "instead"
"""The two arms of a matrix here: networks as trained, and the same networks told something else."""

Kind = Literal["nothing", "unknown", "without", "wrong"]

KEY = ["class", "seed", "fold", "subgroup", "group", "image"]


@dataclass(frozen=True)
class Told:
    """Scores of an arm's networks that are told something else than the truth, beside those with the truth."""

    arm: str
    kind: Kind
    """All metadata are zero; they are said to be unknown; a column is; or a column has wrong values: the mean over all
    that networks were told."""
    column: str
    """The column, empty where it is all of them."""
    matrix: ScoreMatrix
    """Arms `INSTEAD` and `TRUTH`, of the same networks on the same images."""


def told_instead(
    images: pd.DataFrame,
    leading: str,
    metric: str = "f1",
    average: Average = "images",
    empty: Empty = "one",
    folds: Sequence[str] = (),
) -> Iterator[Told]:
    """Scores of each arm, on all images, told something else than the truth.

    An image without a value of a column isn't told a wrong one.

    Args:
        images: rows of `analysis.results.store_rows.Collected.images`, with counts of pixels.
        leading: class that is scored, as `analysis.scores.image_scores.image_scores` names it.
        metric: score, by name.
        average: mean over images, or over subgroups.
        empty: score of an image whose reference lacks the class.
        folds: all folds of the study.
    """
    columns = metadata_columns(images)
    for arm in images["arm"].unique():
        own = images[images["arm"] == arm]
        asked = _asked(list(map(str, own["evaluation"].unique())), columns)
        if not asked:
            continue
        scores = _scored(own, asked, columns, metric, empty, folds)
        scores = scores[scores["class"] == leading]
        truth = scores.loc[scores["arm"] == AS_TRAINED, [*KEY, "score"]]
        for (kind, column), evaluations in asked.items():
            told = scores[scores["arm"].isin(evaluations)]
            told = told.groupby(KEY, observed=True, sort=False)["score"].mean().reset_index()
            both = truth.merge(told, on=KEY, suffixes=(TRUTH, INSTEAD))
            if len(both) and (matrix := _matrix(both, average)):
                yield Told(str(arm), kind, column, matrix)


def _asked(evaluations: Sequence[str], columns: dict[str, bool]) -> dict[tuple[Kind, str], list[str]]:
    """Names of the evaluations that answer each question."""
    asked: dict[tuple[Kind, str], list[str]] = {}
    for name in evaluations:
        column, _, value = name.partition("=")
        if name in (ZEROS, UNKNOWN):
            asked.setdefault(("nothing" if name == ZEROS else "unknown", ""), []).append(name)
        elif column in columns:
            asked.setdefault(("without" if value == UNKNOWN else "wrong", column), []).append(name)
    order = ("nothing", "unknown", "without", "wrong")
    return dict(sorted(asked.items(), key=lambda item: (order.index(item[0][0]), item[0][1])))


def _scored(
    own: pd.DataFrame,
    asked: dict[tuple[Kind, str], list[str]],
    columns: dict[str, bool],
    metric: str,
    empty: Empty,
    folds: Sequence[str],
) -> pd.DataFrame:
    """Scores of an arm's images, each evaluation as an arm of its name."""
    evaluations = [AS_TRAINED, *(name for names in asked.values() for name in names)]
    rows = own[own["evaluation"].isin(evaluations)]
    for (kind, column), names in asked.items():
        if kind == "wrong":
            true = rows[META + column]
            known = true.notna() & (columns[column] | (true.astype(str) != UNKNOWN))
            rows = rows[known | ~rows["evaluation"].isin(names)]
    rows = rows.drop(columns=["arm", "part"], errors="ignore")
    rows = rows.assign(arm=rows["evaluation"].astype(str), evaluation=AS_TRAINED)
    return image_scores(rows, evaluations, metric, empty, folds)


def _matrix(both: pd.DataFrame, average: Average) -> ScoreMatrix | None:
    """The matrix of all images, from rows with two scores; None where no run covers them."""
    arms = pd.CategoricalDtype([INSTEAD, TRUTH], ordered=True)
    parts = [both.assign(arm=arm, score=both[f"score{arm}"]) for arm in (INSTEAD, TRUTH)]
    scores = pd.concat(parts, ignore_index=True).astype({"arm": arms})
    _, subgroup, matrix = next(score_matrices(scores, average), ("", "", None))
    return matrix if subgroup == OVERALL else None
