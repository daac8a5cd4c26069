"""Error rate of the main test if the seeds of two arms vary unequally, or if one arm has more seeds.

    python -m benchmarks.unlike_seeds      # about a minute of one core

It writes `docs/results/calibration/{unlike_seeds.csv,unlike_seeds.md}`. In the test arms share one variance among
seeds, so that it is off where they don't share it in truth.
"""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.null_draws import Floats, ours

OUT = Path(__file__).parents[1] / "docs" / "results" / "calibration"
DRAWS = 20_000
UNITS = 75
SEED_SD = 0.003
RATIOS = (1, 2, 4)
SEEDS = ((2, 2), (3, 3), (5, 5), (10, 10), (5, 3), (10, 3), (10, 2))
PARTS = ((0.0, 0.02), (0.01, 0.02), (0.03, 0.01))
"""Standard deviations of arm x image and of the residual."""
CHUNK = 500


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
    """A row for each number of seeds, ratio of SDs and pair of other components; false positives in %."""
    rows = []
    for seeds, ratio, parts in product(SEEDS, RATIOS, PARTS):
        for sds in sorted({(SEED_SD, SEED_SD * ratio), (SEED_SD * ratio, SEED_SD)}):
            if seeds[0] == seeds[1] and sds[0] > sds[1]:
                continue
            found = [ours(draws(rng, seeds, sds, parts), seeds)[1] < 0.05 for _ in range(DRAWS // CHUNK)]
            about = {"seeds": seeds[0], "other_seeds": seeds[1], "seed_sd": sds[0], "other_seed_sd": sds[1]}
            about |= {"arm_image_sd": parts[0], "residual_sd": parts[1]}
            rows.append(about | {"false_positives": 100 * float(np.concatenate(found).mean())})
    return pd.DataFrame(rows)


def page(rows: pd.DataFrame) -> str:
    """The Markdown page."""
    lines = []
    for (seeds, other), part in rows.groupby(["seeds", "other_seeds"], sort=False):
        cells = []
        for ratio in (1 / 4, 1 / 2, 1, 2, 4):
            # The arm with fewer seeds varies `ratio` times as much as the other one.
            here = part[np.isclose(part["other_seed_sd"] / part["seed_sd"], ratio)]["false_positives"]
            cells.append(f"{here.min():.1f} to {here.max():.1f}" if len(here) else "")
        lines.append(f"| {seeds} and {other} | {' | '.join(cells)} |")
    return f"""# Calibration: arms whose seeds vary unlike, and unequal numbers of seeds

False positives in % at a nominal 5 %, equal arms, {UNITS} independent images, {DRAWS} draws a regime (standard error
0.15 to 0.3); lowest and highest over three pairs of arm x image and residual SD. Seed SDs are {SEED_SD} and
{SEED_SD} times the ratio. The test estimates one variance among seeds for both arms.

SD among seeds of the arm with fewer seeds, as a multiple of the other arm's:

| seeds | 1/4 | 1/2 | 1 | 2 | 4 |
| --- | --- | --- | --- | --- | --- |
{chr(10).join(lines)}

With equal numbers of seeds, 3 or more, SDs that differ by a factor of two keep the size within about 6 %. With unequal
numbers, the arm with fewer seeds must not be the one that varies more: the test then errs up to several times as often
as it says, and in the other direction it finds too little. Reports print both arms' SDs and warn.

[Every regime](unlike_seeds.csv). To re-run: `python -m benchmarks.unlike_seeds`.
"""


def main() -> None:
    """Simulate, and write both files."""
    rows = table(np.random.default_rng(2026))
    OUT.mkdir(parents=True, exist_ok=True)
    rows.round(4).to_csv(OUT / "unlike_seeds.csv", index=False)
    (OUT / "unlike_seeds.md").write_text(page(rows))


if __name__ == "__main__":
    main()
