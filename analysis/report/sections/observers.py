"""Networks beside humans: does a network come closer to an annotator's mask than another annotator does?"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.probes.observers import HUMAN, NETWORK, Beside, beside_humans, human_scores
from analysis.report.data import ReportData
from analysis.report.grid import Cell, Grid
from analysis.report.section import Part, Section, to_csv
from analysis.scores.metrics import METRICS
from analysis.stats.mrmc import difference
from analysis.stats.seed_variance import crossed_readers
from analysis.wording import Names
from metaseg.schema import OVERALL

SAID = {
    "better": "is closer to an annotator's mask than the other humans are",
    "worse": "is less close to an annotator's mask than the other humans are",
    "equal": "is as close to an annotator's mask as the other humans are",
    "undecided": "and the other humans can't be told apart in how close they are to an annotator's mask",
    "not tested": "wasn't tested against the other humans: that needs several seeds",
}
"""By verdict: what is said of an arm on all masks."""


def section(data: ReportData) -> Section | None:
    """Scores of networks and humans against the same masks; None where humans' masks weren't compared."""
    observers, study, metric = data.supplement.observers, data.study, data.collected.metric
    if observers is None or not data.counted or metric not in METRICS:
        return None
    humans = human_scores(observers, data.leading, metric, study.empty)
    table = against_humans(beside_humans(data.own, humans, study.average), study.margin)
    if table.empty:
        return None
    score = data.names.score
    grid = humans_grid(table, f"{score} of networks and of the other humans, by {data.column}")
    words = (*in_words(table, score), caption(table, data.names, data.column, study.margin))
    return Section(
        "Is a network closer to an annotator than another human is?",
        (Part((grid,), words, files={"humans.csv": to_csv(table)}),),
        (
            f"Each annotator's masks were also scored by the other annotators' masks of the same images, in place of "
            f"predictions; networks were compared with the mean of these, with runs and {data.names.units} as random.",
        ),
    )


def against_humans(beside: Iterator[Beside], margin: float) -> pd.DataFrame:
    """Score of each arm and of the other humans against each annotator's masks, and their difference.

    Args:
        beside: of `analysis.probes.observers.beside_humans`.
        margin: difference below which both count as equal.

    Returns:
        Columns arm, annotator (`OVERALL` for all masks), n_images (masks), n_units, n_seeds, network and human (mean
        scores), difference (network - human), se, df, ci_low, ci_high, p and verdict: `better`, `worse` or `equal` (the
        95 % interval is above 0, below 0, or within the margin), `undecided`; `not tested` with one seed. The human is
        the same for all seeds; intervals are for new images and new seeds (`analysis.stats.mrmc`).
    """
    rows = []
    for each in beside:
        found = difference(each.matrix, NETWORK, HUMAN, "crossed")
        network, human = (
            float(reader.by_unit @ each.matrix.weights) for reader in crossed_readers(each.matrix, NETWORK, HUMAN)
        )
        rows.append(
            {
                "arm": each.arm,
                "annotator": each.annotator,
                "n_images": each.matrix.images,
                "n_units": found.units,
                "n_seeds": found.seeds[0],
                "network": network,
                "human": human,
                "difference": found.estimate,
                "se": found.se,
                "df": found.df,
                "ci_low": found.ci_low,
                "ci_high": found.ci_high,
                "p": found.p,
                "verdict": verdict(found.ci_low, found.ci_high, margin),
            }
        )
    return pd.DataFrame(rows)


def verdict(low: float, high: float, margin: float) -> str:
    """One word for an interval of network - human."""
    if np.isnan(low):
        return "not tested"
    if -margin < low and high < margin:
        return "equal"
    return "better" if low > 0 else "worse" if high < 0 else "undecided"


def humans_grid(table: pd.DataFrame, title: str) -> Grid:
    """A row per arm, a column per annotator; first row: the other humans.

    Args:
        table: of `against_humans`.
        title: of the grid.
    """
    annotators = list(dict.fromkeys(table["annotator"]))
    humans = table.drop_duplicates("annotator").set_index("annotator")["human"]
    rows = [("other humans", tuple(Cell(f"{humans[name]:.3f}") for name in annotators))]
    for arm, own in table.groupby("arm", sort=False):
        cells = {row["annotator"]: _cell(row) for _, row in own.iterrows()}
        rows.append((str(arm), tuple(cells.get(name, Cell("-")) for name in annotators)))
    return Grid(title, "arm", tuple(annotators), tuple(rows))


def _cell(row: pd.Series) -> Cell:
    return Cell(f"{row['network']:.3f}", f"{_change(row)}, {row['verdict']}")


def _change(row: pd.Series) -> str:
    change = f"{row['difference']:+z.3f}"
    return change if np.isnan(row["ci_low"]) else f"{change} [{row['ci_low']:+z.3f}, {row['ci_high']:+z.3f}]"


def in_words(table: pd.DataFrame, score: str) -> Iterator[str]:
    """A sentence for each arm, on all masks."""
    for _, row in table[table["annotator"] == OVERALL].iterrows():
        yield (
            f"{row['arm']} {SAID[row['verdict']]}: {score} {row['network']:.3f} against {row['human']:.3f} "
            f"({_change(row)})."
        )


def caption(table: pd.DataFrame, names: Names, column: str, margin: float) -> str:
    """Explains the numbers."""
    interval = (
        f" and its 95 % interval for new {names.images} and new seeds, not corrected for the number of comparisons"
        if table["ci_low"].notna().any()
        else ""
    )
    return (
        f"Mean {names.score} against each {column}'s own masks: of the other annotators' masks of the same "
        f"{names.images} (the mean over them, without others by the same annotator), and of each arm's networks, with "
        f"the difference{interval}. equal: the interval lies within {margin:g} of 0. {OVERALL}: all masks."
    )
