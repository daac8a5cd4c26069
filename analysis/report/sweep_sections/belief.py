"""Trust in the best score, and what to do next."""

from analysis.report.section import Part, Section
from analysis.report.sweep_data import SweepData
from analysis.sweeps.wording import belief_sentences


def section(data: SweepData) -> Section | None:
    """Reasons to doubt the best score, and suggestions for the next sweep."""
    words = tuple(belief_sentences(data.sweep, data.trials))
    return Section("How good is it, and what next?", (Part((), words, ()),))
