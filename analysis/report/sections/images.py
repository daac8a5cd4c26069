"""Images that gain: the most promising arm against the baseline, image by image."""

import numpy as np

from analysis.figures.paired import build_paired
from analysis.figures.style import rendered
from analysis.report.data import ReportData
from analysis.report.section import Section, picture


def section(data: ReportData) -> Section | None:
    """Each image's score by the arm with the largest gain of those that are expected to differ from the baseline."""
    matrix, baseline = data.overall, data.study.baseline
    if matrix is None:
        return None
    pairs = [each for each in data.study.comparisons if {each.arm, each.reference} <= set(matrix.arms)]
    told = [each.arm for each in pairs if each.claim == "differs" and each.reference == baseline]
    if not told:
        return None
    means = data.declared[data.declared["reference"] == baseline].set_index("arm")["difference"]
    best = max(told, key=lambda arm: float(means.get(arm, -np.inf)))
    drawing = rendered(build_paired(data.own, best, baseline, data.names), data.figure)
    return Section(
        f"Which {data.names.images} gain?",
        (picture("paired", drawing, f"Score of each {data.names.image}: {best} against {baseline}"),),
    )
