"""The input of every section of a report: a study's results, its scores, and the tests of its comparisons."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from analysis.figures.scores import Title
from analysis.report.declared import from_elsewhere, names_of
from analysis.report.section import Section
from analysis.results.declaration import Comparison, Study
from analysis.results.looks import Look, Rule
from analysis.results.store_rows import Collected
from analysis.scores.image_scores import image_scores, summarise
from analysis.scores.score_matrix import ScoreMatrix, score_matrices
from analysis.stats.comparisons import compare, leading_class
from analysis.stats.interaction import LEAST_UNITS, Interaction, interaction
from analysis.stats.multiple_testing import holm
from analysis.stats.replay import as_decided, replay
from analysis.stats.sequential import Standing, standings
from analysis.sweeps.trials import Sweep
from analysis.wording import Names
from metaseg.schema import OVERALL


@dataclass(frozen=True)
class Supplement:
    """Things that a report shows besides its results, as far as they are known."""

    history: pd.DataFrame | None = None
    """Learning curves, from `analysis.figures.learning.read_history`."""
    runs: pd.DataFrame | None = None
    """Origin of each run, from `analysis.report.sections.provenance.provenance`."""
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    """PNGs that the study drew, by file name ("overlays.png")."""
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """Small tables of the study ("distribution")."""
    tuned: Mapping[str, tuple[Sweep, pd.DataFrame]] = field(default_factory=dict)
    """Sweeps of the arms, if these were tuned, from `analysis.sweeps.trials.read_arm_sweeps`."""
    failed: Collection[str] = ()
    """Ids of runs that failed when they were last tried."""
    looks: tuple[Look, ...] = ()
    """Looks that the study took, from `analysis.results.looks.read_looks`."""
    observers: pd.DataFrame | None = None
    """Counts of annotators' masks against each other, from `analysis.results.observers.read_observers`."""


@dataclass(frozen=True)
class Course:
    """The looks of a study, and where its comparisons stand after them."""

    rule: Rule
    looks: tuple[Look, ...]
    standings: tuple[Standing, ...]


@dataclass(frozen=True)
class ReportData:
    """The input of all sections; made by `report_data`."""

    collected: Collected
    """The results: rows, declarations, missing runs."""
    names: Names
    """Names of scores, images and groups."""
    scores: pd.DataFrame
    """A score for each run, class and image (`analysis.scores.image_scores.image_scores`)."""
    cells: pd.DataFrame
    """Mean score by class, arm and subgroup (`analysis.scores.image_scores.summarise`)."""
    tests: pd.DataFrame
    """The declared comparisons (`analysis.stats.comparisons.compare`)."""
    leading: str
    """The class that is concluded on."""
    matrices: Mapping[str, ScoreMatrix]
    """This class's scores as runs by units: by subgroup, and `OVERALL` where runs cover all images."""
    interactions: Sequence[Interaction]
    """Tests of arm x subgroup of this class, p corrected over them."""
    figure: Title
    """Above each figure."""
    supplement: Supplement
    course: Course | None = None
    """Looks of a study that adds seeds until its comparisons are decided; None for others."""
    styled: bool = False
    """True if the terminal shows bold and underlined text."""
    before: tuple[Section, ...] = ()
    """The sections that were made so far: Methods describes them."""

    @property
    def study(self) -> Study:
        """The declaration: arms, comparisons, margin."""
        return self.collected.study

    @property
    def column(self) -> str:
        """Name of the column of subgroups, e.g. "cell_line"."""
        return self.collected.subgroup_column

    @property
    def folds(self) -> int:
        """Number of folds that have rows; 0 where there is one split."""
        return self.collected.images["fold"].nunique() if self.study.folds else 0

    @property
    def overall(self) -> ScoreMatrix | None:
        """The scores on all images of the class that is concluded on; None where no run covers them all."""
        return self.matrices.get(OVERALL)

    @property
    def own(self) -> pd.DataFrame:
        """`scores` of the class that is concluded on."""
        return self.scores[self.scores["class"] == self.leading]

    @property
    def concluded(self) -> pd.DataFrame:
        """`tests` of the class that is concluded on."""
        return self.tests[self.tests["class"] == leading_class(self.tests["class"].unique(), self.study.endpoint)]

    @property
    def declared(self) -> pd.DataFrame:
        """`concluded` on all images: a row for each declared comparison whose arms have runs."""
        return self.concluded[self.concluded["subgroup"] == OVERALL]

    @property
    def uncounted(self) -> tuple[str, ...]:
        """Arms with scores, of which no run counts on all images: they lack too many of them."""
        counted = set(self.cells.loc[self.cells["subgroup"] == OVERALL, "arm"])
        return tuple(arm for arm in self.study.arms if arm in set(self.scores["arm"]) - counted)

    @property
    def counted(self) -> bool:
        """True if scores come from counts of pixels."""
        return "tp" in self.collected.images

    @property
    def looked_at(self) -> tuple[Comparison, ...]:
        """Declared comparisons that may be tested: not those whose first look is still to come."""
        return _looked_at(self.study, self.course)

    @property
    def scope(self) -> str:
        """An addition to titles of tables: the column of subgroups, and a warning if runs are missing."""
        by = f" by {self.column}" if self.scores["subgroup"].nunique() > 1 else ""
        return by + self.incomplete

    @property
    def incomplete(self) -> str:
        """A warning behind a title where runs are missing, else empty."""
        return " (INCOMPLETE)" if self.collected.missing else ""


