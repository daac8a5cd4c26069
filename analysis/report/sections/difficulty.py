"""Difficulty of images: the share of scores that metadata alone explain, without any network."""

import numpy as np
import pandas as pd

from analysis.probes.difficulty import difficulty
from analysis.report.data import ReportData
from analysis.report.grid import frame_grid
from analysis.report.section import Part, Section, to_csv
from analysis.wording import format_p


def section(data: ReportData) -> Section | None:
    """Shares of variance that metadata alone explain; the same rows give the same p-values."""
    baseline = data.study.baseline
    found = difficulty(data.collected.images, baseline, np.random.default_rng(0)) if data.counted else pd.DataFrame()
    if found.empty:
        return None
    grid = frame_grid(found, f"How much of {baseline}'s F1 do metadata alone explain?")
    line, words = difficulty_caption(found, baseline)
    part = Part((grid,), (line, words), (line,), False, {"difficulty.csv": to_csv(found)})
    return Section("Which images are hard?", (part,))


def difficulty_caption(found: pd.DataFrame, baseline: str) -> tuple[str, str]:
    """A line with the shares, and a paragraph that explains them."""
    listed = []
    for _, row in found.iterrows():
        categorical = row["kind"] == "categorical"
        share = max(row["corrected"], 0) if categorical else row["explained"]
        sign = "" if categorical else f", rank correlation {row['correlation']:+.2f}"
        known = f"{100 * share:.0f} % ({format_p(row['p'])}{sign})"
        listed.append(f"{row['column']} {known if pd.notna(row['explained']) else 'nothing: all scores are equal'}")
    line = (
        f"Difficulty: share of the variance of {baseline}'s F1 that metadata alone explain, without any network: "
        f"{'; '.join(listed)}."
    )
    words = (
        "F1 of images (macro over classes, mean over seeds), averaged within groups. explained: eta squared of a "
        "one-way analysis of variance, or Spearman's correlation squared. corrected: epsilon squared, which is 0 on "
        "average where the column explains nothing (negative values are printed as 0 % above). p: from 9999 "
        "permutations. A column that explains much shows which images are hard, which isn't the same as helping to "
        "segment them."
    )
    return line, words
