"""The tables: arms by subgroups as in the paper's Table 1, and a verdict on each arm for each subgroup."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.probes.controls import WORST
from analysis.report.grid import Cell, Emphasis, Grid
from analysis.stats.interaction import Interaction
from analysis.wording import NAMES, Names, format_p

RANKS: dict[float, Emphasis] = {1: "best", 2: "second"}
VERDICTS: dict[str, Emphasis] = {"helps": "helps", "hurts": "hurts", "equal": "plain"}
"""How verdicts look; those not named here are faint."""


def score_grids(cells: pd.DataFrame, arms: Sequence[str], title: str) -> list[Grid]:
    """Table 1 for every class: a row per arm, a column per subgroup, mean F1 ± SD across seeds.

    Args:
        cells: of `analysis.scores.image_scores.summarise`.
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
    numbers = f"{test['difference']:+z.3f}"
    if pd.notna(test["p_adjusted"]):
        numbers += f" {format_p(test['p_adjusted'])}"
    return Cell(str(test["verdict"]), numbers, VERDICTS.get(test["verdict"], "faint"))


def interval_grid(tests: pd.DataFrame, title: str) -> Grid:
    """The tests of one class and reference on the whole, in full: a row an arm; a dash where nothing is tested."""
    rows = []
    for _, test in tests.iterrows():
        known = pd.notna(test["se"])
        cells = (
            Cell(f"{test['difference']:+z.4f}", emphasis=VERDICTS.get(test["verdict"], "faint")),
            Cell(_interval(test)),
            Cell(_interval(test, "adjusted")),
            Cell(f"{test['df']:.1f}" if known else "-"),
            Cell(_p(test["p"] if pd.notna(test["p_adjusted"]) else np.nan)),
            Cell(_p(test["p_adjusted"])),
            Cell(_p(test["p_equivalence_adjusted"])),
            Cell(f"{test['effect_size']:+z.2f}" if known else "-"),
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


def interaction_grids(found: Sequence[Interaction], corner: str) -> tuple[Grid, Grid]:
    """The tests, a row per comparison; and the differences predicted for each subgroup."""
    names = [f"{each.arm} against {each.reference}" for each in found]
    tests = [
        (
            name,
            (
                Cell(f"{each.f:.2f}" if pd.notna(each.f) else "-"),
                Cell(f"{each.df_num}, {each.df_den:.1f}" if pd.notna(each.f) else "-"),
                Cell(_p(each.p)),
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


def robustness_grid(robust: pd.DataFrame, title: str) -> Grid:
    """Bootstrap intervals and permutation tests, a row per comparison (`analysis.stats.robustness.resample`)."""
    rows = []
    for _, row in robust.iterrows():
        cells = (
            Cell(f"{row['difference']:+z.4f}"),
            Cell(f"{row['low']:+z.4f} to {row['high']:+z.4f}" if pd.notna(row["low"]) else "-"),
            Cell(_p(row["p_runs"])),
            Cell(_p(row["p_runs_least"])),
            Cell(_p(row["p_signs"])),
        )
        rows.append((f"{row['arm']} against {row['reference']}", cells))
    columns = ("difference", "bootstrap", "runs exchanged", "least", "signs flipped")
    return Grid(title, "comparison", columns, tuple(rows))


def power_grids(table: pd.DataFrame, unit: str) -> tuple[Grid, ...]:
    """Detectable differences of each arm: a row per number of seeds, a column per number of units."""
    grids = []
    for arm, part in table.groupby("arm", sort=False):
        wide = part.pivot(index="seeds", columns="units", values="detectable")
        rows = tuple((f"{seeds} seeds", tuple(Cell(f"{value:.4f}") for value in row)) for seeds, row in wide.iterrows())
        columns = tuple(f"{units} {unit}" for units in wide.columns)
        grids.append(Grid(f"What is found four times in five: {arm}", "", columns, rows))
    return tuple(grids)


def _p(p: float) -> str:
    return format_p(p).removeprefix("p").removeprefix("=") if pd.notna(p) else "-"


def controls_grid(controls: pd.DataFrame, title: str) -> Grid:
    """A row per arm; F1 as trained and, for each control, F1 and its difference from that, or the swap that it is.

    Args:
        controls: of `metadata_controls`.
        title: of the table.
    """
    kinds = list(dict.fromkeys(zip(controls["control"], controls["column"], strict=True)))
    rows = []
    for arm, own in controls.groupby("arm", sort=False):
        whole = own[own["control"] != WORST].sort_values("n_images", kind="stable", ascending=False).iloc[0]
        cells = [Cell(f"{whole['as_trained']:.3f}")]
        for control, column in kinds:
            found = own[(own["control"] == control) & (own["column"] == column)]
            cells += [_cell(row) for _, row in found.iterrows()] or [Cell("-")]
        rows.append((str(arm), tuple(cells)))
    columns = ("as trained", *(f"{control} {column}".strip() for control, column in kinds))
    return Grid(title, "arm", columns, tuple(rows))


def _cell(row: pd.Series) -> Cell:
    change = f"{row['difference']:+z.3f}"
    if row["control"] == WORST:
        swap = f"{row['true']} as {row['given']}" if row["true"] else f"as {row['given']}"
        return Cell(f"{row['f1']:.3f} ({change})", swap)
    return Cell(f"{row['f1']:.3f}", change)
