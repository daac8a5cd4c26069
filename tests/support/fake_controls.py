"""Rows of networks that are told something else at test time, arms of several networks, and stores that hold them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from fake_store import history, seal

PIXELS = 100_000


def count_rows(
    f1: npt.ArrayLike,
    image: Sequence[str],
    subgroup: Sequence[str] | None = None,
    evaluation: str | Sequence[str] = "as-trained",
    name: str = "nucleus",
    group: Sequence[str] | None = None,
    area: npt.ArrayLike | None = None,
    **metadata: Sequence[str] | npt.ArrayLike,
) -> pd.DataFrame:
    """An `images.parquet` whose F1 are those given; `area` is what is predicted of a reference of 1000 pixels.

    Without `area`, prediction and reference are equally large.
    """
    f1 = np.asarray(f1, dtype=float)
    predicted = np.full(len(f1), 1000) if area is None else np.rint(np.asarray(area)).astype(np.int64)
    tp = np.minimum(np.rint(f1 * (predicted + 1000) / 2).astype(np.int64), np.minimum(predicted, 1000))
    return pd.DataFrame(
        {
            "image": list(image),
            "class": name,
            "evaluation": evaluation,
            "group": list(group if group is not None else image),
            "subgroup": list(subgroup) if subgroup is not None else "all",
            "tp": tp,
            "fp": predicted - tp,
            "fn": 1000 - tp,
            "tn": PIXELS,
            **{f"meta_{column}": values for column, values in metadata.items()},
        }
    )


def told_rows(
    f1: Mapping[tuple[str, str], float], images: int, column: str = "line", zeros: float | None = None
) -> pd.DataFrame:
    """Rows of a network that sees a categorical column: F1 for each (true, told), of `images` images a true value."""
    values = sorted({true for true, _ in f1})
    tables = []
    for (true, told), score in f1.items():
        names = [f"{true}/{i}.png" for i in range(images)]
        evaluation = "as-trained" if true == told else f"{column}={told}"
        subgroup = [true] * images
        tables.append(count_rows([score] * images, names, subgroup, evaluation, **{column: subgroup}))
    for true in values if zeros is not None else ():
        names, subgroup = [f"{true}/{i}.png" for i in range(images)], [true] * images
        tables.append(count_rows([zeros] * images, names, subgroup, "zeros", **{column: subgroup}))
    return pd.concat(tables, ignore_index=True)


def collected_rows(tables: Mapping[tuple[str, int], pd.DataFrame]) -> pd.DataFrame:
    """Rows like those of `collect`, from tables by arm and seed."""
    frames = [table.assign(arm=arm, seed=seed, part="") for (arm, seed), table in tables.items()]
    return pd.concat(frames, ignore_index=True)


def write_parts(
    store: Path,
    tables: Mapping[tuple[str, int, str], pd.DataFrame],
    baseline: str = "baseline",
    unfinished: Sequence[tuple[str, int, str]] = (),
    metadata: str = "line",
    **record: object,
) -> None:
    """A study called "parts" whose runs are `tables`, by arm, seed and part; `record` adds to what it declares.

    The baseline is the first arm where there is none of its name.
    """
    runs = []
    for arm, seed, part in tables:
        run = hashlib.sha256(f"{arm} {seed} {part}".encode()).hexdigest()[:16]
        runs.append({"run_id": run, "arm": arm, "seed": seed, "part": part})
        folder = store / "runs" / run
        folder.mkdir(parents=True)
        config = {
            "run_id": run,
            "arm": {"block": "sme", "metadata_mode": "true"},
            "seed": seed,
            "dataset": {"name": "fake", "fingerprint": "f00d", "subgroup_column": metadata},
            "parameters": 1234,
        }
        (folder / "config.json").write_text(json.dumps(config))
        tables[arm, seed, part].to_parquet(folder / "images.parquet", index=False)
        history().to_parquet(folder / "history.parquet", index=False)
        if (arm, seed, part) not in unfinished:
            seal(folder)
    arms = list(dict.fromkeys(arm for arm, _, _ in tables))
    baseline = baseline if baseline in arms else arms[0]
    study = {"name": "parts", "dataset": "fake", "baseline": baseline, "arms": arms, "runs": runs, "command": "x.py"}
    (store / "studies").mkdir(exist_ok=True)
    (store / "studies" / "parts.json").write_text(json.dumps(study | record))
