"""Compute that a search saves: sweeps by several methods compared with a grid over the same space.

    python -m benchmarks.sweep_evidence STORE grid_schedule.sme grid_bottleneck.sme     # five minutes

The grids have been trained into STORE by sweeps with `--sampler grid`, by the commands in docs/results/sweeps.md.
Sweeps are replayed: each proposal's validation curve is looked up at the nearest point of the grid (`sweep_replay`).
Counted is the compute, in image-epochs, until a complete trial is within a margin of the grid's best validation F1.

It writes `results/sweep_evidence.json` and `docs/results/sweeps/GRID.png`, and prints the tables of
docs/results/sweeps.md.
"""

import json
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from scipy.stats import spearmanr
from tyro.conf import Positional

from benchmarks.machine import describe_machine, write_json
from benchmarks.sweep_evidence_figures import draw_search
from benchmarks.sweep_replay import WORKERS, Grid, Method, Replayed, read_grid, replay
from metaseg.store.runs import Store

FIGURES = Path(__file__).parents[1] / "docs" / "results" / "sweeps"
METHODS = {
    "grid in random order": Method("grid"),
    "random": Method("random"),
    "qmc + asha": Method("qmc", "asha"),
    "tpe": Method("tpe"),
    "tpe + asha": Method("tpe", "asha"),
    "tpe + asha, start-up 4": Method("tpe", "asha", startup=4),
    "tpe + hyperband": Method("tpe", "hyperband"),
    "tpe + median": Method("tpe", "median"),
}
"""Methods as `studies/sweep_*.py` build them, by default with a start-up of 8; cmaes only searches ranges."""

MARGINS = (0.005, 0.01)
"""Distances in validation F1 from the grid's best."""

SHARES = np.linspace(0, 1, 101)
"""Shares of the grid's compute at which the best so far is drawn."""


@dataclass(frozen=True)
class Options:
    """Sweeps to replay."""

    store: Positional[str]
    """The store in which the grids were trained."""

    grids: Positional[tuple[str, ...]]
    """Names of their sweeps."""

    seeds: int = 50
    """Sweeps by each method."""


def expected_share(points: int, good: int) -> float:
    """Share of a grid's points that are tried, on average, until one of its good ones is, each point once.

    The good ones cut the others, in random order, into one more part than there are good ones, which are alike.
    """
    return (points + 1) / (good + 1) / points


def quartiles(values: Sequence[float]) -> list[float | None]:
    """Lower quartile, median and upper quartile: values that are there; None where they are infinite."""
    found = np.quantile(values, (0.25, 0.5, 0.75), method="inverted_cdf")
    return [round(float(value), 5) if np.isfinite(value) else None for value in found]


def summarise(grid: Grid, sweeps: Sequence[Replayed]) -> dict[str, Any]:
    """Summarise the sweeps of one method: compute that they needed, and what they found.

    Returns:
        `needed`: by margin, quartiles of compute as a share of the grid's, and `found`, the share of sweeps that got
        there with as much as the grid's; `shortfall`: at each of `SHARES`, quartiles of how far the best complete trial
        is below the grid's best, None where there is none.
    """
    needed = {}
    for margin in MARGINS:
        spent = [sweep.needed(grid.best - margin) for sweep in sweeps]
        needed[str(margin)] = {"quartiles": quartiles(spent), "found": float(np.isfinite(spent).mean())}
    best = np.array([[max((b for s, b in sweep.steps if s <= share), default=-np.inf) for share in SHARES]
                     for sweep in sweeps])  # fmt: skip
    trials = sum(sweep.trials for sweep in sweeps)
    return {
        "needed": needed,
        "pruned": sum(sweep.pruned for sweep in sweeps) / trials,
        "repeats": sum(sweep.repeats for sweep in sweeps) / trials,
        "shortfall": [quartiles(column) for column in (grid.best - best).T],
    }


