"""Looks of a study that adds seeds until comparisons are decided: its rule, each look, and how comparisons ended."""

import pandas as pd

from analysis.figures.looks import build_looks
from analysis.figures.style import rendered
from analysis.report.data import Course, ReportData
from analysis.report.grid import Cell, Grid
from analysis.report.looks_wording import outcome_of
from analysis.report.section import Part, Section, picture, to_csv
from analysis.results.declaration import Comparison
from analysis.stats.sequential import Sighting, sightings
from analysis.wording import listed

SOURCES = (
    "Lan, DeMets (1983), Biometrika 70:659.",
    "Jennison, Turnbull (1989), Journal of the Royal Statistical Society B 51:305.",
    "Liu, Anderson (2008), Journal of the American Statistical Association 103:1660. Maurer, Bretz (2013), "
    "Statistics in Biopharmaceutical Research 5:311.",
)


def section(data: ReportData) -> Section | None:
    """The rule, each look, and how comparisons ended; None for a study whose runs were all declared at once."""
    course = data.course
    if course is None or not course.looks:
        return None
    table = looks_table(course)
    words = (_rule(data, course), *_ends(data, course))
    parts = [Part((_grid(table, course.rule.looks[-1]),), words, files={"looks.csv": to_csv(table)})]
    seen = [(name, found) for name, found in sightings(course.looks, course.rule, data.study.comparisons) if found]
    if seen:
        drawn = rendered(build_looks(seen, course.rule, data.study.margin, data.names), data.figure)
        parts.append(picture("looks", drawn, "Differences at each look"))
    return Section("What did each look decide?", tuple(parts), (_methods(data, course),), SOURCES)


def looks_table(course: Course) -> pd.DataFrame:
    """A row for each comparison at each look."""
    rows = []
    comparisons = [(each.arm, each.reference) for each in course.standings]
    levels = dict(_seen(course))
    for look in course.looks:
        for pair in comparisons:
            test = look.of(*pair)
            if test is None:
                continue
            found = levels.get((*pair, look.seeds))
            rows.append(
                {
                    "seeds": look.seeds, "arm": pair[0], "reference": pair[1], "difference": test.estimate,
                    "se": test.se, "information": test.fraction, "p": test.p,
                    "level": found.level if found else None,
                    "ci_low": found.interval[0] if found else None, "ci_high": found.interval[1] if found else None,
                    "p_equivalence": test.p_equivalence, "chance": test.chance,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def _seen(course: Course) -> list[tuple[tuple[str, str, int], Sighting]]:
    pairs = [Comparison(each.arm, each.reference) for each in course.standings]
    found = sightings(course.looks, course.rule, pairs)
    return [
        ((pair.arm, pair.reference, each.seeds), each)
        for pair, (_, looks) in zip(pairs, found, strict=True)
        for each in looks
    ]


def _grid(table: pd.DataFrame, last: int) -> Grid:
    """All looks; the last one that was declared, at `last` seeds, has no chance to come."""
    rows = []
    for _, row in table.iterrows():
        known = pd.notna(row["p"])
        cells = (
            Cell(f"{row['seeds']}"),
            Cell(f"{row['difference']:+z.4f}"),
            Cell(f"{row['ci_low']:+z.4f} to {row['ci_high']:+z.4f}" if pd.notna(row["ci_low"]) else "-"),
            Cell(f"{100 * row['information']:.0f} %" if known else "-"),
            Cell(f"{row['p']:.2g}" if known else "-"),
            Cell(f"{row['level']:.2g}" if pd.notna(row["level"]) else "-"),
            Cell(f"{100 * row['chance']:.0f} %" if known and row["seeds"] < last else "-"),
        )
        rows.append((f"{row['arm']} against {row['reference']}", cells))
    columns = ("seeds", "difference", "interval", "information", "p at this look", "needed", "chance to decide")
    return Grid("Looks", "comparison", columns, tuple(rows))


def _rule(data: ReportData, course: Course) -> str:
    rule, names = course.rule, data.names
    seen = listed([f"{seeds}" for seeds in data.study.looked_at])
    when = f"after runs had been looked at with {seen} seeds" if seen else "before the first run"
    holds = (
        "boundaries and intervals allow for these looks, but not for the earlier one"
        if seen
        else f"all looks together find a difference between equal arms in at most about {100 * rule.alpha:g} % of "
        "studies. Intervals hold at all looks together"
    )
    return (
        f"Declared {when}: looks at {listed(list(map(str, rule.looks)))} seeds of each arm; seeds are "
        "added only to comparisons that are open. Looking several times gives chance several tries, so early looks "
        f"ask for much smaller p-values (needed), and {holds}. information: of the "
        f"information that {rule.looks[-1]} seeds would give; {names.images} are the same at all looks, so the first "
        f"seeds tell most. chance to decide: at {rule.looks[-1]} seeds, if nothing else is known; below "
        f"{100 * rule.futility:g} % a comparison is futile and stops."
    )


def _ends(data: ReportData, course: Course) -> list[str]:
    more = course.looks[-1].seeds < course.rule.looks[-1]
    return [
        f"{each.name}, {each.seeds} seeds: {outcome_of(each, data.study.margin, more)}." for each in course.standings
    ]


def _methods(data: ReportData, course: Course) -> str:
    rule = course.rule
    return (
        f"Seeds were added until comparisons were decided, with looks at {listed(list(map(str, rule.looks)))} seeds. "
        f"The level of {rule.alpha:g} was spent by an O'Brien-Fleming-like function (Lan and DeMets) of declared "
        "information fractions; boundaries allow for the looks' correlation, and are compared with p of t tests. "
        "Several comparisons were corrected by Holm's method on sequential p-values, which passes the level of what "
        "is found on to what is open. Intervals are repeated confidence intervals. Equivalence was tested at each "
        "look, with the level spent in the same way. Stopping for futility was non-binding. Results in subgroups don't "
        "allow for the looks."
    )
