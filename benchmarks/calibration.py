"""False positives of our test and of the usual tests on the same simulated scores, over a grid of regimes.

    python -m benchmarks.calibration      # about five minutes of one core

It writes `docs/results/calibration/{table.csv,table.md,calibration.png,power.png}`.
"""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.stats.mrmc import Components
from analysis.stats.power import power
from benchmarks.calibration_figures import draw_power, draw_sizes
from benchmarks.null_draws import (
    Regime,
    by_well,
    costly_peers,
    expected_difference,
    ours,
    peers,
    simulate,
    size_by_mean_squares,
)

OUT = Path(__file__).parents[1] / "docs" / "results" / "calibration"
DRAWS, COSTLY_DRAWS, SQUARES_DRAWS, POWER_DRAWS = 4000, 400, 100_000, 1000
CHUNK = 600_000
"""Scores at once: what a processor's cache holds."""
METHODS = ("ours", "wilcoxon", "paired t", "welch", "autorank", "rliable")
POWER_DESIGNS = (
    Regime((3, 3), 75, 0.003, 0.01, 0.02),
    Regime((5, 5), 75, 0.006, 0.01, 0.02),
    Regime((10, 10), 75, 0.006, 0.01, 0.02),
)
EFFECTS = np.linspace(0, 0.02, 9)


def grid() -> Iterator[tuple[str, Regime]]:
    """Every regime with the name of its kind."""
    for seeds, images in product((2, 3, 5, 10), (10, 30, 75, 300, 500)):
        for arm_image, residual, seed in product((0.0, 0.01, 0.03), (0.01, 0.02), (0.0, 0.003, 0.006, 0.012)):
            yield "normal", Regime((seeds, seeds), images, seed, arm_image, residual)
    for images, seed in product((10, 30, 75, 300), (0.003, 0.006)):
        yield "3 against 5 seeds", Regime((3, 5), images, seed, 0.01, 0.02)
        yield "2 against 10 seeds", Regime((2, 10), images, seed, 0.01, 0.02)
    for seeds, images, seed in product((3, 5, 10), (10, 30, 75, 300), (0.003, 0.006)):
        yield "skewed", Regime((seeds, seeds), images, seed, 0.01, 0.02, skewed=True)
    unequal = tuple(np.resize([1, 2, 3, 5, 14], 30).tolist())
    for seeds, seed in product((3, 5, 10), (0.0, 0.003, 0.006)):
        for kind, wells in (
            ("wells of 5", (5,) * 10), ("wells of 5", (5,) * 30), ("wells of 1 to 14", unequal),
            ("wells of 1 to 14", unequal * 2),
        ):  # fmt: skip
            yield kind, Regime((seeds, seeds), sum(wells), seed, 0.01, 0.02, wells=wells)


def promised(regime: Regime) -> bool:
    """True for regimes with the promised size of at most 6 %: at least 2 seeds per arm and 30 units.

    Wells of n images count as (sum n)² / sum n² units, which is their number where they are equal.
    """
    wells = np.array(regime.wells or (1,) * regime.images)
    return min(regime.seeds) >= 2 and wells.sum() ** 2 / (wells**2).sum() >= 30


