"""Did metadata help? A verdict on each arm for each subgroup, and how it was reached."""

from collections.abc import Sequence

import pandas as pd

from analysis.report.conclusion import needed
from analysis.report.data import ReportData
from analysis.report.declared import sees_metadata
from analysis.report.grid import Cell, Emphasis, Grid
from analysis.report.section import Part, Section, to_csv
from analysis.results.declaration import Study
from analysis.stats.calibration import unlike_comparisons
from analysis.stats.comparisons import FEWEST_UNITS, leading_class
from analysis.stats.mrmc import widening
from analysis.wording import NAMES, Names, format_p, listed
from metaseg.schema import ALPHA, OVERALL

VERDICTS: dict[str, Emphasis] = {"helps": "helps", "hurts": "hurts", "equal": "plain"}
"""Style of each verdict; others are faint."""

TEST = (
    "Dorfman, Berbaum, Metz (1992), Investigative Radiology 27:723. Hillis (2007), Statistics in Medicine 26:596; "
    "(2014), 33:330."
)
HOLM = "Holm (1979), Scandinavian Journal of Statistics 6:65."
EXPLORATION = (
    "Benjamini, Hochberg (1995), Journal of the Royal Statistical Society B 57:289. Benjamini, Yekutieli (2005), "
    "Journal of the American Statistical Association 100:71."
)
OVERLAP = "Nadeau, Bengio (2003), Machine Learning 52:239."
NOTHING = "Nothing was tested."
EQUIVALENCE = "Schuirmann (1987), Journal of Pharmacokinetics and Biopharmaceutics 15:657."


def section(data: ReportData) -> Section:
    """Each declared comparison, by subgroup."""
    study, names, tests = data.study, data.names, data.tests
    heading = "Did metadata help?" if sees_metadata(data.collected) else "Do arms differ?"
    unlike = _unlike(data.declared) if study.seeds == "nested" else ()
    words = (*unlike, *verdict_caption(tests, study, names, data.uncounted), *_looks(data))
    files = {"tests.csv": to_csv(tests)}
    if tests.empty:
        return Section(heading, (Part((), words, files=files),), (NOTHING,))
    grids = verdict_grids(data.concluded, f"Differences{data.scope} from", data.column, names)
    said, sources = _methods(data)
    return Section(heading, (Part(tuple(grids), words, files=files),), said, sources)


def _looks(data: ReportData) -> list[str]:
    """Says how p-values and intervals allow for looks; nothing where there were none."""
    if data.course is None or not data.course.looks:
        return []
    taken, planned = len(data.course.looks), len(data.course.rule.looks)
    return [
        f"Row {OVERALL} was looked at at {taken} of {planned} declared numbers of seeds: its p-values and intervals "
        "allow for that, and its numbers are those of each comparison's last look. Other rows don't allow "
        "for it."
    ]


def _unlike(declared: pd.DataFrame) -> list[str]:
    """Names declared comparisons whose arms' seeds vary unlike."""
    unlike = unlike_comparisons(declared[declared["p_adjusted"].notna()])
    if not unlike:
        return []
    return [
        "Each arm has a variance among seeds of its own in the tests. Ratio of SDs, and how many pairs of arms that "
        f"truly vary alike show such a ratio: {'; '.join(unlike)}."
    ]


def verdict_grids(tests: pd.DataFrame, title: str, corner: str, names: Names = NAMES) -> list[Grid]:
    """For every class and reference: a row per subgroup, a column per arm; verdict, difference and corrected p.

    Args:
        tests: of `analysis.stats.comparisons.compare`.
        title: of the table; the reference is appended, and the class where there are several.
        corner: what the subgroups are, e.g. "cell_line".
        names: what images and their groups are called.
    """
    grids = []
    grouped = bool((tests["n_units"] < tests["n_images"]).any())
    several = len(tests["class"].cat.categories) > 2  # the last is the macro average
    for (name, reference), part in tests.groupby(["class", "reference"], observed=True, sort=False):
        arms = [arm for arm in part["arm"].cat.categories if (part["arm"] == arm).any()]
        rows = []
        for subgroup, row in part.groupby("subgroup", observed=True):
            n = f"{row['n_images'].iloc[0]}" + (f" in {row['n_units'].iloc[0]}" if grouped else "")
            shown = {test["arm"]: _verdict(test) for _, test in row.iterrows()}
            rows.append((str(subgroup), (Cell(n), *(shown.get(arm, Cell("-")) for arm in arms))))
        columns = (f"{names.images} in {names.groups}" if grouped else names.images, *arms)
        heading = f"{title} {reference}" + (f", class {name}" if several else "")
        grids.append(Grid(heading, corner, columns, tuple(rows)))
    return grids


