"""Does size matter? Scores against the area of what is to be segmented."""

from analysis.figures.size import build_size
from analysis.figures.style import rendered
from analysis.report.data import ReportData
from analysis.report.section import Section, picture


def section(data: ReportData) -> Section | None:
    """F1 by area, from counts of pixels; None where there are none."""
    images, study = data.collected.images, data.study
    if data.overall is None or not data.counted or study.baseline not in set(images["arm"]):
        return None
    if not (images["tp"] + images["fn"]).any():
        return None
    drawing = rendered(build_size(images, study.arms, study.baseline), data.figure)
    return Section("", (picture("size", drawing, "F1 against the size of what is to be found"),))
