"""Does the gain differ by subgroup? Tests of arm x subgroup, and what is predicted for each subgroup."""

from collections.abc import Sequence
from dataclasses import asdict

import pandas as pd

from analysis.report.data import ReportData
from analysis.report.grid import Cell, Grid, p_cell
from analysis.report.section import Part, Section, to_csv
from analysis.stats.interaction import LEAST_UNITS, Interaction
from analysis.wording import Names
from metaseg.schema import OVERALL

SOURCE = "Kenward, Roger (1997), Biometrics 53:983."


def section(data: ReportData) -> Section | None:
    """Tests arm x subgroup; None where there is one subgroup."""
    found = data.interactions
    if not found:
        return None
    left_out = sum(matrix.size < LEAST_UNITS for name, matrix in data.matrices.items() if name != OVERALL)
    words = (interaction_caption(data.column, len(found), left_out, LEAST_UNITS, data.names),)
    rows = pd.DataFrame(
        {"arm": each.arm, "reference": each.reference} | asdict(subgroup)
        for each in found
        for subgroup in each.differences
    )
    grids = interaction_grids(found, data.column)
    part = Part(grids, words, (), False, {"subgroups.csv": to_csv(rows)})
    return Section(f"Does the gain differ by {data.column}?", (part,), *_methods(found, data))


def _methods(found: Sequence[Interaction], data: ReportData) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A sentence on how subgroups were compared, and its source."""
    count = sum(pd.notna(each.p) for each in found)
    if not count or not data.tests["p_adjusted"].notna().any():
        return (), ()
    said = (
        f"The interaction of arm and {data.column} was tested by a Wald F test with Kenward-Roger degrees of freedom "
        f"for {count} comparison{'s' if count > 1 else ''}."
    )
    if data.study.seeds == "crossed":
        said += " It takes runs of equal seed for unrelated, which is cautious."
    return (said,), (SOURCE,)


def interaction_grids(found: Sequence[Interaction], corner: str) -> tuple[Grid, Grid]:
    """The tests, a row per comparison; and the differences predicted for each subgroup."""
    names = [f"{each.arm} against {each.reference}" for each in found]
    tests = [
        (
            name,
            (
                Cell(f"{each.f:.2f}" if pd.notna(each.f) else "-"),
                Cell(f"{each.df_num}, {each.df_den:.1f}" if pd.notna(each.f) else "-"),
                p_cell(each.p),
                Cell(f"{each.spread:.4f}" if pd.notna(each.spread) else "-"),
            ),
        )
        for name, each in zip(names, found, strict=True)
    ]
    subgroups = tuple(dict.fromkeys(one.subgroup for each in found for one in each.differences))
    predicted = []
    for name, each in zip(names, found, strict=True):
        cells = {
            one.subgroup: Cell(f"{one.shrunken:+z.3f}", f"± {one.shrunken_se:.3f}")
            for one in each.differences
            if pd.notna(one.shrunken)
        }
        predicted.append((name, tuple(cells.get(subgroup, Cell("-")) for subgroup in subgroups)))
    columns = ("F", "df", "p", "spread")
    return (
        Grid(f"Is the difference the same for every {corner}?", "comparison", columns, tuple(tests)),
        Grid(f"Predicted differences by {corner}", "comparison", subgroups, tuple(predicted)),
    )


def interaction_caption(corner: str, comparisons: int, left_out: int, least: int, names: Names) -> str:
    """Explains the F test of arm x subgroup, for so many comparisons and with so many subgroups left out."""
    return (
        f"F: tests whether the arm's difference is the same for all values of {corner}, with seeds and {names.images} "
        "as random"
        + ("; p is corrected by Holm's method over these arms. " if comparisons > 1 else ". ")
        + (f"{left_out} values with fewer than {least} {names.units} are left out. " if left_out else "")
        + "spread: standard deviation of the true differences among them, with sampling noise removed. Second "
        "table: each difference, shrunk towards the mean in proportion to its noise (best linear unbiased "
        "prediction), ± its standard error."
    )
