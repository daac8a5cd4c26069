"""Did networks learn? Validation scores and losses by epoch."""

from analysis.figures.learning import draw_learning
from analysis.report.data import ReportData
from analysis.report.section import Section, picture


def section(data: ReportData) -> Section | None:
    """Curves of each arm; None where no histories are known."""
    history = data.supplement.history
    if history is None or history.empty:
        return None
    content = draw_learning(history, data.figure, data.study.baseline)
    return Section("", (picture("learning.png", content, "Validation F1 and training loss by epoch, mean over seeds"),))
