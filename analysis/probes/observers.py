"""Networks beside humans: scores of both against one annotator's masks, on the same images."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from analysis.scores.metrics import METRICS
from analysis.scores.score_matrix import ScoreMatrix, score_matrices
from metaseg.schema import MACRO, Average, Empty

NETWORK, HUMAN = "network", "human"
"""The two arms of a matrix here. The human's scores are the same for all seeds."""


@dataclass(frozen=True)
class Beside:
    """Scores of an arm's networks and of the other humans against the same masks."""

    arm: str
    annotator: str
    """Subgroup of the masks; `OVERALL` for all of them."""
    matrix: ScoreMatrix
    """Arms `HUMAN` and `NETWORK`, on the same images."""


def human_scores(observers: pd.DataFrame, leading: str, metric: str, empty: Empty) -> pd.DataFrame:
    """Mean score of the other annotators' masks against each mask.

    Args:
        observers: of `analysis.results.observers.read_observers`.
        leading: class that is scored; `MACRO` for the mean over classes.
        metric: one of `analysis.scores.metrics.METRICS`.
        empty: score of a mask that lacks the class.

    Returns:
        Columns subgroup, image and human, one row a mask.
    """
    rows = observers if leading == MACRO else observers[observers["class"] == leading]
    if empty == "left out":
        rows = rows[rows["tp"] + rows["fn"] > 0]
    counts = [rows[name].to_numpy() for name in ("tp", "fp", "fn")]
    scored = rows.assign(human=METRICS[metric](*counts))
    return scored.groupby(["subgroup", "image"], sort=False)["human"].mean().reset_index()


def beside_humans(scores: pd.DataFrame, humans: pd.DataFrame, average: Average = "images") -> Iterator[Beside]:
    """Pair each arm's scores with the humans', on all masks that both have, and by annotator.

    Args:
        scores: of one class, by `analysis.scores.image_scores.image_scores`.
        humans: of `human_scores`.
        average: mean over images, or over subgroups.
    """
    kinds = pd.CategoricalDtype([HUMAN, NETWORK], ordered=True)
    texts = scores.astype({"subgroup": str, "image": str})
    both = texts.merge(humans, on=["subgroup", "image"])
    for arm, own in both.groupby(both["arm"].astype(str), sort=False):
        network = own.assign(arm=NETWORK).drop(columns="human")
        human = own.assign(arm=HUMAN, score=own["human"]).drop(columns="human")
        rows = pd.concat([human, network], ignore_index=True).astype({"arm": kinds})
        for _, annotator, matrix in score_matrices(rows, average):
            yield Beside(str(arm), annotator, matrix)
