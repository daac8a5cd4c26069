"""Power of crossed seeds: how alike real runs of equal seed are, and what the tests make of that.

    python -m benchmarks.crossed_seeds      # about six minutes of one core

It writes `docs/results/calibration/{crossed.csv,crossed_trainings.csv,crossed.md}`: small networks trained on simulated
cells, with initial weights of their own and with those that all arms of a seed share; and draws of scores whose seeds'
effects are correlated between arms, tested as nested and as crossed.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import torch
from scipy import stats

from analysis.stats.degrees_of_freedom import cautious
from benchmarks.null_draws import Floats, Regime, ours, simulate
from metaseg.config import DataConfig, Init, NetworkConfig, RunConfig, ScheduleConfig
from metaseg.data.dataset import Dataset
from metaseg.data.preparation import prepare
from metaseg.device import one_thread
from metaseg.simulators.settings import SyntheticConfig
from metaseg.simulators.seven_cells import make_seven_cells
from metaseg.training.evaluate import evaluate
from metaseg.training.fit import fit
from metaseg.training.metrics import f1_score

OUT = Path(__file__).parents[1] / "docs" / "results" / "calibration"
ARMS = {"se": ("se", "absent"), "sme": ("sme", "true"), "film": ("film", "true")}
"""Block and metadata of each arm."""
RUNS = 24
"""Seeds of each arm and initialisation."""
CELLS = SyntheticConfig(size=64, images_per_line=20, wells_per_line=5)
NETWORK = NetworkConfig(width=4, depth=2)
SCHEDULES = {
    epochs: ScheduleConfig(epochs, "one-cycle", lr_max=1e-2, crop=32, validate_every=epochs) for epochs in (5, 20)
}
"""By number of epochs."""
INITS: tuple[Init, ...] = get_args(Init)

CORRELATIONS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9)
SEEDS, SEED_SDS = (2, 3, 5, 10), (0.003, 0.012)
IMAGES, ARM_IMAGE_SD, RESIDUAL_SD = 75, 0.01, 0.02
EFFECTS = (0.0, 0.01)
DRAWS, CHUNK = 4000, 200


def trained(folder: Path, seeds: Sequence[int], arms: Sequence[str], schedules: Sequence[int]) -> pd.DataFrame:
    """Mean F1 on the test images of each run: columns epochs, init, arm, seed, f1."""
    dataset = prepare(make_seven_cells(folder / "cells", CELLS), DataConfig(), folder / "cache")
    rows = [
        {"epochs": epochs, "init": init, "arm": arm, "seed": seed, "f1": score(dataset, epochs, init, arm, seed)}
        for epochs, seed, init, arm in product(schedules, seeds, INITS, arms)
    ]
    return pd.DataFrame(rows)


def score(dataset: Dataset, epochs: int, init: Init, arm: str, seed: int) -> float:
    """Train a run; its mean F1 on the test images."""
    cpu, (block, mode) = torch.device("cpu"), ARMS[arm]
    config = RunConfig(block, mode, seed, dataset.fingerprint, NETWORK, SCHEDULES[epochs], init=init)  # type: ignore[arg-type]
    with one_thread(cpu):
        fitted = fit(config, dataset, cpu)
        counts = evaluate(fitted.model, dataset, dataset.indices("test"), fitted.vectors, cpu)
    return float(f1_score(counts).mean())


def correlations(runs: pd.DataFrame) -> pd.DataFrame:
    """Correlation of two arms' means over runs of equal seed, by length of training, initialisation and pair of arms.

    Columns epochs, init, pair, runs, correlation, and low and high of its 95 % interval (Fisher's z).
    """
    rows = []
    for (epochs, init), part in runs.groupby(["epochs", "init"], sort=False):
        wide = part.pivot(index="seed", columns="arm", values="f1")
        for first, second in combinations([arm for arm in ARMS if arm in wide], 2):
            r, count = float(np.corrcoef(wide[first], wide[second])[0, 1]), len(wide)
            half = 1.96 / np.sqrt(count - 3)
            low, high = np.tanh(np.arctanh(r) + np.array([-half, half]))
            about = {"epochs": epochs, "init": init, "pair": f"{first}, {second}", "runs": count}
            rows.append(about | {"correlation": r, "low": low, "high": high})
    return pd.DataFrame(rows)


def crossed(values: Floats) -> Floats:
    """p of `difference(..., seeds="crossed")` of each draw of `(draws, 2 seeds, units)`."""
    seeds, units = values.shape[1] // 2, values.shape[2]
    changes = values[:, :seeds] - values[:, seeds:]
    estimate, by_unit = changes.mean(axis=(1, 2)), changes.mean(axis=1)
    by_seeds = changes.mean(axis=2).var(axis=1, ddof=1) / seeds
    centred = changes - by_unit[:, None]
    centred -= centred.mean(axis=2, keepdims=True)
    error = (centred**2).sum(axis=(1, 2)) / ((seeds - 1) * (units - 1) * units * seeds)
    excess = np.maximum(by_unit.var(axis=1, ddof=1) / units - error, 0)
    parts = np.stack([by_seeds, excess], axis=-1)
    df = cautious(parts, [seeds - 1, units - 1])
    return np.asarray(2 * stats.t.sf(np.abs(estimate) / np.sqrt(parts.sum(axis=-1)), df))


def drawn(rng: np.random.Generator, regime: Regime, correlation: float, draws: int, effect: float) -> Floats:
    """Scores as of `simulate`, in which the seeds' effects of both arms have this correlation."""
    seeds, own = regime.seeds[0], replace(regime, seed_sd=regime.seed_sd * np.sqrt(1 - correlation))
    shared = regime.seed_sd * np.sqrt(correlation) * rng.standard_normal((draws, seeds, 1))
    return simulate(rng, own, draws, effect) + np.tile(shared, (1, 2, 1))


def table(rng: np.random.Generator, draws: int = DRAWS) -> pd.DataFrame:
    """Share of draws, in %, that each test calls significant: a row a regime, correlation and effect."""
    rows = []
    for seed_sd, seeds, effect, correlation in product(SEED_SDS, SEEDS, EFFECTS, CORRELATIONS):
        regime = Regime((seeds, seeds), IMAGES, seed_sd, ARM_IMAGE_SD, RESIDUAL_SD)
        found: dict[str, list[Floats]] = {"nested": [], "crossed": []}
        for _ in range(draws // CHUNK):
            scores = drawn(rng, regime, correlation, CHUNK, effect)
            found["nested"].append(ours(scores, regime.seeds)[1])
            found["crossed"].append(crossed(scores))
        about = {"seed_sd": seed_sd, "seeds": seeds, "effect": effect, "correlation": correlation}
        rows.append(about | {name: 100 * float((np.concatenate(p) < 0.05).mean()) for name, p in found.items()})
    return pd.DataFrame(rows)


def page(rows: pd.DataFrame, pairs: pd.DataFrame) -> str:
    """The Markdown page."""
    lines = []
    for (epochs, init), part in pairs.groupby(["epochs", "init"], sort=False):
        mean = np.tanh(np.arctanh(part["correlation"]).mean())
        span = f"{part['correlation'].min():.2f} to {part['correlation'].max():.2f}"
        lines.append(f"| {epochs} | {init} | {mean:.2f} | {span} |")
    grid = []
    for (seed_sd, seeds), part in rows.groupby(["seed_sd", "seeds"], sort=False):
        null, there = (part[part["effect"] == effect].set_index("correlation") for effect in EFFECTS)
        cells = [f"{there['nested'][each]:.0f}, {there['crossed'][each]:.0f}" for each in CORRELATIONS]
        sizes = [f"{null[name].min():.1f} to {null[name].max():.1f}" for name in ("nested", "crossed")]
        grid.append(f"| {seed_sd} | {seeds} | {' | '.join([*cells, *sizes])} |")
    head = " | ".join(f"{each:g}" for each in CORRELATIONS)
    runs = int(pairs["runs"].min())
    return f"""# Calibration: crossed seeds

`--crossed-seeds` lets all arms of a seed start from the same weights outside blocks; the order of samples and their
crops are those of the seed in any design. The test is then of pairs. It gains where runs of equal seed are alike, and
pays with half the degrees of freedom of the seeds.

## How alike are runs of equal seed?

Correlation of two arms' mean F1 on the test images over {runs} seeds, small networks on simulated cells, the pairs of
{", ".join(ARMS)}. A single correlation has a standard error of about {1 / np.sqrt(runs - 3):.1f}.

| epochs | initial weights | mean | lowest to highest |
| --- | --- | --- | --- |
{chr(10).join(lines)}

## What is it worth?

Power in % (nested test, crossed test) for a difference of {EFFECTS[1]:g} on {IMAGES} images, by the correlation of the
seeds' effects; arm x image SD {ARM_IMAGE_SD:g}, residual SD {RESIDUAL_SD:g}. False positives in % at a nominal 5 %,
lowest and highest over the correlations. {DRAWS} draws each: standard error up to 0.8 %, of false positives 0.3 %.

| seed SD | seeds | {head} | false positives, nested | crossed |
| --- | --- | {" | ".join(["---"] * len(CORRELATIONS))} | --- | --- |
{chr(10).join(grid)}

The nested test stays valid where runs are alike: it only finds less. [Every regime](crossed.csv),
[every run](crossed_trainings.csv). To re-run: `python -m benchmarks.crossed_seeds`.
"""


def main() -> None:
    """Train, simulate, and write the files."""
    rows = table(np.random.default_rng(2026))
    with tempfile.TemporaryDirectory() as folder:
        runs = trained(Path(folder), range(RUNS), tuple(ARMS), tuple(SCHEDULES))
    OUT.mkdir(parents=True, exist_ok=True)
    rows.round(4).to_csv(OUT / "crossed.csv", index=False)
    runs.round(6).to_csv(OUT / "crossed_trainings.csv", index=False)
    (OUT / "crossed.md").write_text(page(rows, correlations(runs)))


if __name__ == "__main__":
    main()
