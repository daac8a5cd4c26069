"""Writes sweeps as they lie in a store, with a known landscape, without training anything."""

import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from metaseg.store.storage import Storage

IMAGES = 40
EPOCHS = 20
RUNGS = (3, 6, 12)

SPACE: dict[str, BaseDistribution] = {
    "lr_max": FloatDistribution(1e-4, 1e-1, log=True),
    "reduction": IntDistribution(1, 32, log=True),
    "shape": CategoricalDistribution(["cyclic", "one-cycle", "cosine", "constant"]),
    "cycles": IntDistribution(1, 8),
    "positions": CategoricalDistribution(["encoder", "decoder", "encoder+bottleneck+decoder"]),
    "weight_decay": FloatDistribution(0.0, 0.1),
}
"""F1 depends on the first two; `cycles` exists where the shape is cyclic."""

CONDITIONS = {"cycles": ["shape", ["cyclic"]]}

SCHEMA = [
    ("number", pa.int64()), ("state", pa.string()), ("run_id", pa.string()), ("reused", pa.bool_()),
    ("val_f1", pa.float64()), ("parameters", pa.int64()), ("flops", pa.float64()), ("seconds_an_image", pa.float64()),
    ("feasible", pa.bool_()), ("epochs", pa.int64()), ("epochs_planned", pa.int64()), ("image_epochs", pa.int64()),
    ("seconds", pa.float64()), ("curve_epoch", pa.list_(pa.int64())), ("curve_val_f1", pa.list_(pa.float64())),
    ("error", pa.string()),
]  # fmt: skip


def landscape(lr_max: float, reduction: float) -> float:
    """F1 without noise: best at 0.01 and reduction 2, where it is 0.85."""
    return 0.85 - 0.06 * (np.log10(lr_max) + 2) ** 2 - 0.006 * (np.log2(reduction) - 1) ** 2


def draw_settings(rng: np.random.Generator, space: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """Settings drawn at random."""
    settings: dict[str, Any] = {}
    for name, kind in space.items():
        if isinstance(kind, CategoricalDistribution):
            settings[name] = kind.choices[rng.integers(len(kind.choices))]
        else:
            low, high = (np.log(kind.low), np.log(kind.high)) if kind.log else (kind.low, kind.high)
            value = rng.uniform(low, high)
            value = float(np.exp(value) if kind.log else value)
            settings[name] = round(value) if isinstance(kind, IntDistribution) else value
    if settings.get("shape", "cyclic") != "cyclic":
        settings.pop("cycles", None)
    return settings


def make_trial(
    number: int,
    settings: Mapping[str, Any],
    rng: np.random.Generator,
    state: str = "",
    noise: float = 0.004,
    shift: float = 0.0,
    bar: float = 0.0,
) -> dict[str, Any]:
    """A row; pruned at a rung where its score is below `bar` at the end, unless `state` says what becomes of it."""
    final = landscape(settings["lr_max"], settings["reduction"]) + shift + rng.normal(0, noise)
    state = state or ("pruned" if final < bar else "complete")
    short = {"failed": 0, "running": 5, "pruned": RUNGS[int(rng.integers(len(RUNGS)))], "complete": EPOCHS}
    epoch = np.arange(1, short[state] + 1)
    curve = np.clip(final * (1 - np.exp(-epoch / 4)) + rng.normal(0, 0.004, len(epoch)), 0, 1)
    if state == "complete":
        curve *= final / curve.max()
    score = float(curve.max()) if len(curve) else None
    parameters = int(60_000 + 400_000 / settings["reduction"])
    return {
        "number": number, "state": state, "run_id": f"{number:016x}", "reused": number % 11 == 10, "val_f1": score,
        "parameters": parameters, "flops": 2e3 * parameters, "seconds_an_image": None, "feasible": True,
        "epochs": len(epoch), "epochs_planned": EPOCHS, "image_epochs": len(epoch) * IMAGES,
        "seconds": 0.5 * len(epoch), "curve_epoch": epoch.tolist(), "curve_val_f1": curve.tolist(),
        "error": "NonFiniteLossError: the loss is NaN" if state == "failed" else "",
        **{f"param_{name}": value for name, value in settings.items()},
    }  # fmt: skip


def make_trials(count: int = 48, seed: int = 0, prunes: bool = True, shift: float = 0.0) -> list[dict[str, Any]]:
    """Trials drawn at random, of which the worse are pruned; one fails and the last one runs still."""
    rng = np.random.default_rng(seed)
    special = {4: "failed", count - 1: "running"} if prunes else {}
    return [
        make_trial(number, draw_settings(rng, SPACE), rng, special.get(number, ""), shift=shift, bar=0.75 * prunes)
        for number in range(count)
    ]


def write_sweep(
    storage: Storage,
    name: str,
    trials: Sequence[Mapping[str, Any]],
    space: Mapping[str, BaseDistribution] = SPACE,
    objectives: Sequence[tuple[str, str]] = (("val_f1", "maximize"),),
    **record: Any,
) -> None:
    """A sweep's `sweep.json` and `trials.parquet`; `record` replaces parts of the first."""
    description: dict[str, Any] = {
        "name": name, "dataset": "fake-cells", "about": "SIMULATED cells", "arm": name.rpartition(".")[2],
        "space": {setting: distribution_to_json(kind) for setting, kind in space.items()},
        "conditions": {setting: CONDITIONS[setting] for setting in space if setting in CONDITIONS},
        "objectives": [{"name": each, "direction": direction} for each, direction in objectives],
        "constraints": [], "sampler": "random", "pruner": "none", "seed": 0, "tuning_seed": 1000,
        "trials_planned": len(trials), "network": {"width": 8, "depth": 2, "positions": ["encoder", "decoder"]},
        "schedule": {"epochs": EPOCHS, "lr_min": 1e-5, "batch_size": 4},
        "command": f"studies/sweep_schedule.py --trials {len(trials)}",
    }  # fmt: skip
    storage.write(f"sweeps/{name}/sweep.json", json.dumps(description | record).encode())
    kinds = {FloatDistribution: pa.float64(), IntDistribution: pa.int64(), CategoricalDistribution: pa.string()}
    about = {"sweep": name, "dataset": "fake-cells", "arm": "sme"}
    schema = pa.schema(
        [*((key, pa.string()) for key in about), *SCHEMA]
        + [(f"param_{setting}", kinds[type(kind)]) for setting, kind in space.items()]
    )
    rows = [dict.fromkeys(schema.names) | about | dict(trial) for trial in trials]
    content = BytesIO()
    pq.write_table(pa.Table.from_pylist([{c: row[c] for c in schema.names} for row in rows], schema), content)
    storage.write(f"sweeps/{name}/trials.parquet", content.getvalue())
