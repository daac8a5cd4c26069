"""Effort spent: trials by what became of them, and image-epochs."""

import pandas as pd

from analysis.report.grid import Cell, Grid
from analysis.report.section import Part, Section
from analysis.report.sweep_data import SweepData


def section(data: SweepData) -> Section | None:
    """Trials by what became of them, and image-epochs."""
    trials = data.trials
    rows = []
    for state in ("complete", "pruned", "failed", "running"):
        own = trials[trials["state"] == state]
        if len(own):
            rows.append((state, _spent(own)))
    rows.append(("all", _spent(trials)))
    columns = ("trials", "of them reused", "epochs", "image-epochs", "trained for this sweep", "hours")
    table = Grid("Trials and image-epochs", "trials that are", columns, tuple(rows))
    pruned = trials[(trials["state"] == "pruned") & (trials["epochs"] > 0)]
    left = (pruned["epochs_planned"] - pruned["epochs"]) * pruned["image_epochs"] / pruned["epochs"]
    words = "image-epochs: training images times epochs. Reused: the store had the run already; nothing was trained."
    if left.sum() > 0:
        part = left.sum() / (left.sum() + trials["image_epochs"].sum())
        words += f" Pruning left out {left.sum():,.0f} image-epochs, {100 * part:.0f} % of what there would have been."
    failed = trials.loc[trials["state"] == "failed", ["number", "error"]]
    causes = [f"{error} (trial {number})" for number, error in failed.drop_duplicates("error").itertuples(index=False)]
    reasons = (f"Failed: {'; '.join(causes)}.",) if causes else ()
    return Section("What was spent", (Part((table,), (words, *reasons), reasons),))


def _spent(rows: pd.DataFrame) -> tuple[Cell, ...]:
    own = rows[~rows["reused"].astype(bool)]
    return (
        Cell(f"{len(rows)}"),
        Cell(f"{int(rows['reused'].sum())}"),
        Cell(f"{rows['epochs'].sum():,.0f}"),
        Cell(f"{rows['image_epochs'].sum():,.0f}"),
        Cell(f"{own['image_epochs'].sum():,.0f}"),
        Cell(f"{own['seconds'].sum() / 3600:.2f}"),
    )
