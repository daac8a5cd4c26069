"""Error rates and power of the main test with folds, beside one split and the usual tests over folds.

    python -m benchmarks.fold_draws      # about three minutes of one core

It writes `docs/results/calibration/{folds.csv,folds.md}`. Scores are drawn: networks of folds are independent here,
which those whose training sets overlap may not be.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special, stats

from analysis.stats.mrmc import Overlap, widening
from benchmarks.null_draws import IMAGE_SD, IN_WELLS, ODDS, STEEPNESS, Floats, by_well, ours, tested

OUT = Path(__file__).parents[1] / "docs" / "results" / "calibration"
DRAWS, CHUNK = 10_000, 250
FOLDS = 5
SEEDS = ((1, 1), (2, 2), (3, 3), (5, 2), (5, 1))
SDS = ((0.006, 0.006), (0.003, 0.012), (0.012, 0.003))
PARTS = ((0.03, 0.02), (0.0, 0.02))
"""Standard deviations of arm x image and of the residual."""
EFFECT = 0.02


@dataclass(frozen=True)
class Layout:
    """Layout of images in groups and folds."""

    name: str
    folds: tuple[int, ...]
    """Numbers of units in each fold."""
    sizes: tuple[int, ...] = ()
    """Images of each unit; empty where units are images."""
    skewed: bool = False

    @property
    def fold(self) -> npt.NDArray[np.int64]:
        """`(units,)`"""
        return np.repeat(np.arange(len(self.folds)), self.folds)

    @property
    def weights(self) -> Floats:
        """`(units,)` shares in the mean."""
        sizes = np.array(self.sizes or (1,) * sum(self.folds), float)
        return np.asarray(sizes / sizes.sum())


LAYOUTS = (
    Layout("images", (20,) * FOLDS),
    Layout("skewed", (20,) * FOLDS, skewed=True),
    Layout("groups of 1 to 4", (8,) * FOLDS, (1, 2, 3, 4) * 10),
    Layout("unequal folds", (40, 20, 20, 10, 10)),
    Layout("one group out", (1,) * 10, (10,) * 10),
)


def draw(
    rng: np.random.Generator,
    layout: Layout,
    seeds: tuple[int, int],
    sds: tuple[float, float],
    parts: tuple[float, float],
    draws: int,
    effect: float = 0.0,
) -> Floats:
    """Scores `(draws, runs, units)`; a run is a seed's networks of all folds; the first arm's z differs by `effect`."""
    sizes = layout.sizes or (1,) * sum(layout.folds)
    images = sum(sizes)
    fold = np.repeat(layout.fold, sizes)

    def normal(rows: int, sd: float) -> Floats:
        own = rng.standard_normal((draws, rows, images))
        if not layout.sizes:
            return np.asarray(sd * own)
        shared = np.repeat(rng.standard_normal((draws, rows, len(sizes))), sizes, axis=2)
        return np.asarray(sd * (np.sqrt(1 - IN_WELLS) * own + np.sqrt(IN_WELLS) * shared))

    of_arm = normal(2, parts[0]) + normal(1, IMAGE_SD)
    of_arm[:, 0] += effect
    networks = rng.standard_normal((draws, sum(seeds), len(layout.folds))) * np.repeat(sds, seeds)[:, None]
    z = np.repeat(of_arm, seeds, axis=1) + networks[..., fold] + normal(sum(seeds), parts[1])
    scores = special.expit(ODDS - STEEPNESS * z) if layout.skewed else 0.8 + z
    return by_well(scores, sizes) if layout.sizes else scores


def ours_in_folds(
    values: Floats,
    seeds: tuple[int, int],
    fold: npt.NDArray[np.int64],
    weights: Floats,
    overlap: Overlap = "ignored",
) -> tuple[Floats, Floats, Floats]:
    """`analysis.stats.mrmc.difference` of each draw: as `benchmarks.null_draws.ours`, of units in folds.

    Drawn folds are independent; reports widen what they say of real ones (`overlap="corrected"`).
    """
    in_fold = (fold[:, None] == np.arange(fold.max() + 1)).astype(float)
    share = weights @ in_fold
    wider = widening(len(share), len(share)) if overlap == "corrected" else 1.0
    cell = fold if (np.bincount(fold) > 1).all() else np.zeros_like(fold)
    in_cell = (cell[:, None] == np.arange(cell.max() + 1)).astype(float)
    own = weights / (weights @ in_cell)[cell]
    squares = own**2 @ in_cell
    scale = weights**2 / (1 - 2 * own + squares[cell])
    known = weights**2 @ in_cell

    def of_units(values: Floats) -> Floats:
        centred = values - ((values * own) @ in_cell)[..., cell]
        return np.asarray(centred**2 @ scale)

    arms = values[:, : seeds[0]], values[:, seeds[0] :]
    changes = arms[0].mean(axis=1) - arms[1].mean(axis=1)
    estimate, by_units = changes @ weights, of_units(changes)
    f_units = float(known.sum() ** 2 / np.sum(known**2 / (1 / squares - 1)))
    if min(seeds) == 1 or len(fold) == len(share):
        by_fold, total = (changes * weights) @ in_fold, float(share @ share)
        among = ((by_fold - share * estimate[:, None]) ** 2) @ (1 / (1 - 2 * share + total))
        se, df = np.sqrt(wider * np.maximum(among, by_units)), 1 / total - 1
        return estimate, 2 * stats.t.sf(np.abs(estimate) / se, df), stats.t.ppf(0.975, df) * se
    by_seeds, error = [], 0.0
    for arm, count in zip(arms, seeds, strict=True):
        apart = arm - arm.mean(axis=1, keepdims=True)
        by_seeds.append(wider * (((apart * weights) @ in_fold) ** 2).sum(axis=(1, 2)) / (count * (count - 1)))
        error = error + of_units(apart).sum(axis=1) / (count * (count - 1))
    spare = float(np.sum(share**2) ** 2 / np.sum(share**4))
    freedoms = [*((count - 1) * spare for count in seeds), f_units]
    return tested(estimate, by_seeds, wider * by_units, np.asarray(wider * error), freedoms)


def over_folds(changes: Floats, layout: Layout) -> dict[str, npt.NDArray[np.bool_]]:
    """Apply the usual tests over folds and over units, at 5 %.

    Args:
        changes: `(draws, units)` differences of the arms' means over seeds.
        layout: of units.
    """
    folds = len(layout.folds)
    by_fold = np.stack([changes[:, layout.fold == f].mean(axis=1) for f in range(folds)], axis=1)
    mean, variance = by_fold.mean(axis=1), by_fold.var(axis=1, ddof=1)
    found = {"paired t over folds": 1 / folds, "Nadeau-Bengio": 1 / folds + 1 / (folds - 1)}
    shares = {
        name: 2 * stats.t.sf(np.abs(mean) / np.sqrt(factor * variance), folds - 1) < 0.05
        for name, factor in found.items()
    }
    return shares | {"wilcoxon over units": stats.wilcoxon(changes, axis=1).pvalue < 0.05}


def shares(
    rng: np.random.Generator,
    layout: Layout,
    seeds: tuple[int, int],
    sds: tuple[float, float],
    parts: tuple[float, float],
    effect: float = 0.0,
) -> dict[str, float]:
    """Share of draws that each test calls different; one split has as many runs, and the first fold's units."""
    split = Layout("one split", layout.folds[:1], layout.sizes[: layout.folds[0]], layout.skewed)
    runs = seeds[0] * len(layout.folds), seeds[1] * len(layout.folds)
    found: dict[str, list[npt.NDArray[np.bool_]]] = {}
    for _ in range(DRAWS // CHUNK):
        values = draw(rng, layout, seeds, sds, parts, CHUNK, effect)
        here = {"folds": ours_in_folds(values, seeds, layout.fold, layout.weights)[1] < 0.05}
        if layout.folds[0] > 1:
            alone = draw(rng, split, runs, sds, parts, CHUNK, effect)
            here["one split"] = ours(alone, runs, split.sizes)[1] < 0.05
        here |= over_folds(values[:, : seeds[0]].mean(axis=1) - values[:, seeds[0] :].mean(axis=1), layout)
        for name, significant in here.items():
            found.setdefault(name, []).append(significant)
    return {name: 100 * float(np.concatenate(each).mean()) for name, each in found.items()}


def table(rng: np.random.Generator) -> pd.DataFrame:
    """A row a regime: shares in %, of equal arms and of arms that differ by `EFFECT`."""
    rows = []
    for layout, seeds, sds, parts in product(LAYOUTS, SEEDS, SDS, PARTS):
        if seeds[0] == seeds[1] and sds[0] > sds[1]:
            continue
        about = {"layout": layout.name, "seeds": seeds[0], "other_seeds": seeds[1], "seed_sd": sds[0]}
        about |= {"other_seed_sd": sds[1], "arm_image_sd": parts[0], "residual_sd": parts[1]}
        if sds[0] == sds[1] and layout.name == "images" and seeds[0] == seeds[1]:
            rows.append(about | {"effect": EFFECT} | shares(rng, layout, seeds, sds, parts, EFFECT))
        rows.append(about | {"effect": 0.0} | shares(rng, layout, seeds, sds, parts))
    return pd.DataFrame(rows)


NAMES = ("folds", "one split", "paired t over folds", "Nadeau-Bengio", "wilcoxon over units")


def page(rows: pd.DataFrame) -> str:
    """The Markdown page."""
    null, planted = rows[rows["effect"] == 0], rows[rows["effect"] > 0]
    several = null[null[["seeds", "other_seeds"]].min(axis=1) > 1]
    single = null[null[["seeds", "other_seeds"]].min(axis=1) == 1]
    return f"""# Calibration: folds

In % at a nominal 5 %, {DRAWS} draws a regime (standard error
{100 * np.sqrt(0.05 * 0.95 / DRAWS):.2f}). {FOLDS} folds of 100 images in all, or 10 folds of
one group; arm x image SD 0.03 or 0, residual SD 0.02; seed SDs 0.006 in both arms, or 0.003 and 0.012 either way. A
seed gives another network in each fold. Groups share half of each variance among images. *Folds* is
`analysis.stats.mrmc.difference` before it is widened (`overlap="ignored"`), as suits folds that are independent of each
other; *one split* is the same test with as many runs an arm, on the first fold's images.

- Two or more seeds a fold: {several["folds"].min():.1f} to {several["folds"].max():.1f} % of equal arms are called
  different.
- One seed a fold, in one arm or both: {single["folds"].min():.1f} to {single["folds"].max():.1f} %. A fold's seeds have
  no variance then, and what folds differ by stands for seeds and units alike, with few degrees of freedom.
- These networks are independent between folds. Those of real folds share most of their training images, which these
  draws say nothing of: [trained networks](fold_trainings.md) do. Reports therefore widen the variance by
  1 + K / (K - 1): they call equal arms different less often than said here, and find less.

## Equal arms called different

Lowest and highest over SDs.

{_markdown(null, ["layout", "seeds", "other_seeds"])}

## Arms that differ by {EFFECT}

Independent images.

{_markdown(planted, ["seeds", "arm_image_sd"])}

[Every regime](folds.csv). To re-run: `python -m benchmarks.fold_draws`.
"""


def _markdown(rows: pd.DataFrame, by: Sequence[str]) -> str:
    head = [name.replace("_", " ") for name in [*by, *NAMES]]
    lines = [head, ["---"] * len(head)]
    for key, part in rows.groupby(list(by), sort=False):
        ranges = [(part[name].min(), part[name].max()) for name in NAMES]
        cells = [
            "" if np.isnan(low) else f"{low:.1f}" + (f" to {high:.1f}" if high > low else "") for low, high in ranges
        ]
        lines.append([*map(str, key), *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Simulate, and write both files."""
    rows = table(np.random.default_rng(2026))
    OUT.mkdir(parents=True, exist_ok=True)
    rows.round(4).to_csv(OUT / "folds.csv", index=False)
    (OUT / "folds.md").write_text(page(rows))


if __name__ == "__main__":
    main()