def _verdict(test: pd.Series) -> Cell:
    numbers = f"{test['difference']:+z.3f}" if pd.notna(test["difference"]) else ""
    if pd.notna(test["p_adjusted"]):
        numbers += f" {format_p(test['p_adjusted'])}"
    return Cell(str(test["verdict"]), numbers, VERDICTS.get(test["verdict"], "faint"))


def verdict_caption(tests: pd.DataFrame, study: Study, names: Names, uncounted: Sequence[str] = ()) -> list[str]:
    """Explains the verdicts; each sentence only where what it is about occurs."""
    if tests.empty:
        return [f"No comparison: {needed(study, names, uncounted)}"]
    unit = names.units
    paragraphs = []
    leading = leading_class(tests["class"].unique(), study.endpoint)
    first = (tests["subgroup"] == OVERALL) & (tests["class"] == leading)
    if tests["p_adjusted"].notna().any():
        paragraphs.append(
            f"Numbers are differences of mean {names.score}, with p of an F test that treats seeds and {unit} as "
            f"random: it {_meant_for(tests, names)}. "
            f"{_corrections(tests[first], tests[~first], leading, names)}"
        )
        equal = (
            f" equal: shown to differ by less than {study.margin:g}, {names.margin} (two one-sided tests, corrected "
            f"p < {ALPHA})."
        )
        paragraphs.append(
            f"helps, hurts: corrected p < {ALPHA}."
            + (equal if tests["p_equivalence_adjusted"].notna().any() else "")
            + " no evidence: neither of these, which isn't evidence of no effect."
        )
    else:
        paragraphs.append(f"Numbers are differences of mean {names.score}. Nothing is tested.")
    if study.average == "subgroups" and (tests["subgroup"] != OVERALL).any():
        paragraphs[0] += f" In row {OVERALL} each {names.subgroup} counts the same."
    if (tests["verdict"] == "no look").any():
        paragraphs.append(
            "no look: the study is tested at its declared looks, and the first is still to come. Until then nothing is "
            "tested."
        )
    if (tests["verdict"] == "futile").any():
        paragraphs.append(
            "futile: further seeds would hardly have decided it, so none were added. This isn't evidence of no effect."
        )
    if (tests["verdict"] == "one seed").any():
        several = " in each fold, and there are too few folds" if tests["n_folds"].max() > 1 else ""
        paragraphs.append(
            f"one seed: an arm has a single seed{several}, so any difference may be due to that seed alone. Nothing is "
            "tested."
        )
    if (tests["verdict"] == "incomplete").any():
        paragraphs.append("incomplete: the two arms have no finished run of a common fold.")
    few = tests[tests["verdict"] == "too few"]
    if len(few):
        of = ", ".join(few["subgroup"].astype(str).unique())
        uneven = " (those of unequal size count as fewer: n_effective in tests.csv)" if names.grouped else ""
        paragraphs.append(
            f"too few: with fewer than {FEWEST_UNITS} {unit}{uneven} p-values are unreliable and aren't shown: {of}."
        )
    return paragraphs


def _meant_for(tests: pd.DataFrame, names: Names) -> str:
    """Scope of the p-values; with folds, how far they can be relied on."""
    if int(tests["n_folds"].max()) < 2:
        return f"holds for new {names.units} with new seeds"
    return (
        f"is meant for new {names.units}, new seeds and training sets like these. Intervals are widened because folds "
        f"share training {names.images}, by a rule that isn't exact"
    )


def _corrections(first: pd.DataFrame, others: pd.DataFrame, leading: str, names: Names) -> str:
    """Says how p-values are corrected, and for how many tests."""
    count = int(first["p_adjusted"].notna().sum())
    row = f"row {OVERALL}" + (f" of class {leading}" if others["class"].nunique() > 1 else "")
    said = (
        f"In {row} ({names.compared}), p is corrected by Holm's method for {count} tests."
        if count > 1
        else f"In {row} ({names.compared}), there is one test, so its p needs no correction."
        if count
        else f"In {row} ({names.compared}), nothing is tested."
    )
    if others["p_adjusted"].notna().any():
        said += " All other rows are exploratory; their p is corrected by the Benjamini-Hochberg method."
    return said


