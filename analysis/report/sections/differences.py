"""By how much do arms differ? The declared comparisons in full, and all comparisons as a forest plot."""

import numpy as np
import pandas as pd

from analysis.figures.forest import build_forest
from analysis.figures.style import rendered
from analysis.report.data import ReportData
from analysis.report.grid import Cell, Grid, p_cell
from analysis.report.section import Part, Section, picture
from analysis.report.sections.verdicts import VERDICTS, verdict_grids
from analysis.results.declaration import Study
from analysis.wording import Names
from metaseg.schema import ALPHA


def section(data: ReportData) -> Section | None:
    """The intervals on all images, the forest plot, and verdicts on classes that aren't concluded on."""
    if data.tests.empty:
        return None
    grids = tuple(
        interval_grid(part, f"In full: against {reference}, on all {data.names.tested}")
        for reference, part in data.declared.groupby("reference", sort=False)
    )
    words = (interval_caption(data.tests, data.study, data.names),) if grids else ()
    others = data.tests.drop(data.concluded.index)
    rest = verdict_grids(others, f"Differences{data.scope} from", data.column, data.names)
    return Section(
        "",
        (
            Part(grids, words, (), prints_grids=False),
            *_forest(data),
            Part(tuple(rest), printed=(), prints_grids=False),
        ),
    )


def _forest(data: ReportData) -> tuple[Part, ...]:
    shown = data.tests[data.tests["reference"] == data.study.baseline].dropna(subset="difference")
    if shown.empty:
        return ()
    drawn = build_forest(shown, data.study.margin, data.names)
    caption = f"Differences from {data.study.baseline}"
    if shown["ci_low"].notna().any():
        caption += f", with intervals for new {data.names.units} and new seeds (thick: 95 %; thin: corrected)"
    return (picture("forest", rendered(drawn, data.figure), caption),)


def interval_grid(tests: pd.DataFrame, title: str) -> Grid:
    """The tests of one class and reference on the whole, in full: a row an arm; a dash where nothing is tested."""
    rows = []
    for _, test in tests.iterrows():
        known = pd.notna(test["se"])
        cells = (
            Cell(
                f"{test['difference']:+z.4f}" if pd.notna(test["difference"]) else "-",
                emphasis=VERDICTS.get(test["verdict"], "faint"),
            ),
            Cell(_interval(test)),
            Cell(_interval(test, "adjusted")),
            Cell(f"{test['df']:.1f}" if known else "-"),
            p_cell(test["p"] if pd.notna(test["p_adjusted"]) else np.nan),
            p_cell(test["p_adjusted"]),
            p_cell(test["p_equivalence_adjusted"]),
            Cell(f"{test['effect_size']:+z.2f}" if known and pd.notna(test["effect_size"]) else "-"),
            Cell(f"{test['superiority']:.2f}" if pd.notna(test["superiority"]) else "-"),
            Cell(f"{test['detectable']:.4f}" if pd.notna(test["detectable"]) else "-"),
            Cell(str(test["verdict"])),
        )
        rows.append((str(test["arm"]), cells))
    columns = (
        "difference",
        "95 % interval",
        "adjusted",
        "df",
        "p",
        "Holm",
        "equal",
        "d",
        "wins",
        "detectable",
        "verdict",
    )
    return Grid(title, "arm", columns, tuple(rows))


def _interval(test: pd.Series, kind: str = "") -> str:
    low, high = (test.get(f"ci_{end}_{kind}" if kind else f"ci_{end}", np.nan) for end in ("low", "high"))
    return f"{low:+z.4f} to {high:+z.4f}" if pd.notna(low) else "-"


def interval_caption(tests: pd.DataFrame, study: Study, names: Names) -> str:
    """Explains the columns of the full table."""
    adjusted = (
        " adjusted: the interval at the level of the corrected test: it excludes 0 where corrected p is below "
        f"{ALPHA}, and nowhere else."
        if "ci_low_adjusted" in tests
        else ""
    )
    return (
        f"95 % interval: for new {names.units} with new seeds, for this comparison alone.{adjusted} df: degrees of "
        "freedom of the F test. Holm: p corrected by Holm's method. equal: TOST p-value, the larger of the two "
        f"one-sided p-values, corrected; the margin is ±{study.margin:g} ({names.margin}). d: standardised effect size "
        f"(Cohen's d) for one run of each arm on the same new {names.image}. wins: probability that a new run of the "
        f"arm scores higher than one of the reference on a new {names.image}. detectable: the difference that so many "
        f"seeds and {names.images} detect with 80 % power, before correction."
        + (f" d and wins refer to the mean of one of the {names.units}." if names.grouped else "")
    )
