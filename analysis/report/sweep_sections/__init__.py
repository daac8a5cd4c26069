"""The sections of a sweep's report, one file a question, as in `analysis.report.sections`."""

from collections.abc import Callable

from analysis.report.section import Section
from analysis.report.sweep_data import SweepData
from analysis.report.sweep_sections import belief, best, course, matter, pareto, provenance, space, spent

SECTIONS: tuple[Callable[[SweepData], Section | None], ...] = (
    best.section,
    belief.section,
    spent.section,
    matter.section,
    space.section,
    course.section,
    pareto.section,
    provenance.section,
)
"""In the order of the report."""
