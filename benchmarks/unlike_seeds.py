"""Error rates of the main test and of equivalence if the seeds of two arms vary unequally, or differ in number.

    python -m benchmarks.unlike_seeds      # about three minutes of one core

It writes `docs/results/calibration/{unlike_seeds.csv,unlike_seeds.md}`.
"""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.null_draws import Floats, one_variance, ours

OUT = Path(__file__).parents[1] / "docs" / "results" / "calibration"
DRAWS = 20_000
UNITS = 75
SEED_SD = 0.003
RATIOS = (1, 2, 4)
SEEDS = ((2, 2), (3, 3), (5, 5), (10, 10), (5, 3), (10, 3), (15, 3), (10, 2))
PARTS = ((0.0, 0.02), (0.01, 0.02), (0.03, 0.01))
"""Standard deviations of arm x image and of the residual."""
CHUNK = 500
POWER_AT = 3.0
"""Difference at which power is shown, in true standard errors."""
MEASURES = ("false_positives", "equivalence", "one_variance")


def draws(
    rng: np.random.Generator, seeds: tuple[int, int], sds: tuple[float, float], parts: tuple[float, float]
) -> Floats:
    """Scores `(CHUNK, runs, units)` of two arms whose expected scores are equal.

    Args:
        rng: of the draws.
        seeds: of both arms.
        sds: standard deviations among seeds of both.
        parts: of arm x image and of the residual.
    """
    of_arm = rng.normal(0.8, parts[0], (CHUNK, 2, UNITS))
    scores = np.repeat(of_arm, seeds, axis=1) + rng.normal(0, parts[1], (CHUNK, sum(seeds), UNITS))
    scores += rng.standard_normal((CHUNK, sum(seeds), 1)) * np.repeat(sds, seeds)[:, None]
    return scores


def table(rng: np.random.Generator) -> pd.DataFrame:
    """A row for each number of seeds, ratio of SDs and pair of other components; shares in %.

    `equivalence` is how often arms that differ by the margin are called equal, where the margin is many standard
    errors; `one_variance` is the false positives of a test with one variance among seeds for both arms; powers are at
    `POWER_AT`.
    """
    rows = []
    for seeds, ratio, parts in product(SEEDS, RATIOS, PARTS):
        for sds in sorted({(SEED_SD, SEED_SD * ratio), (SEED_SD * ratio, SEED_SD)}):
            if seeds[0] == seeds[1] and sds[0] > sds[1]:
                continue
            variance = sum((sd**2 + parts[1] ** 2 / UNITS) / count for sd, count in zip(sds, seeds, strict=True))
            effect = POWER_AT * np.sqrt(variance + 2 * parts[0] ** 2 / UNITS)
            found: dict[str, list[Floats]] = {}
            for _ in range(DRAWS // CHUNK):
                scores = draws(rng, seeds, sds, parts)
                estimate, p, half = ours(scores, seeds)
                shared = one_variance(scores, seeds)
                shares = {"false_positives": p < 0.05, "equivalence": (p < 0.1) & (estimate < 0)}
                shares |= {"one_variance": shared[1] < 0.05}
                shares |= {"power": estimate + effect > half, "power_one_variance": shared[0] + effect > shared[2]}
                for name, values in shares.items():
                    found.setdefault(name, []).append(values)
            about = {"seeds": seeds[0], "other_seeds": seeds[1], "seed_sd": sds[0], "other_seed_sd": sds[1]}
            about |= {"arm_image_sd": parts[0], "residual_sd": parts[1]}
            rows.append(about | {name: 100 * float(np.concatenate(values).mean()) for name, values in found.items()})
    return pd.DataFrame(rows)


def page(rows: pd.DataFrame) -> str:
    """The Markdown page."""
    grids = {name: _grid(rows, name) for name in MEASURES}
    alike = rows[rows["seed_sd"] == rows["other_seed_sd"]]
    lines = [
        f"| {seeds} and {other} | "
        + " | ".join(f"{part[name].min():.0f} to {part[name].max():.0f}" for name in ("power", "power_one_variance"))
        + " |"
        for (seeds, other), part in alike.groupby(["seeds", "other_seeds"], sort=False)
    ]
    return f"""# Calibration: arms whose seeds vary unlike, and unequal numbers of seeds

In % at a nominal 5 %, {UNITS} independent images, {DRAWS} draws a regime (standard error
{100 * np.sqrt(0.05 * 0.95 / DRAWS):.2f}); lowest and highest over
three pairs of arm x image and residual SD. Seed SDs are {SEED_SD} and {SEED_SD} times the ratio. In the columns the arm
with fewer seeds has an SD among seeds that is a multiple of the other arm's.

Each arm has a variance among seeds of its own, and the degrees of freedom are cautious
(`analysis.stats.degrees_of_freedom`):
false positives are {rows["false_positives"].min():.1f} to {rows["false_positives"].max():.1f} %. The test is
conservative where few seeds decide: its promise is at most 6 %.

## Equal arms called different

{grids["false_positives"]}

## Arms that differ by the margin called equal

{grids["equivalence"]}

## The same with one variance for both arms

An analysis of variance, as in `difference(..., variances="pooled")`: equal arms called different.

{grids["one_variance"]}

## What it costs

Power where both arms' seeds vary alike and arms differ by {POWER_AT:g} standard errors, which a test of known variances
finds in 85 %:

| seeds | own variances | one variance |
| --- | --- | --- |
{chr(10).join(lines)}

[Every regime](unlike_seeds.csv). To re-run: `python -m benchmarks.unlike_seeds`.
"""


def _grid(rows: pd.DataFrame, measure: str) -> str:
    lines = ["| seeds | 1/4 | 1/2 | 1 | 2 | 4 |", "| --- | --- | --- | --- | --- | --- |"]
    for (seeds, other), part in rows.groupby(["seeds", "other_seeds"], sort=False):
        cells = []
        for ratio in (1 / 4, 1 / 2, 1, 2, 4):
            here = part[np.isclose(part["other_seed_sd"] / part["seed_sd"], ratio)][measure]
            cells.append(f"{here.min():.1f} to {here.max():.1f}" if len(here) else "")
        lines.append(f"| {seeds} and {other} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Simulate, and write both files."""
    rows = table(np.random.default_rng(2026))
    OUT.mkdir(parents=True, exist_ok=True)
    rows.round(4).to_csv(OUT / "unlike_seeds.csv", index=False)
    (OUT / "unlike_seeds.md").write_text(page(rows))


if __name__ == "__main__":
    main()
