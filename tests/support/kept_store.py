"""Stores with every kind of file that one keeps, without training anything."""

import hashlib
import io
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fake_store import history, noisy_rows, run_id, write_study
from metaseg.schema import CONFIG, DONE, HISTORY, IMAGES, WEIGHTS
from metaseg.store.folder import FolderStorage
from metaseg.store.runs import Store

LINES = ["HeLa", "MCF7"] * 12
DAY = 24 * 3600.0


def table_bytes(table: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()


def kept_store(root: Path, studies: Sequence[str] = ("cells",), age: float = DAY, **record: object) -> Store:
    """A folder with these studies, of two arms and two seeds each, whose files are all `age` seconds old.

    Runs of two studies differ: those of the first are `run_id(arm, seed)`, of others `run_id(f"{study} {arm}", seed)`.
    """
    for study in studies:
        made = root / f"made-{study}"
        write_study(made, lambda arm, seed: noisy_rows(arm, seed, LINES), study, **record)
        declared = json.loads((made / "studies" / f"{study}.json").read_text())
        for run in declared["runs"]:
            folder = made / "runs" / run["run_id"]
            if study != studies[0]:
                run["run_id"] = run_id(f"{study} {run['arm']}", run["seed"])
            config = json.loads((folder / CONFIG).read_text())
            config |= {
                "run_id": run["run_id"], "network": {"width": 8, "depth": 2}, "schedule": {"epochs": 3},
                "hardware": {"device": "cpu", "host": "secret-host-77"},
            }  # fmt: skip
            files = {
                CONFIG: json.dumps(config).encode(), IMAGES: (folder / IMAGES).read_bytes(),
                HISTORY: table_bytes(history()), WEIGHTS: b"weights of " + run["run_id"].encode(),
            }  # fmt: skip
            Store(FolderStorage(root / "store")).commit_run(run["run_id"], files)
        Store(FolderStorage(root / "store")).write_study(study, declared)
    make_older(root / "store", age)
    return Store(FolderStorage(root / "store"))


def unnamed_run(store: Store, name: str, kind: str = "runs", files: dict[str, bytes] | None = None) -> str:
    """Add a finished run that no study names, a day old; returns its id."""
    run = hashlib.sha256(name.encode()).hexdigest()[:16]
    files = {CONFIG: b"{}", IMAGES: b"counts"} if files is None else files
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    store.storage.publish(f"{kind}/{run}", {**files, DONE: json.dumps({"sha256": sums}).encode()}, last=DONE)
    make_older(Path(store.where) / kind / run)
    return run


def make_older(folder: Path, age: float = DAY) -> None:
    """Let all files of a folder have been written so many seconds ago."""
    for path in folder.rglob("*"):
        os.utime(path, (time.time() - age,) * 2, follow_symlinks=False)


def contents(store: Store) -> dict[str, bytes]:
    """All files of a store by name."""
    return {name: store.storage.read(name) for name in store.storage.files("")}
