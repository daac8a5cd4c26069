"""False-positive rates of the main test by design, measured on simulated nulls: docs/results/calibration."""

import math
from typing import Any

import pandas as pd
from scipy import stats

from analysis.stats.comparisons import FEWEST_UNITS
from analysis.stats.mrmc import FEWEST_FOLDS

PROMISED_UNITS = 30
"""Effective units from which on the promise holds."""

RATES = ((10, "4 to 6 %"), (5, "3 to 6 %"), (3, "2 to 6 %"), (2, "1 to 6 %"))
"""With at least so many seeds in both arms: false positives at a nominal 5 %."""

OF_FOLDS = "at most 2 %"
"""The same with folds, whose variance is widened, where networks of one fold depend on no others."""

UNLIKE = 2.0
"""Ratio of two arms' SDs among seeds from which on it is told."""

SAME = 1e-12
"""An SD below is of float error: the seeds' means are the same."""


def seed_ratio(row: "pd.Series[Any]") -> float:
    """Ratio of the arm's SD across seeds to the reference's; NaN where it isn't known."""
    ours, theirs = (float(row.get(name, math.nan)) for name in ("seed_sd", "seed_sd_reference"))
    if math.isnan(ours) or math.isnan(theirs):
        return math.nan
    ours, theirs = (0.0 if sd < SAME else sd for sd in (ours, theirs))
    return ours / theirs if theirs > 0 else (1.0 if ours == 0 else math.inf)


def unlike_comparisons(tests: pd.DataFrame) -> list[str]:
    """Sentences on comparisons whose arms' seeds differ in SD, one for each arm that varies more.

    The test gives each arm a variance of its own, so that p-values hold; the sentences say which arm's seeds decide.

    Args:
        tests: rows of `analysis.stats.comparisons.compare`.
    """
    found: dict[str, list[str]] = {}
    for _, row in tests.iterrows():
        ratio, counts = seed_ratio(row), (int(row["n_seeds"]), int(row["n_seeds_reference"]))
        if min(counts) < 2 or math.isnan(ratio) or 1 / UNLIKE <= ratio <= UNLIKE:
            continue
        more, less = (row["arm"], row["reference"]) if ratio > 1 else (row["reference"], row["arm"])
        if ratio < 1:
            counts = counts[1], counts[0]
        times = max(ratio, 1 / ratio) if ratio > 0 else math.inf
        found.setdefault(str(more), []).append(f"{less} ({_times(times)}, {_chance(times, counts)} in 100)")
    return [
        f"the seeds of {more} vary more than those of {', '.join(others)}: more seeds of {more} would tell most"
        for more, others in found.items()
    ]


def _times(ratio: float) -> str:
    return "many times" if math.isinf(ratio) else f"{ratio:.1f} times" if ratio < 10 else f"{ratio:.0f} times"


def _chance(ratio: float, counts: tuple[int, int]) -> str:
    """Percentage of pairs of arms that vary alike whose SDs differ at least so much, either way."""
    either = stats.f.sf(ratio**2, counts[0] - 1, counts[1] - 1) + stats.f.sf(ratio**2, counts[1] - 1, counts[0] - 1)
    return "fewer than 1" if (chance := 100 * float(either)) < 1 else f"{chance:.0f}"


def calibration_sentence(row: "pd.Series[Any]") -> str:
    """A sentence on how often equal arms of this design are called different at p < 0.05.

    Args:
        row: of `analysis.stats.comparisons.compare`; n_folds may lack where there is one split.
    """
    counts, units = (int(row["n_seeds"]), int(row["n_seeds_reference"])), float(row["n_effective"])
    folds = int(row.get("n_folds", 1))
    if min(counts) < (1 if folds >= FEWEST_FOLDS else 2) or units < FEWEST_UNITS:
        return "Nothing is tested."
    seeds = f"{counts[0]} seeds each" if counts[0] == counts[1] else f"{counts[0]} and {counts[1]} seeds"
    if max(counts) == 1:
        seeds = "one seed each"
    design = f"{seeds}{f' in each of {folds} folds' if folds > 1 else ''}, {units:.4g} effective units"
    if folds > 1:
        return (
            f"Of simulated equal arms of such a design ({design}), {OF_FOLDS} are called different at p < 0.05 where "
            "folds are independent of each other; more where they aren't."
        )
    rates = next(rates for least, rates in RATES if min(counts) >= least)
    if units < PROMISED_UNITS:
        return (
            f"Of simulated equal arms of such a design ({design}), {rates} are called different at p < 0.05 where "
            f"there are {PROMISED_UNITS} units or more, and up to 7 % with so few."
        )
    return (
        f"Of simulated equal arms of such a design ({design}), {rates} are called different at p < 0.05, also where "
        "the arms' seeds vary unlike."
    )
