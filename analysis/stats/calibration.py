"""False-positive rates of the main test by design, measured on simulated nulls: docs/results/calibration."""

import math
from typing import Any

import pandas as pd
from scipy import stats

from analysis.stats.comparisons import FEWEST_UNITS

PROMISED_SEEDS, PROMISED_UNITS, UNLIKE = 3, 30, 2.0
"""Seeds an arm and effective units from which on, and the ratio of seeds' SDs up to which, the promise holds."""

EQUAL_COUNTS = ((10, "5 to 6 %"), (5, "6 to 7 %"), (3, "7 to 9 %"), (2, "9 to 10 %"))
"""With as many seeds in both arms, at least so many: false positives where one arm's SD is four times the other's."""

OTHER_COUNTS = ((3.0, "16 to 27 %", "about 1 %", "10 against 3"), (1.0, "11 to 15 %", "3 %", "5 against 3"))
"""With unequal numbers of seeds, in at least this ratio: false positives where the arm with fewer varies four times as
much as the other, and a quarter as much; and the numbers of seeds that were simulated."""

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
    """Sentences on comparisons whose arms' seeds differ in number or SD; those with one reference and number in one.

    Args:
        tests: rows of `analysis.stats.comparisons.compare`.
    """
    sentences: list[str] = []
    unlike = [(row, said) for _, row in tests.iterrows() if (said := unlike_seeds(row))]
    alike: dict[tuple[str, int], list[pd.Series[Any]]] = {}
    for row, said in unlike:
        if row["n_seeds"] == row["n_seeds_reference"]:
            alike.setdefault((str(row["reference"]), int(row["n_seeds"])), []).append(row)
        else:
            sentences.append(said)
    for (reference, seeds), rows in alike.items():
        if len(rows) == 1:
            sentences.append(unlike_seeds(rows[0]))
            continue
        arms = [f"{row['arm']} ({_times(seed_ratio(row))})" for row in rows]
        chances = [_chance(seed_ratio(row), seeds) for row in rows]
        errs = next(errs for count, errs in EQUAL_COUNTS if seeds >= count)
        sentences.append(
            f"seeds of {reference} and of {', '.join(arms)} vary unequally (ratio of SDs; {', '.join(chances)} in 100 "
            f"pairs of arms that truly vary alike show such a ratio with {seeds} seeds each); where it is truly 4, "
            f"equal arms are called different in {errs} of draws"
        )
    return sentences


def _times(ratio: float) -> str:
    times = max(ratio, 1 / ratio) if ratio > 0 else math.inf
    return "many times" if math.isinf(times) else f"{times:.1f} times" if times < 10 else f"{times:.0f} times"


def _chance(ratio: float, seeds: int) -> str:
    """Percentage of pairs of arms that vary alike whose SDs differ at least so much."""
    times = max(ratio, 1 / ratio) if ratio > 0 else math.inf
    chance = 200 * float(stats.f.sf(times**2, seeds - 1, seeds - 1))
    return "fewer than 1" if chance < 1 else f"{chance:.0f}"


def unlike_seeds(row: "pd.Series[Any]") -> str:
    """A sentence on two arms whose seeds differ in number or SD, with the test's false positives; else nothing.

    Args:
        row: of `analysis.stats.comparisons.compare`; seed_sd and seed_sd_reference may lack.
    """
    counts = int(row["n_seeds"]), int(row["n_seeds_reference"])
    if min(counts) < 2:
        return ""
    ratio = seed_ratio(row)
    times = 1.0 if math.isnan(ratio) else max(ratio, 1 / ratio) if ratio > 0 else math.inf
    more, less = (row["arm"], row["reference"]) if ratio > 1 else (row["reference"], row["arm"])
    varies = f"the seeds of {more} vary {_times(ratio)} as much as those of {less} (SD)" if times > UNLIKE else ""
    if counts[0] == counts[1]:
        if not varies:
            return ""
        errs = next(errs for count, errs in EQUAL_COUNTS if counts[0] >= count)
        return (
            f"{varies}; {_chance(ratio, counts[0])} in 100 pairs of arms that truly vary alike show such a ratio with "
            f"{counts[0]} seeds each; where it is truly 4, equal arms are called different in {errs} of draws"
        )
    few = row["arm"] if counts[0] < counts[1] else row["reference"]
    highest, lowest, tried = next(known[1:] for known in OTHER_COUNTS if max(counts) / min(counts) >= known[0])
    unequal = f"{row['arm']} has {counts[0]} seeds and {row['reference']} {counts[1]}"
    return (
        f"{unequal}{' and ' + varies if varies else ''}; equal arms are called different in {highest} of draws where "
        f"the seeds of {few}, which has fewer, truly vary four times as much, and in {lowest} where a quarter as "
        f"much (simulated with {tried} seeds)"
    )


def calibration_sentence(row: "pd.Series[Any]") -> str:
    """A sentence on how often equal arms of this design are called different at p < 0.05.

    Args:
        row: of `analysis.stats.comparisons.compare`; seed_sd and seed_sd_reference may lack.
    """
    seeds, units = min(int(row["n_seeds"]), int(row["n_seeds_reference"])), float(row["n_effective"])
    if seeds < 2 or units < FEWEST_UNITS:
        return "Nothing is tested."
    reasons = []
    if seeds < PROMISED_SEEDS:
        reasons.append("two seeds of an arm are few (up to 8 %)")
    if units < PROMISED_UNITS:
        reasons.append(f"{units:.3g} effective units are few (up to {7 if units >= 10 else 8} %)")
    if unlike := unlike_seeds(row):
        reasons.append(unlike)
    elif math.isnan(seed_ratio(row)):
        reasons.append("whether the two arms' seeds vary alike isn't known")
    if not reasons:
        return (
            f"Of simulated equal arms of such a design ({seeds} seeds each, {units:.4g} effective units, seeds' SDs "
            "within a factor of 2), 4 to 6 % are called different at p < 0.05."
        )
    return (
        "The 4 to 6 % of equal arms that are called different at p < 0.05 in designs of three or more seeds an arm "
        f"aren't promised here: {'; '.join(reasons)}."
    )