def explained(grid: Grid) -> float:
    """Share of the variance of a grid's scores that an additive model of its settings explains, adjusted for chance.

    0 on average where scores are noise; what depends on combinations of settings isn't explained either.
    """
    rows = [dict(settings) for settings in grid.points]
    scores = np.array([point.best for point in grid.points.values()])
    columns = [np.ones(len(rows))]
    for name in sorted({name for row in rows for name in row}):
        values = [row.get(name) for row in rows]
        columns += [np.array([float(value == one) for value in values]) for one in set(values)]
    design = np.stack(columns, axis=1)
    left = scores - design @ np.linalg.lstsq(design, scores)[0]
    freedom = len(rows) - np.linalg.matrix_rank(design)
    return float(1 - (left @ left / freedom) / scores.var(ddof=1))


def describe_grid(grid: Grid) -> dict[str, Any]:
    """Describe the grid's scores: the target of a sweep."""
    points = list(grid.points.values())
    worth = [point.best for point in points]
    best = next(settings for settings, point in grid.points.items() if point.best == grid.best)
    fixed = {name for name, kind in grid.space.distributions().items() if kind.single()}
    return {
        "name": grid.name,
        "points": len(grid.points),
        "image_epochs": grid.compute,
        "seconds": round(sum(point.seconds * point.epochs for point in grid.points.values())),
        "best": round(grid.best, 5),
        "median": round(float(np.median(worth)), 5),
        "worst": round(min(worth), 5),
        "settings": {name: value for name, value in sorted(best) if name not in fixed},
        "explained": round(explained(grid), 3),
        "rank_correlation": {
            str(epoch): round(float(spearmanr([point.curve[stage][1] for point in points], worth).statistic), 3)
            for stage, (epoch, _) in enumerate(points[0].curve[:-1])
        },
        "within": {str(margin): len(grid.within(margin)) for margin in MARGINS},
    }


def markdown(figures: dict[str, Any]) -> str:
    """A table a grid, of compute in % of the grid's."""
    parts = []
    for grid in figures["grids"]:
        head = ["method", *(f"within {margin:g}" for margin in MARGINS), "found", "pruned", "repeated"]
        lines = [head, ["---", *["---:"] * (len(head) - 1)]]
        for name, method in grid["methods"].items():
            needed = [method["needed"][str(margin)] for margin in MARGINS]
            found = ", ".join(f"{100 * one['found']:.0f} %" for one in needed)
            shares = [f"{100 * method[share]:.0f} %" for share in ("pruned", "repeats")]
            lines.append([name, *(_spread(one["quartiles"]) for one in needed), found, *shares])
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(parts)


def _spread(found: Sequence[float | None]) -> str:
    low, median, high = ("never" if share is None else f"{100 * share:.0f}" for share in found)
    return f"**{median}** ({low} to {high})"


def _replay_seed(task: tuple[Grid, Method, int]) -> Replayed:
    return replay(*task)


def main(options: Options) -> None:
    """Replay, print and write."""
    store = Store.at(options.store)
    grids = [read_grid(store, name) for name in options.grids]
    figures: dict[str, Any] = {
        "machine": describe_machine(), "seeds": options.seeds, "workers": WORKERS, "grids": []
    }  # fmt: skip
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes below: the GP's small matrices are slow on many threads
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        for grid in grids:
            methods = {}
            for name, method in METHODS.items():
                print(f"{grid.name}: {name} ...", flush=True)
                sweeps = list(pool.map(_replay_seed, [(grid, method, seed) for seed in range(options.seeds)]))
                methods[name] = summarise(grid, sweeps)
            figures["grids"].append(describe_grid(grid) | {"methods": methods})
    FIGURES.mkdir(parents=True, exist_ok=True)
    for described in figures["grids"]:
        png = draw_search(described, SHARES, MARGINS[0])
        (FIGURES / f"{described['name']}.png").write_bytes(png)
    print(f"Written: {write_json('sweep_evidence', figures)}\n")
    print(json.dumps([{**grid, "methods": None} for grid in figures["grids"]], indent=2))
    print(markdown(figures))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
