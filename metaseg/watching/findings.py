"""Verdicts of a study: declared ones where there are some, else how far apart arms are until now, and no more."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from metaseg.cli.status import StudyStatus
from metaseg.store.runs import Store

if TYPE_CHECKING:
    import pandas as pd

    from analysis.report.last_report import LastReport
    from analysis.results.declaration import Study


@dataclass(frozen=True)
class Finding:
    """Sentences on a study's comparisons."""

    final: bool
    """True if they are verdicts that stay: of all runs that were declared, or of looks that decided everything."""
    about: str
    """Sentence on the runs or looks that they rest on."""
    lines: tuple[tuple[str, str], ...] = ()
    """Comparisons, each with what is known of it."""
    report: str = ""
    """Name, in the store, of the last report's page; empty if there is none."""


class Findings:
    """Computes findings, again only where further runs are done or the report is another."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, tuple[object, Finding]] = {}

    def of(self, status: StudyStatus, done: frozenset[str]) -> Finding:
        """Findings of a study of which the runs `done` are done; what can't be read is said in `about`."""
        from analysis.report.last_report import LastReport
        from analysis.results.declaration import ResultsError

        last = LastReport.read(self._store.storage, status.name)
        state = (done, status.looks, status.open, status.runs, last.page, last.digest)
        known = self._known.get(status.name)
        if known and known[0] == state:
            return known[1]
        try:
            finding = self._find(status, done, last)
        except (ResultsError, OSError, ValueError) as error:
            finding = Finding(False, f"No verdicts: {error}", report=last.page)
        self._known[status.name] = (state, finding)
        return finding

    def _find(self, status: StudyStatus, done: frozenset[str], last: "LastReport") -> Finding:
        from analysis.results.declaration import read_study

        report = last.page
        study = read_study(self._store.storage, status.name)
        if study.sequential:
            return self._of_looks(study, status, report)
        if status.done == status.runs and status.runs:
            return _declared(study, last)
        if not done:
            return Finding(False, "No run is done yet.", report=report)
        return self._so_far(study, status, report)

    def _of_looks(self, study: "Study", status: StudyStatus, report: str) -> Finding:
        from analysis.report.looks_wording import outcome_of
        from analysis.results.looks import Rule, read_looks
        from analysis.stats.sequential import standings
        from metaseg.schema import looks_file

        storage = self._store.storage
        rule = Rule.from_record(dict(study.sequential or {}), storage.locate(looks_file(study.name)))
        looks = read_looks(storage, study.name)
        if not looks:
            first = rule.looks[0]
            return Finding(False, f"Nothing is tested before the first look, at {first} seeds an arm.", report=report)
        each = standings(looks, rule, study.comparisons)
        more = looks[-1].seeds < rule.looks[-1]
        lines = tuple((one.name, outcome_of(one, study.margin, more)) for one in each)
        about = f"From look {len(looks)} of at most {len(rule.looks)}, at {looks[-1].seeds} seeds an arm."
        return Finding(not any(one.open for one in each), about, lines, report)

    def _so_far(self, study: "Study", status: StudyStatus, report: str) -> Finding:
        from analysis.results.merge import peek
        from analysis.scores.image_scores import image_scores
        from analysis.stats.comparisons import leading_class

        collected = peek(self._store.storage, study.name)
        declared = collected.study
        scores = image_scores(collected.images, declared.arms, collected.metric, declared.empty, declared.folds)
        scores = scores[scores["class"] == leading_class(scores["class"].unique(), declared.endpoint)]
        lines = tuple(
            (f"{each.arm} against {each.reference}", _apart(scores, each.arm, each.reference))
            for each in declared.comparisons
        )
        about = (
            f"Of {status.done} of {status.runs} runs. Comparisons are tested when all are done: until then there are "
            "neither p-values nor intervals, and a difference may still change its sign."
        )
        return Finding(False, about, lines, report)


def _declared(study: "Study", last: "LastReport") -> Finding:
    """Verdicts that the last report gives, if it is of all runs and no others."""
    from analysis.stats.comparisons import leading_class
    from metaseg.schema import OVERALL

    if not last.page:
        return Finding(False, "All runs are done. `analysis report` writes the report with the verdicts.")
    if last.tests is None:
        return Finding(False, "All runs are done. The report's tests.csv can't be read.", report=last.page)
    declared = {run.run_id for run in study.runs}
    if last.runs != declared:
        about = (
            f"All {len(declared)} declared runs are done, but the last report is of {len(last.runs & declared)} of "
            f"them{' and of others' if last.runs - declared else ''}: `analysis report` writes it anew."
        )
        return Finding(False, about, report=last.page)
    leading = leading_class(last.tests["class"].unique(), study.endpoint)
    rows = last.tests[(last.tests["class"] == leading) & (last.tests["subgroup"] == OVERALL)]
    lines = tuple(
        (f"{row.arm} against {row.reference}", f"{row.verdict}: difference of F1 {row.difference:+.3f}")
        for row in rows.itertuples()
    )
    return Finding(True, "All declared runs are done; these are the verdicts of the last report.", lines, last.page)


def _apart(scores: "pd.DataFrame", arm: str, reference: str) -> str:
    """Mean difference of F1 on images, folds and seeds that two arms share."""
    key = ["seed", "fold", "subgroup", "image"]
    one, other = (scores.loc[scores["arm"] == name, [*key, "score"]] for name in (arm, reference))
    both = one.merge(other, on=key, suffixes=("", "_reference"))
    if both.empty:
        return "no runs of equal seed and fold yet"
    apart = float((both["score"] - both["score_reference"]).mean())
    seeds = both["seed"].nunique()
    return f"until now {apart:+.3f} F1, on {both['image'].nunique()} images with {seeds} seed{'s' * (seeds > 1)}"
