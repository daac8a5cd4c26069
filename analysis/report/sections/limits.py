"""Caveats of every test here, and of this study."""

import pandas as pd

from analysis.report.data import ReportData
from analysis.report.declared import from_elsewhere
from analysis.report.opening import untold_values
from analysis.report.section import Part, Section
from analysis.stats.calibration import calibration_sentence
from analysis.wording import listed


def section(data: ReportData) -> Section:
    """The caveats that apply to these results."""
    study, names = data.study, data.names
    if from_elsewhere(data.collected):
        words = [
            "All results are conditional on these scores, and on the settings and the split that they were made with, "
            "of which the table says nothing."
        ]
    else:
        settings = (
            "the settings that one search in each arm found: another search may find others."
            if data.supplement.tuned
            else "the settings that the study gave its arms: an arm may gain from settings of its own."
        )
        split = f"one partition of one dataset into {data.folds} folds" if data.folds else "one split of one dataset"
        words = [f"All results are conditional on {split}, and on {settings}"]
    if data.folds:
        words.append(
            f"Networks of different folds share training {names.images}, and {names.images} that one fold tests train "
            "the networks of others. Intervals are widened for that, and p-values raised. They are meant for new "
            f"{names.units}, new seeds and training sets like these, but the rule isn't exact: in trials with trained "
            "networks, 7 and 10 % of such intervals missed the true difference, instead of 5 %."
        )
    if said := untold_values(data.collected):
        words.append(f"{said} What metadata is worth there is thus not tested.")
    if study.sequential is not None and data.course is None:
        words.insert(0, f"Looks were at F1: p-values and intervals of {names.score} don't allow for them.")
    related = (
        f"{names.groups} are related to each other (a slide, a site)"
        if names.grouped
        else f"{names.images} are related (wells, patients)"
    )
    words.append(
        f"{names.tested.capitalize()} are treated as a random sample of those of interest. If {related} and the table "
        "doesn't say so, p-values are too small."
    )
    tested = data.declared[data.declared["p_adjusted"].notna()]
    if len(tested):
        words.append("The F test assumes that means of runs are normally distributed. " + _calibration(tested))
    if (data.tests["verdict"] == "no evidence").any():
        words.append(
            "no evidence isn't evidence of no effect: look at the interval, and at the difference that would have been "
            "detected."
        )
    if "SIMULATED" in study.about:
        words.insert(
            0, "The images are simulated: this shows that the system finds what was put there, and nothing else."
        )
    return Section("Caveats", (Part((), tuple(words), ()),))


def _calibration(tests: pd.DataFrame) -> str:
    """Error rates known for each comparison's design; said once where they are the same for all."""
    said = {f"{row['arm']} against {row['reference']}": calibration_sentence(row) for _, row in tests.iterrows()}
    if len(set(said.values())) == 1:
        return next(iter(said.values()))
    same: dict[str, list[str]] = {}
    for pair, sentence in said.items():
        same.setdefault(sentence, []).append(pair)
    return " ".join(f"{listed(pairs)}: {sentence}" for sentence, pairs in same.items())