def _folds(known: pd.DataFrame, study_folds: int, names: Names) -> str:
    """Account of folds in the test's variance; empty without folds."""
    folds = int(known["n_folds"].max())
    of = max(folds, study_folds)
    if folds < 2:
        return ""
    text = (
        f"The {folds} folds are strata, each with a share in the mean by its number of {names.images}, and their "
        f"variances add: seeds are nested in arm and fold, since each fold has networks of its own, and {names.units} "
        "are compared within folds. "
    )
    single = known[["n_seeds", "n_seeds_reference"]].min(axis=1) == 1
    if known.loc[single, ["seed_sd", "seed_sd_reference"]].isna().any(axis=None):
        text += (
            "Where an arm has one seed in each fold, the variance is that of the arms' difference among folds, with as "
            "many degrees of freedom as folds less one. "
        )
    return text + (
        f"As folds share training {names.images}, their sum is multiplied by 1 + J / (K - 1) where J of "
        f"the study's K folds are tested, which is {widening(folds, of):.2f} for {folds} of {of} (Nadeau & Bengio's "
        "factor). "
    )


def _methods(data: ReportData) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Sentences on how arms were compared, and their sources."""
    study, names, tests = data.study, data.names, data.tests
    known = tests[tests["p_adjusted"].notna()]
    if known.empty:
        return (NOTHING,), ()
    leading = leading_class(tests["class"].unique(), study.endpoint)
    first = (known["subgroup"] == OVERALL) & (known["class"] == leading)
    pairs = listed([f"{row['arm']} with {row['reference']}" for _, row in known[first].iterrows()])
    readers = "runs (seeds) are random readers, nested in their arm"
    if study.seeds == "crossed":
        readers = (
            "seeds are random readers, crossed with arms, as runs of equal seed started from the same weights outside "
            "blocks and saw the same crops in the same order"
        )
    text = (
        f"Arms were compared by a multi-reader multi-case analysis of variance: {readers}, and {names.units} are "
        "random cases, crossed with all runs. "
    )
    text += (
        "The variance of a difference is that of the pairs' differences among seeds and of what arms differ by from "
        "case to case beyond error, with cautious degrees of freedom by Satterthwaite's rule. "
        if study.seeds == "crossed"
        else "Each arm has its own variance among "
        "seeds and of seed x case. The variance of a difference is the sum of both arms' and of what arms differ "
        "by from case to case beyond error, with cautious degrees of freedom by Satterthwaite's rule: where arms vary "
        "alike, the Dorfman-Berbaum-Metz F test of a split-plot design, extended by a term for the cases. "
    )
    text += _folds(known, len(study.folds), names)
    if (tests["n_common"] < tests["n_images"]).any() if "n_common" in tests else False:
        text += f"{names.images.capitalize()} that all runs of an arm lack didn't contribute to variances. "
    if first.any():
        whose = "declared beforehand" if names.of_test else "declared with the report"
        whose = "not declared" if "comparisons" in names.undeclared else whose
        text += f"The comparisons on all {names.tested} were {pairs} ({whose})"
        text += (
            f"; their p-values were corrected by Holm's method for {int(first.sum())} tests" if first.sum() > 1 else ""
        )
        text += ". "
    if (~first).any():
        text += (
            f"The other {int((~first).sum())} tests are exploratory and were corrected by the Benjamini-Hochberg "
            "method. "
        )
    text += (
        f"The level is {ALPHA}. Equivalence was tested by two one-sided tests with a margin of {study.margin:g} "
        f"({names.margin}). Intervals are for new {names.units} and new seeds; adjusted ones are at the level of the "
        "corrected test."
    )
    sources = [TEST]
    sources += [OVERLAP] if known["n_folds"].max() > 1 else []
    sources += [HOLM] if first.sum() > 1 else []
    sources += [EXPLORATION] if (~first).any() else []
    return (text,), (*sources, EQUIVALENCE)
