"""Results datasets as tests make, change and compare them."""

from pathlib import Path

import pandas as pd

from analysis.results.merge import Gathered, gather
from fake_store import image_rows, run_id, seal
from metaseg.store.folder import FolderStorage
from metaseg.store.storage import Storage

LINES = ["HeLa", "HeLa", "MCF7", "MCF7"]


def rows(arm: str, seed: int) -> pd.DataFrame:
    return image_rows([0.8, 0.9 - 0.01 * seed, 0.7, 0.6 + 0.1 * (arm == "sme")], LINES)


def gather_one(out: Storage, *stores: Path, study: str = "cells") -> Gathered:
    (gathered,) = gather(out, [FolderStorage(store) for store in stores], study)
    return gathered


def assert_same_rows(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    plain = [frame.astype(dict.fromkeys(frame.select_dtypes("category"), "str")) for frame in (found, expected)]
    pd.testing.assert_frame_equal(*(frame.astype({"image": "str"}) for frame in plain), check_dtype=False)


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def change(store: Path, arm: str, seed: int, table: pd.DataFrame, fold: str = "") -> None:
    folder = store / "runs" / run_id(arm, seed, fold)
    table.to_parquet(folder / "images.parquet", index=False)
    seal(folder)
