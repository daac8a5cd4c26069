"""Gain from more seeds or images: differences that designs of other sizes detect."""

import pandas as pd

from analysis.report.data import ReportData
from analysis.report.grid import Cell, Grid
from analysis.report.section import Part, Section, to_csv
from analysis.stats.advice import plan
from analysis.stats.mrmc import difference
from analysis.stats.power import power_table

CAPTION = (
    "Computed from the variance components that were estimated here, treated as known: the difference of mean {score} "
    "that is detected with 80 % power at p < 0.05, before correction for several comparisons. The sentences ask for "
    "{margin:g}, {whose}."
)


def section(data: ReportData) -> Section | None:
    """Detectable differences of this and of other designs, for the class that is concluded on."""
    matrix, study, names = data.overall, data.study, data.names
    if matrix is None:
        return None
    sentences: list[str] = []
    undecided: list[str] = []
    tables = []
    unit = names.units
    size, crossed = max(round(matrix.size), 2), study.seeds == "crossed"
    for comparison in study.comparisons:
        if comparison.reference != study.baseline or comparison.claim != "differs":
            continue
        if not {comparison.arm, comparison.reference} <= set(matrix.arms):
            continue
        found = difference(matrix, comparison.arm, comparison.reference, study.seeds)
        if found.components is None:
            continue
        folds, least = found.folds, max(size, found.folds)
        advice = plan(found.components, study.margin, min(found.seeds), least, unit, folds=folds, crossed=crossed)
        sentences.append(f"{comparison.arm} against {comparison.reference}: {advice}")
        own = data.declared[
            (data.declared["arm"] == comparison.arm) & (data.declared["reference"] == comparison.reference)
        ]
        if (own["verdict"] == "no evidence").any():
            undecided.append(sentences[-1])
        units = tuple(sorted({n for n in (size // 2, least, 2 * size, 4 * size) if n >= max(2, folds)}))
        table = power_table(found.components, units=units, folds=folds, crossed=crossed)
        tables.append(table.assign(arm=comparison.arm))
    if not sentences:
        return None
    table = pd.concat(tables, ignore_index=True)
    words = CAPTION.format(margin=study.margin, score=names.score, whose=names.margin)
    part = Part(
        power_grids(table, unit), (*sentences, words), tuple(undecided[:1]), False, {"power.csv": to_csv(table)}
    )
    return Section(f"What would more seeds or {names.images} buy?", (part,))


def power_grids(table: pd.DataFrame, unit: str) -> tuple[Grid, ...]:
    """Detectable differences of each arm: a row per number of seeds, a column per number of units."""
    grids = []
    for arm, part in table.groupby("arm", sort=False):
        wide = part.pivot(index="seeds", columns="units", values="detectable")
        rows = tuple((f"{seeds} seeds", tuple(Cell(f"{value:.4f}") for value in row)) for seeds, row in wide.iterrows())
        columns = tuple(f"{units} {unit}" for units in wide.columns)
        grids.append(Grid(f"Difference detected with 80 % power: {arm}", "", columns, rows))
    return tuple(grids)
