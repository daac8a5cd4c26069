"""Writes stores as a finished study leaves them, without training anything."""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from metaseg.schema import OVERALL
from metaseg.store.storage import Storage

PIXELS = 10_000

Array = npt.NDArray[np.float64]


def make_scores(f1: Mapping[str, Array], subgroup: Sequence[str], group: Sequence[str] | None = None) -> pd.DataFrame:
    """Scores as `image_scores` returns them; f1 holds (seeds, images) for each arm."""
    image = [f"{i:03}.png" for i in range(len(subgroup))]
    frames = [
        pd.DataFrame(
            {"arm": arm, "seed": seed, "subgroup": subgroup, "group": group or image, "image": image, "score": row}
        )
        for arm, values in f1.items()
        for seed, row in enumerate(values)
    ]
    scores = pd.concat(frames, ignore_index=True).assign(**{"class": "nucleus"}, empty=False)
    orders = {"class": ["nucleus"], "arm": list(f1), "subgroup": [OVERALL, *sorted(set(subgroup))]}
    return scores.astype({column: pd.CategoricalDtype(order, ordered=True) for column, order in orders.items()})


def simulate(
    rng: np.random.Generator,
    images: int = 40,
    seeds: int = 3,
    seed: float = 0.003,
    arm_image: float = 0.01,
    error: float = 0.01,
    **effect: float | Array,
) -> dict[str, Array]:
    """(seeds, images) scores of each arm by its effect; the keywords are standard deviations."""
    image = rng.normal(0.8, 0.05, images)
    return {
        arm.replace("_", "-"): image
        + shift
        + rng.normal(0, arm_image, images)
        + rng.normal(0, seed, (seeds, 1))
        + rng.normal(0, error, (seeds, images))
        for arm, shift in effect.items()
    }


def image_rows(
    f1: npt.ArrayLike, subgroup: Sequence[str] | None = None, group: Sequence[str] | None = None, name: str = "nucleus"
) -> pd.DataFrame:
    """An `images.parquet` whose F1 are those given, to three decimals."""
    tp = np.round(np.asarray(f1) * 1000).astype(np.int64)
    fp = (2000 - 2 * tp) // 2
    images = [f"images/{i:03}.png" for i in range(len(tp))]
    subgroup = subgroup if subgroup is not None else ["all"] * len(tp)
    return pd.DataFrame(
        {
            "image": images,
            "class": name,
            "evaluation": "as-trained",
            "group": group if group is not None else images,
            "subgroup": subgroup,
            "tp": tp,
            "fp": fp,
            "fn": 2000 - 2 * tp - fp,
            "tn": PIXELS - tp,
            "meta_cell_line": subgroup,
        }
    )


def seal(folder: Path) -> None:
    """Write `DONE` for what is in the run's folder now."""
    checksums = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("config.json", "images.parquet")
    }
    (folder / "DONE").write_text(json.dumps({"sha256": checksums}))


def history(epochs: int = 3) -> pd.DataFrame:
    """A `history.parquet`: every other epoch is validated."""
    epoch = np.arange(1, epochs + 1)
    f1 = np.where(epoch % 2, 0.8 - 0.1 / epoch, np.nan)
    return pd.DataFrame({"epoch": epoch, "train_loss": 1 / epoch, "val_f1": f1, "learning_rate": 0.01})


def run_id(arm: str, seed: int, fold: str = "") -> str:
    return hashlib.sha256(f"{arm} {seed} {fold}".strip().encode()).hexdigest()[:16]


def write_study(
    store: Path,
    rows: Callable[[str, int], pd.DataFrame],
    name: str = "cells",
    arms: Sequence[str] = ("baseline", "sme"),
    seeds: int = 2,
    unfinished: Collection[tuple[str, int] | tuple[str, int, str]] = (),
    folds: int = 0,
    **record: object,
) -> None:
    """A study with one run per arm and seed, of which `rows(arm, seed)` are the results.

    With `folds`, there are as many runs of each, which share the groups of these rows evenly. `record` adds to what the
    study declares.
    """
    names = [str(fold) for fold in range(folds)] or [""]
    runs: list[dict[str, object]] = [
        {"run_id": run_id(arm, seed, fold), "arm": arm, "seed": seed} | ({"fold": fold} if fold else {})
        for seed in range(seeds)
        for fold in names
        for arm in arms
    ]
    for run in runs:
        fold = str(run.get("fold", ""))
        arm, seed = str(run["arm"]), int(str(run["seed"]))
        folder = store / "runs" / str(run["run_id"])
        folder.mkdir(parents=True)
        config = {
            "run_id": run["run_id"],
            "arm": {
                "block": "se" if arm == "baseline" else arm,
                "metadata_mode": "absent" if arm == "baseline" else "zeros" if arm.endswith("-dummy") else "true",
            },
            "seed": seed,
            "fold": fold or None,
            "dataset": {"name": "fake", "fingerprint": "f00d", "subgroup_column": "cell_line"},
            "parameters": 1234,
            "versions": {"torch": "2.0"},
            "git_commit": "0123456789abcdef",
            "hardware": {"device": "cpu"},
            "seconds": 12.3,
            "training_version": 1,
        }
        (folder / "config.json").write_text(json.dumps(config))
        table = rows(arm, seed)
        if folds:
            table = table[pd.factorize(table["group"])[0] % folds == int(fold)]
        table.to_parquet(folder / "images.parquet", index=False)
        history().to_parquet(folder / "history.parquet", index=False)
        if not {(arm, seed), (arm, seed, fold)} & set(unfinished):
            seal(folder)
    study = {
        "name": name,
        "dataset": "fake",
        "baseline": "baseline",
        "arms": list(arms),
        "runs": runs,
        "command": "study.py",
    }
    (store / "studies").mkdir(exist_ok=True)
    (store / "studies" / f"{name}.json").write_text(json.dumps(study | record))


def copy_up(folder: Path, storage: Storage) -> None:
    """Copy a store from a folder into another storage."""
    for path in folder.rglob("*"):
        if path.is_file():
            storage.write(path.relative_to(folder).as_posix(), path.read_bytes())


def noisy_rows(arm: str, seed: int, line: list[str] | None = None, name: str = "nucleus") -> pd.DataFrame:
    rng = np.random.default_rng([len(arm), seed])
    return image_rows(0.7 + 0.1 * (arm == "sme") + rng.uniform(-0.02, 0.02, 24), line or ["all"] * 24, name=name)
