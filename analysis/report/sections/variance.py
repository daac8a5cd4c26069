"""Where does variance come from: images, seeds, or how arms take to single images?"""

from analysis.figures.style import rendered
from analysis.figures.variance import build_variance, variance_table
from analysis.report.data import ReportData
from analysis.report.section import Section, picture
from analysis.stats.mrmc import difference


def section(data: ReportData) -> Section | None:
    """The variance components of each arm's difference from the baseline; None where there are too few runs."""
    matrix = data.overall
    if matrix is None:
        return None
    pairs = [each for each in data.study.comparisons if {each.arm, each.reference} <= set(matrix.arms)]
    found = [
        difference(matrix, each.arm, each.reference, data.study.seeds)
        for each in pairs
        if each.reference == data.study.baseline
    ]
    known = [each for each in found if each.components is not None]
    if not known:
        return None
    caption = f"Variance components: {data.names.images}, seeds, arm x {data.names.image}, and error"
    drawing = rendered(build_variance(variance_table(known), data.names), data.figure)
    return Section("Where does variance come from?", (picture("variance", drawing, caption),))
