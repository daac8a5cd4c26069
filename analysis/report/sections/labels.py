"""Cost of missing and wrong metadata: the same networks, told something else than the truth."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.probes.labels import INSTEAD, TRUTH, Told, told_instead
from analysis.report.data import ReportData
from analysis.report.grid import Cell, Grid
from analysis.report.section import Part, Section, to_csv
from analysis.stats.mrmc import difference
from analysis.stats.seed_variance import crossed_readers
from analysis.wording import Names, listed

WRONG = 0.05
"""Share of images whose label is supposed to be wrong."""

HEADINGS = {
    "nothing": "told nothing",
    "unknown": "told unknown",
    "without": "without {column}",
    "wrong": "{column} wrong in 5 %",
}

EXPLAINED = {
    "nothing": "told nothing: all metadata are zero.",
    "unknown": (
        "told unknown: networks are told that nothing is known, as in training with metadata dropout or of images "
        "without a value; a dash where they can't be told so."
    ),
    "without": (
        "without a column: that column alone isn't known (zeros in its place for networks that can't be told so)."
    ),
    "wrong": (
        "wrong in 5 %: what is to be expected if the label of one image in twenty is wrong, 0.95 times the score with "
        "the truth plus 0.05 times the mean over all wrong values, each as likely as the others; where the "
        "metadata are numbers, the mean over values that networks were told, from the lowest to the highest."
    ),
}
"""By kind, in the order of the columns."""


def section(data: ReportData) -> Section | None:
    """Costs of missing and wrong metadata; None where networks weren't told anything but the truth."""
    study = data.study
    if not data.counted:
        return None
    told = told_instead(
        data.collected.images, data.leading, data.collected.metric, study.average, study.empty, study.folds
    )
    costs = label_costs(told)
    if costs.empty:
        return None
    score = data.names.score
    grid = costs_grid(costs, f"{score} when metadata are missing or wrong")
    words = (*costs_in_words(costs, score), costs_caption(costs, data.names))
    part = Part((grid,), words, files={"labels.csv": to_csv(costs)})
    return Section(
        "What does it cost when the label is missing, or wrong in 5 % of images?",
        (part,),
        (
            "The cost of missing and wrong metadata was estimated by giving the same networks other metadata; networks "
            f"were paired with themselves, with runs and {data.names.units} as random.",
        ),
    )


def label_costs(told: Iterator[Told]) -> pd.DataFrame:
    """Score of each arm told something else than the truth, and its difference from the truth.

    Args:
        told: of `analysis.probes.labels.told_instead`.

    Returns:
        Columns arm, kind, column, n_images, n_units, n_seeds, truth (mean score with the truth, on the same images),
        score, difference (score - truth), se, df, ci_low, ci_high and p. Of kind `wrong`, score and difference are
        those if a share `WRONG` of images is told a wrong value. Errors, intervals and p are for new images and new
        seeds (`analysis.stats.mrmc`), a network paired with itself; NaN with one seed.
    """
    rows = []
    for each in told:
        found = difference(each.matrix, INSTEAD, TRUTH, "crossed")
        truth = float(crossed_readers(each.matrix, INSTEAD, TRUTH)[1].by_unit @ each.matrix.weights)
        share = WRONG if each.kind == "wrong" else 1.0
        rows.append(
            {
                "arm": each.arm,
                "kind": each.kind,
                "column": each.column,
                "n_images": each.matrix.images,
                "n_units": found.units,
                "n_seeds": found.seeds[0],
                "truth": truth,
                "score": truth + share * found.estimate,
                "difference": share * found.estimate,
                "se": share * found.se,
                "df": found.df,
                "ci_low": share * found.ci_low,
                "ci_high": share * found.ci_high,
                "p": found.p,
            }
        )
    return pd.DataFrame(rows)


def costs_grid(costs: pd.DataFrame, title: str) -> Grid:
    """A row per arm: the score told the truth, then that of each kind, with its difference and interval.

    Args:
        costs: of `label_costs`.
        title: of the table.
    """
    order = list(EXPLAINED)
    found = set(zip(costs["kind"], costs["column"], strict=True))
    kinds = sorted(found, key=lambda kind: (order.index(kind[0]), kind[1]))
    rows = []
    for arm, own in costs.groupby("arm", sort=False):
        cells = {(row["kind"], row["column"]): _cell(row) for _, row in own.iterrows()}
        truth = own["truth"].iloc[int(np.argmax(own["n_images"]))]
        rows.append((str(arm), (Cell(f"{truth:.3f}"), *(cells.get(kind, Cell("-")) for kind in kinds))))
    headings = tuple(HEADINGS[kind].format(column=column) for kind, column in kinds)
    return Grid(title, "arm", ("told the truth", *headings), tuple(rows))


def _cell(row: pd.Series) -> Cell:
    digits = 4 if row["kind"] == "wrong" else 3
    change = _change(row)
    if pd.notna(row["ci_low"]):
        change += f" [{row['ci_low']:+z.{digits}f}, {row['ci_high']:+z.{digits}f}]"
    return Cell(f"{row['score']:.{digits}f}", change)


def costs_in_words(costs: pd.DataFrame, score: str) -> Iterator[str]:
    """A sentence for each arm: what changes its score, and what can't be told from chance."""
    for arm, own in costs.groupby("arm", sort=False):
        if own["ci_low"].isna().all():
            yield f"{score} of {arm} may have changed by chance: with one seed, nothing can be tested."
            continue
        clear = own["ci_low"].notna() & ~((own["ci_low"] <= 0) & (own["ci_high"] >= 0))
        changes = [f"by {_change(row)} {_when(row['kind'], row['column'])}" for _, row in own[clear].iterrows()]
        others = [_when(row["kind"], row["column"]) for _, row in own[~clear].iterrows()]
        told = [f"changes {listed(changes)}"] if changes else []
        told += [f"shows no clear change {listed(others)}"] if others else []
        yield f"{score} of {arm} {'; it '.join(told)}."


def _change(row: pd.Series) -> str:
    return f"{row['difference']:+z.{4 if row['kind'] == 'wrong' else 3}f}"


def _when(kind: str, column: str) -> str:
    return {
        "nothing": "when networks are told nothing",
        "unknown": "when networks are told that metadata are unknown",
        "without": f"without {column}",
        "wrong": f"when {column} is wrong in 5 % of images",
    }[kind]


def costs_caption(costs: pd.DataFrame, names: Names) -> str:
    """Explains the kinds that there are, and the numbers."""
    kinds = " ".join(text for kind, text in EXPLAINED.items() if (costs["kind"] == kind).any())
    interval = (
        f" and its 95 % interval for new {names.images} and new seeds, each network paired with itself, not corrected "
        "for the number of comparisons"
        if costs["ci_low"].notna().any()
        else " (an interval needs several seeds)"
    )
    partial = (
        f" {names.images.capitalize()} whose value isn't known are left out where networks are told another."
        if costs.groupby("arm")["n_images"].nunique().gt(1).any()
        else ""
    )
    return (
        f"The same networks, told other metadata at test time. Numbers are mean {names.score} over {names.images} and "
        f"seeds, the difference from the same networks told the truth on the same {names.images}{interval}. "
        f"{kinds}{partial}"
    )
