"""Does resampling agree? A bootstrap and permutations beside the F test."""

import numpy as np
import pandas as pd

from analysis.report.data import ReportData
from analysis.report.grid import Cell, Grid, p_cell
from analysis.report.section import Part, Section, to_csv
from analysis.stats.robustness import DRAWS, PERMUTATIONS, resample
from analysis.wording import Names
from metaseg.schema import Seeds

CAPTION = (
    "A check by other methods: each column answers a question of its own, and none replaces the verdict. bootstrap: "
    "95 % interval (not corrected) without the assumption of normal scores; seeds and {units} are resampled. runs "
    "exchanged: could other seeds have made the difference on these {images}? p of permuting runs between the two "
    "arms, which with few seeds can't be below that in column least. signs flipped: do these very networks differ on "
    "other {images}? p of flipping the sign of the difference on each of the {units}. The last two each leave out one "
    "source of variance, seeds or {images}; the test behind the verdict includes both."
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
    found = resample(data.overall, data.looked_at, np.random.default_rng(0), data.study.seeds)
    if found.empty or found["low"].isna().all():  # with one seed nothing is tested, by whatever method
        return None
    grid = resampling_grid(found, "The comparisons by resampling")
    words = CAPTION.format(units=data.names.units, images=data.names.images)
    if data.study.seeds == "crossed":
        words += " Runs aren't exchanged where those of equal seed are pairs."
    if data.folds:
        words += " The bootstrap is widened as the test is; permutations take folds for independent of each other."
    if data.study.sequential is not None:
        words += " None of these allows for the looks: they take all seeds that there are for planned beforehand."
    part = Part((grid,), (words,), (), False, {"resampling.csv": to_csv(found)})
    return Section("Does resampling agree?", (part,), *_methods(found, data.names, data.study.seeds))


def _methods(found: pd.DataFrame, names: Names, seeds: Seeds) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A sentence on what was resampled, and its sources."""
    exchanged = "runs and of signs" if seeds == "nested" else "signs"
    said = (
        f"Intervals were checked by a bootstrap of {DRAWS} draws that reweights runs and {names.units} independently, "
        f"rescaled for small numbers, and by permutations of {exchanged} (all of them, or {PERMUTATIONS} at "
        "random where there are more)."
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
