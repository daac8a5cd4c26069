"""What else could be asked, by resampling? Each column answers another question than the verdict."""

import numpy as np
import pandas as pd

from analysis.report.data import ReportData
from analysis.report.grid import Cell, Grid, p_cell
from analysis.report.section import Part, Section, to_csv
from analysis.stats.robustness import DRAWS, PERMUTATIONS, resample
from analysis.wording import Names

CAPTION = (
    "Each column answers a question of its own; none is the verdict's, and none can be taken "
    "in "
    "its place. bootstrap: how wide is the interval (95 %, not corrected) if scores aren't normal? Seeds and {units} "
    "are "
    "resampled. runs exchanged: could other seeds have made the difference on these {images}? p of permuting runs "
    "between the two arms; with few seeds it can't be below least. signs flipped: do these very networks differ on "
    "other {images}? p of flipping the sign of each of the {units}' differences. The last two each leave one source of "
    "variance out, seeds or {images}; the verdict's test takes both for random."
)
BOOTSTRAP = (
    "Rao, Wu (1988), Journal of the American Statistical Association 83:231. Weng (1989), Annals of Statistics 17:705. "
    "Hesterberg (2015), The American Statistician 69:371."
)
BCA = "Efron (1987), Journal of the American Statistical Association 82:171."
PERMUTATION = "Phipson, Smyth (2010), Statistical Applications in Genetics and Molecular Biology 9:39."


def section(data: ReportData) -> Section | None:
    """Bootstrap and permutations of each comparison; the same rows give the same draws."""
    if data.overall is None:
        return None
    found = resample(data.overall, data.study.comparisons, np.random.default_rng(0))
    if found.empty:
        return None
    grid = resampling_grid(found, "The comparisons by resampling")
    words = CAPTION.format(units=data.names.units, images=data.names.images)
    part = Part((grid,), (words,), (), False, {"resampling.csv": to_csv(found)})
    return Section("What else could be asked, by resampling", (part,), *_methods(found, data.names))


def _methods(found: pd.DataFrame, names: Names) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What was resampled, and what that cites."""
    if found["low"].isna().all():
        return (), ()
    said = (
        f"Intervals were checked by a bootstrap of {DRAWS} draws that reweights runs and {names.units}, each by itself "
        f"and rescaled for small numbers, and by permutations of runs and of signs (all of them, or {PERMUTATIONS} "
        "at random where there are more)."
    )
    return (said,), (BOOTSTRAP, *([BCA] if (found["method"] == "bca").any() else []), PERMUTATION)


def resampling_grid(robust: pd.DataFrame, title: str) -> Grid:
    """Bootstrap intervals and permutation tests, a row per comparison (`analysis.stats.robustness.resample`)."""
    rows = []
    for _, row in robust.iterrows():
        cells = (
            Cell(f"{row['difference']:+z.4f}"),
            Cell(f"{row['low']:+z.4f} to {row['high']:+z.4f}" if pd.notna(row["low"]) else "-"),
            p_cell(row["p_runs"]),
            p_cell(row["p_runs_least"]),
            p_cell(row["p_signs"]),
        )
        rows.append((f"{row['arm']} against {row['reference']}", cells))
    columns = ("difference", "bootstrap", "runs exchanged", "least", "signs flipped")
    return Grid(title, "comparison", columns, tuple(rows))
