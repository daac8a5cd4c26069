"""Did networks learn? Validation scores and losses by epoch."""

from analysis.figures.learning import build_learning
from analysis.figures.style import rendered
from analysis.report.data import ReportData
from analysis.report.section import Section, picture


def section(data: ReportData) -> Section | None:
    """Curves of each arm; None where no histories are known."""
    history = data.supplement.history
    if history is None or history.empty:
        return None
    drawing = rendered(build_learning(history, data.study.baseline), data.figure)
    over = "seeds and folds" if data.folds else "seeds"
    return Section(
        "Did networks learn?",
        (picture("learning", drawing, f"Validation F1 and training loss by epoch, mean over {over}"),),
    )