def report_data(collected: Collected, supplement: Supplement, styled: bool) -> ReportData:
    """Score the results and test the declared comparisons.

    Raises:
        analysis.results.declaration.ResultsError: a subgroup has the name of a row that tables need.
    """
    study, names = collected.study, names_of(collected)
    scores = image_scores(collected.images, study.arms, collected.metric, study.empty, study.folds)
    leading = leading_class(scores["class"].unique(), study.endpoint)
    by_subgroup = {
        subgroup: matrix for name, subgroup, matrix in score_matrices(scores, study.average) if name == leading
    }
    on = f" on {names.tested}" + ("" if from_elsewhere(collected) else f" of {study.dataset}")
    incomplete = " (INCOMPLETE)" if collected.missing else ""
    tests = compare(scores, study.comparisons, study.margin, study.average, study.endpoint, study.seeds)
    course = course_of(collected, scores, supplement.looks)
    if course is not None:
        tests = as_decided(tests, course.standings, study.endpoint)
    return ReportData(
        collected,
        names,
        scores,
        summarise(scores, study.average),
        tests,
        leading,
        by_subgroup,
        _interactions(study, _looked_at(study, course), by_subgroup),
        Title(f"{study.name}: {names.score}{on}{incomplete}", study.about, names),
        supplement,
        course,
        styled,
    )


def course_of(collected: Collected, scores: pd.DataFrame, recorded: Sequence[Look]) -> Course | None:
    """The looks of a study with a rule: those that it recorded, else those that follow from its runs.

    None without a rule, and for other scores than the one that was looked at.
    """
    study = collected.study
    if study.sequential is None or collected.metric != "f1":
        return None
    rule, looks = Rule.from_record(study.sequential, f"study {study.name!r}"), tuple(recorded)
    if not looks and not collected.missing:
        looks = replay(scores, rule, study.comparisons, study.margin, study.average, study.endpoint, design=study.seeds)
    return Course(rule, looks, tuple(standings(looks, rule, study.comparisons)))


def _looked_at(study: Study, course: Course | None) -> tuple[Comparison, ...]:
    unseen = {(each.arm, each.reference) for each in course.standings if each.last is None} if course else set()
    return tuple(each for each in study.comparisons if (each.arm, each.reference) not in unseen)


def _interactions(
    study: Study, comparisons: Sequence[Comparison], by_subgroup: Mapping[str, ScoreMatrix]
) -> list[Interaction]:
    """Tests arm x subgroup for each declared comparison of an arm that is expected to differ from the baseline.

    Comparisons of which no run of an arm has all subgroups are left out. p is corrected by Holm's method over them.
    """
    parts = {name: matrix for name, matrix in by_subgroup.items() if name != OVERALL and matrix.size >= LEAST_UNITS}
    units = [unit for matrix in parts.values() for unit in matrix.units]
    if len(set(units)) < len(units):  # an image with several tasks is in several subgroups
        return []
    found = []
    for comparison in comparisons:
        pair = {comparison.arm, comparison.reference}
        fit = {name: matrix for name, matrix in parts.items() if pair <= set(matrix.arms)}
        shared = [set.intersection(*(set(each.seeds_of(arm)) for each in fit.values())) for arm in pair if len(fit) > 1]
        declared = comparison.claim == "differs" and comparison.reference == study.baseline
        if declared and shared and all(shared):
            found.append(interaction(fit, comparison.arm, comparison.reference))
    if not found:
        return []
    return [
        replace(each, p=float(p)) for each, p in zip(found, holm(np.array([each.p for each in found])), strict=True)
    ]
