"""Does size matter? Scores against the area of what is to be segmented."""

from analysis.figures.size import draw_size
from analysis.report.data import ReportData
from analysis.report.section import Section, picture


def section(data: ReportData) -> Section | None:
    """F1 by area, from counts of pixels; None where there are none."""
    images, study = data.collected.images, data.study
    if data.overall is None or not data.counted or study.baseline not in set(images["arm"]):
        return None
    if not (images["tp"] + images["fn"]).any():
        return None
    content = draw_size(images, study.arms, study.baseline, data.figure)
    return Section("", (picture("size.png", content, "F1 against the size of what is to be found"),))
