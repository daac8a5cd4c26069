"""The sections of a study's report, one file a question.

Each file has a function `section` from `ReportData` to a `Section`, or to None where the question can't be asked of the
study. It holds the question's tables, captions, figures, and what Methods says and cites of it. A new one needs a line
in `SECTIONS`.
"""

from collections.abc import Callable

from analysis.report.data import ReportData
from analysis.report.section import Section
from analysis.report.sections import (
    controls,
    differences,
    difficulty,
    images,
    interaction,
    labels,
    learning,
    limits,
    looks,
    methods,
    observers,
    power,
    provenance,
    ranks,
    resampling,
    scores,
    seeds,
    size,
    study_files,
    tuning,
    variance,
    verdicts,
)

SECTIONS: tuple[Callable[[ReportData], Section | None], ...] = (
    scores.section,
    verdicts.section,
    differences.section,
    looks.section,
    interaction.section,
    power.section,
    variance.section,
    images.section,
    ranks.section,
    size.section,
    seeds.section,
    learning.section,
    tuning.section,
    controls.section,
    labels.section,
    observers.section,
    difficulty.section,
    resampling.section,
    study_files.section,
    methods.section,
    limits.section,
    provenance.section,
)
"""In the order of the report. Methods describes those that come before it."""
