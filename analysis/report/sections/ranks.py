"""Ranks of the arms, and how sure they are."""

import numpy as np

from analysis.figures.ranks import build_ranks, known, rank_stability
from analysis.figures.style import rendered
from analysis.report.data import ReportData
from analysis.report.section import Section, picture


def section(data: ReportData) -> Section | None:
    """Probabilities of ranks on new images with new seeds; the same rows give the same draws. None with folds."""
    matrix = data.overall
    # The draws would take folds for independent, which they aren't (`analysis.stats.mrmc`).
    if matrix is None or len(matrix.arms) < 2 or len(set(matrix.fold)) > 1 or not known(matrix):
        return None
    drawing = rendered(build_ranks(rank_stability(matrix, np.random.default_rng(0)), data.names), data.figure)
    caption = f"Probability of each rank, for new {data.names.images} and new seeds"
    return Section("Which arm is best?", (picture("ranks", drawing, caption),))
