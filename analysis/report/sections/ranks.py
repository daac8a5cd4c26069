"""Which arm is best, and how sure is that?"""

import numpy as np

from analysis.figures.ranks import build_ranks, known, rank_stability
from analysis.figures.style import rendered
from analysis.report.data import ReportData
from analysis.report.section import Section, picture


def section(data: ReportData) -> Section | None:
    """How arms would rank on new images with new seeds; the same rows give the same draws."""
    matrix = data.overall
    if matrix is None or len(matrix.arms) < 2 or not known(matrix):
        return None
    drawing = rendered(build_ranks(rank_stability(matrix, np.random.default_rng(0)), data.names), data.figure)
    caption = f"How sure the arms' ranks are for new seeds and {data.names.images}"
    return Section("", (picture("ranks", drawing, caption),))