def positives(
    rng: np.random.Generator, regime: Regime, draws: int, costly: int, effect: float = 0.0
) -> dict[str, float]:
    """Share of draws that each method calls significant, and of our intervals that cover the true difference.

    Args:
        rng: of the draws.
        regime: what is drawn from.
        draws: how many, for our test and for cheap ones.
        costly: on how many of them the costly ones are tried.
        effect: on the first arm.
    """
    found: dict[str, list[np.ndarray]] = {}
    size = max(CHUNK // (sum(regime.seeds) * regime.images), 1)
    truth = expected_difference(regime, effect)
    for start in range(0, draws, size):
        scores = simulate(rng, regime, min(size, draws - start), effect)
        estimate, p, half = ours(by_well(scores, regime.wells) if regime.wells else scores, regime.seeds, regime.wells)
        parts = {"ours": p < 0.05, "coverage": np.abs(estimate - truth) <= half}
        if regime.wells:
            parts["ours, wells forgotten"] = ours(scores, regime.seeds)[1] < 0.05
        parts |= peers(scores, regime.seeds)
        if start < costly:
            parts |= costly_peers(scores[: costly - start], regime.seeds)
        for name, values in parts.items():
            found.setdefault(name, []).append(values)
    return {name: float(np.concatenate(values).mean()) for name, values in found.items()}


def sizes(rng: np.random.Generator) -> pd.DataFrame:
    """A row a regime; shares in %. Coverage of skewed scores is of a true difference, where an arm has a z of -0.01."""
    rows = []
    for kind, regime in grid():
        shares = positives(rng, regime, DRAWS, COSTLY_DRAWS)
        if regime.skewed:
            shares["coverage"] = positives(rng, regime, DRAWS, 0, effect=-0.01)["coverage"]
        if not regime.skewed and not regime.wells:
            shares["ours, by mean squares"] = size_by_mean_squares(rng, regime, SQUARES_DRAWS)
        about = {
            "kind": kind, "seeds": regime.seeds[0], "other_seeds": regime.seeds[1], "images": regime.images,
            "units": len(regime.wells) or regime.images, "seed_sd": regime.seed_sd,
            "arm_image_sd": regime.arm_image_sd, "residual_sd": regime.residual_sd, "promised": promised(regime),
        }  # fmt: skip
        rows.append(about | {name: 100 * share for name, share in shares.items()})
    return pd.DataFrame(rows)


def powers(rng: np.random.Generator) -> pd.DataFrame:
    """A row a design and effect; shares in %, and what `analysis.stats.power` expects of ours."""
    rows = []
    for regime, effect in product(POWER_DESIGNS, EFFECTS):
        shares = positives(rng, regime, POWER_DRAWS, COSTLY_DRAWS, float(effect))
        components = Components(regime.seed_sd**2, 0.0, regime.arm_image_sd**2, regime.residual_sd**2)
        shares["expected"] = float(power(components, regime.seeds[0], regime.images, effect))
        about = {"seeds": regime.seeds[0], "images": regime.images, "seed_sd": regime.seed_sd, "effect": effect}
        rows.append(about | {name: 100 * share for name, share in shares.items()})
    return pd.DataFrame(rows)


def _range(values: pd.Series) -> str:
    if values.isna().all():
        return ""
    low, high = f"{values.min():.1f}", f"{values.max():.1f}"
    return low if low == high else f"{low} to {high}"


def _markdown(rows: pd.DataFrame, by: list[str], columns: list[str]) -> str:
    """Ranges of `columns` over the rows that have equal `by`."""
    head = [name.replace("_", " ") for name in [*by, *columns]]
    lines = [head, ["---"] * len(head)]
    for key, part in rows.groupby(by, sort=False):
        lines.append([*map(str, key), *(_range(part[name]) for name in columns)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def page(table: pd.DataFrame, curves: pd.DataFrame) -> str:
    """The Markdown page."""
    normal = table[table["kind"] == "normal"]
    others = table[table["kind"] != "normal"].sort_values(["kind", "seeds", "units"], kind="stable")
    exact, within = "ours, by mean squares", table[table["promised"]]
    small = normal[normal["images"] == 10]
    known = within[within["kind"] == "normal"].groupby("seeds")[exact]
    by_seeds = "; ".join(f"{seeds} seeds {_range(part)} %" for seeds, part in known)
    unequal = others[(others["kind"] == "wells of 1 to 14") & (others["units"] == 30)]
    kept = within["ours"] <= 6 + 2 * 0.375
    noisy = normal[(normal["seed_sd"] >= 0.006) & (normal["images"] >= 30)]
    null = curves[curves["effect"] == 0]
    inflated = [name for name in METHODS if null[name].max() > 8]
    shown = curves[curves["effect"].isin(EFFECTS[::2])].copy()
    shown["effect"] = shown["effect"].round(4)
    columns = ["ours", "coverage", "ours, wells forgotten", *METHODS[1:]]
    return f"""# Calibration: how often are equal arms called different?

At a nominal 5 %, on simulated scores of two arms that don't differ. *Ours* is `analysis.stats.mrmc.difference`; the
others are tried on the same draws.

**The promise: with 2 or more seeds an arm and 30 or more units, at most 6 %, however variance is shared between seeds
and units.** Units are images, or wells where a well's images aren't independent; wells of n images count as
(Σn)² / Σn² units, their number where they are equal. [Arms whose seeds vary unlike](unlike_seeds.md) and
[folds](folds.md) have pages of their own.

- Within it, on the grid of normal scores below: {_range(within[exact])} %, by {SQUARES_DRAWS} draws a regime of the
  test's mean squares (standard error 0.07). {by_seeds[0].upper() + by_seeds[1:]}.
- By {DRAWS} draws a regime of scores (standard error 0.3 to 0.4), skewed scores, unequal arms and wells included:
  {kept.sum()} of {len(within)} regimes are at most at 6 % give or take two standard errors; all are in
  {_range(within["ours"])} %.
- Outside, 10 images: {_range(small[exact])} %.
- Outside, 30 wells of 1 to 14 images, which count as 16: {_range(unequal["ours"])} %.

The usual tests of images leave out that seeds vary. With seed SD 0.006 or more and 30 or more images, Wilcoxon's test
on seed averages calls equal arms different in {_range(noisy["wilcoxon"])} % of draws; more images make it worse.
Welch's test of runs leaves out that images vary: up to {normal["welch"].max():.0f} %. A bootstrap over runs leaves out
images, and one that resamples runs anew for each image averages seeds away, too: up to {normal["rliable"].max():.0f} %.

![False positives of six methods over the grid](calibration.png)

## Normal scores

Image SD 0.05; arm x image SD 0, 0.01 and 0.03; residual SD 0.01 and 0.02; seed SD 0, 0.003, 0.006 and 0.012, of scores
about 0.8. False positives in %, lowest and highest of a row's 24 regimes. 95 % intervals cover the true difference in
100 % less that: an interval is its test turned round, and a difference shifts normal scores as a whole.

{_markdown(normal, ["seeds", "images"], [exact, *METHODS])}

## Other scores

- Skewed: F1 = 1 / (1 + exp(16 z - 3.2)), z normal, about 0.94 with a long tail below; the same law for both arms.
- Wells: half of each variance among images is common to a well's images.
- Arm x image SD 0.01; residual SD 0.02; seed SD 0.003 and 0.006, with wells also 0.

False positives in %; coverage of 95 % intervals in %, for skewed scores where arms truly differ (by
{abs(expected_difference(Regime((3, 3), 30, 0.003, 0.01, 0.02, skewed=True), -0.01)):.4f}, not by a shift).

{_markdown(others, ["kind", "seeds", "other_seeds", "units"], columns)}

"Wells forgotten" is our test with images as units. The other methods know of no wells either.

## Power

Arm x image SD 0.01, residual SD 0.02; {POWER_DRAWS} draws a point. What is called different where the difference is 0
is error, and a method that makes too much of it hasn't earned its power. More than 8 % in one of these designs:
{", ".join(inflated)}. The line is what `analysis.stats.power` expects of ours.

![Power of six methods](power.png)

{_markdown(shown, ["seeds", "seed_sd", "effect"], ["expected", *METHODS])}

## Methods

- **wilcoxon**, **paired t**: signed-rank and t test on images, scores averaged over seeds.
- **welch**: t test between the means of runs, unequal variances.
- **autorank**: as that package decides: Shapiro and Wilk's test on both arms' seed averages, then paired t or Wilcoxon.
- **rliable**: in that package's way, the 95 % percentile interval of a bootstrap over runs, stratified by image; of the
  mean, which is what the others compare, with 400 resamples. This and autorank on {COSTLY_DRAWS} of the draws (standard
  error 1.1 at 5 %).

[Every regime](table.csv). To re-run: `python -m benchmarks.calibration`.
`pytest -m slow tests/analysis/stats/test_calibration.py` re-runs the promised part and fails where the promise isn't
kept.
"""


def main() -> None:
    """Simulate, and write all files."""
    rng = np.random.default_rng(2026)
    table, curves = sizes(rng), powers(rng)
    OUT.mkdir(parents=True, exist_ok=True)
    table.round(4).to_csv(OUT / "table.csv", index=False)
    (OUT / "table.md").write_text(page(table, curves))
    (OUT / "calibration.png").write_bytes(draw_sizes(table[table["kind"] == "normal"], METHODS))
    (OUT / "power.png").write_bytes(draw_power(curves, METHODS))


if __name__ == "__main__":
    main()
