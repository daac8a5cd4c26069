"""The tables: arms by subgroups as in the paper's Table 1, and a verdict on each arm for each subgroup."""

from collections.abc import Sequence

import pandas as pd

from analysis.grid import Cell, Emphasis, Grid
from analysis.significance import ALPHA

RANKS: dict[float, Emphasis] = {1: "best", 2: "second"}
VERDICTS: dict[str, Emphasis] = {"helps": "helps", "hurts": "hurts", "mixed": "plain"}
"""How verdicts look; those not named here are faint."""


def score_grids(cells: pd.DataFrame, arms: Sequence[str], title: str) -> list[Grid]:
    """Table 1 for every class: a row per arm, a column per subgroup, mean F1 ± SD across seeds.

    Args:
        cells: of `analysis.scores.summarise`.
        arms: the rows; one has dashes where none of its runs covers the subgroup.
        title: of the table; the class is appended where there are several.
    """
    grids = []
    for name, part in cells.groupby("class", observed=True):
        printed = part["mean"].map("{:.3f}".format)
        spread = part["sd"].map("± {:.3f}".format).where(part["sd"].notna(), "")
        rank = printed.astype(float).groupby(part["subgroup"], observed=True).rank("dense", ascending=False)
        shown = {
            (arm, subgroup): Cell(mean, sd, RANKS.get(place, "plain"))
            for arm, subgroup, mean, sd, place in zip(part["arm"], part["subgroup"], printed, spread, rank, strict=True)
        }
        columns = tuple(part["subgroup"].cat.remove_unused_categories().cat.categories)
        rows = tuple((arm, tuple(shown.get((arm, column), Cell("-")) for column in columns)) for arm in arms)
        several = cells["class"].nunique() > 1
        grids.append(Grid(f"{title}, class {name}" if several else title, "arm", columns, rows))
    return grids


def frame_grid(frame: pd.DataFrame, title: str) -> Grid:
    """Any small table: the first column labels the rows. Numbers have four digits, missing ones are dashes."""

    def show(value: object) -> str:
        if pd.isna(value):  # type: ignore[call-overload]
            return "-"
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    rows = tuple((show(row[0]), tuple(Cell(show(value)) for value in row[1:])) for row in frame.itertuples(index=False))
    return Grid(title, str(frame.columns[0]), tuple(map(str, frame.columns[1:])), rows)


def verdict_grids(tests: pd.DataFrame, title: str, corner: str) -> list[Grid]:
    """For every class: a row per subgroup, a column per arm but the baseline; verdict, difference and p after Holm.

    Args:
        tests: of `analysis.significance.compare`.
        title: of the table; the class is appended where there are several.
        corner: what the subgroups are, e.g. "cell_line".
    """
    grids = []
    grouped = bool((tests["n_units"] < tests["n_images"]).any())
    for name, part in tests.groupby("class", observed=True):
        arms = [arm for arm in part["arm"].cat.categories if (part["arm"] == arm).any()]
        rows = []
        for subgroup, row in part.groupby("subgroup", observed=True):
            n = f"{row['n_images'].iloc[0]}" + (f" in {row['n_units'].iloc[0]}" if grouped else "")
            verdicts = map(_verdict, row["verdict"], row["difference"], row["p_holm"], row["p_smallest"])
            shown = dict(zip(row["arm"], verdicts, strict=True))
            rows.append((str(subgroup), (Cell(n), *(shown.get(arm, Cell("-")) for arm in arms))))
        several = tests["class"].nunique() > 1
        columns = ("images in groups" if grouped else "images", *arms)
        grids.append(Grid(f"{title}, class {name}" if several else title, corner, columns, tuple(rows)))
    return grids


def _verdict(verdict: str, difference: float, p: float, smallest: float) -> Cell:
    # A p-value that couldn't have been below the level even uncorrected says nothing: it isn't shown.
    numbers = f"{difference:+z.3f}" if smallest >= ALPHA else f"{difference:+z.3f} {format_p(p)}"
    return Cell(verdict, numbers, VERDICTS.get(verdict, "faint"))


def format_p(p: float) -> str:
    """A p-value with three decimals, two above 0.1: `p=0.002`, `p=0.31`, `p<0.001`, `p=1`."""
    if p < 0.001:
        return "p<0.001"
    if p < 0.1:
        return f"p={p:.3f}"
    return f"p={p:.2f}" if p < 0.995 else "p=1"
