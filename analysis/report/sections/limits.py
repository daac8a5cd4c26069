"""What can't these results say? The caveats of every test here, and those of this study."""

import pandas as pd

from analysis.report.data import ReportData
from analysis.report.declared import from_elsewhere
from analysis.report.section import Part, Section
from analysis.stats.calibration import calibration_sentence
from analysis.wording import listed


def section(data: ReportData) -> Section:
    """What no test of these results can say."""
    study, names = data.study, data.names
    if from_elsewhere(data.collected):
        settings = "whatever settings and split they were made with, of which the table says nothing."
        words = [f"All is conditional on these scores, and on {settings}"]
    else:
        settings = (
            "the settings that one search in each arm found: another search may find others."
            if data.supplement.tuned
            else "the settings that the study gave its arms: an arm may gain by others of its own."
        )
        words = [f"All is conditional on one split of one dataset, and on {settings}"]
    words.append(
        f"{names.tested.capitalize()} are taken as a sample of those that matter. "
        + (
            ""
            if names.grouped
            else f"Where {names.images} belong together (wells, patients), and the table doesn't say so, "
        )
        + (
            f"Where {names.groups} themselves belong together (a slide, a site), and the table doesn't say so, "
            if names.grouped
            else ""
        )
        + "p-values are too small."
    )
    tested = data.declared[data.declared["p_adjusted"].notna()]
    if len(tested):
        words.append("The F test takes means of runs for normal. " + _calibration(tested))
    if (data.tests["verdict"] == "no evidence").any():
        words.append(
            "no evidence isn't evidence of no effect: look at the interval, and at the difference that would have been "
            "found."
        )
    if "SIMULATED" in study.about:
        words.insert(0, "The images are simulated: this shows that the system finds what was put there, nothing else.")
    return Section("Caveats", (Part((), tuple(words), ()),))


def _calibration(tests: pd.DataFrame) -> str:
    """What is known of each comparison's design; once where that is the same for all."""
    said = {f"{row['arm']} against {row['reference']}": calibration_sentence(row) for _, row in tests.iterrows()}
    if len(set(said.values())) == 1:
        return next(iter(said.values()))
    same: dict[str, list[str]] = {}
    for pair, sentence in said.items():
        same.setdefault(sentence, []).append(pair)
    return " ".join(f"{listed(pairs)}: {sentence}" for sentence, pairs in same.items())
