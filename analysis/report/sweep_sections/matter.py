"""Importance of the settings."""

from analysis.figures.scores import Title
from analysis.figures.style import rendered
from analysis.figures.sweep_space import build_importance
from analysis.report.section import Part, Section, picture, to_csv
from analysis.report.sweep_data import SweepData
from analysis.sweeps.importance import FEWEST_TRIALS
from analysis.sweeps.wording import CAPTION_IMPORTANCE


def section(data: SweepData) -> Section | None:
    """The importance of each setting for validation F1; too few trials are said to be."""
    heading, ranked = "Which settings matter?", data.ranked
    if ranked.empty:
        few = f"With fewer than {FEWEST_TRIALS} scored trials nothing can be said."
        return Section(heading, (Part((), (few,), ()),))
    figure = Title(f"{data.title.text}: importance of settings", data.title.about)
    drawing, table = rendered(build_importance(ranked), figure), {"importance.csv": to_csv(ranked)}
    caption = "Importance of settings for validation F1"
    return Section(heading, (picture("importance", drawing, caption, (CAPTION_IMPORTANCE,), table),))
