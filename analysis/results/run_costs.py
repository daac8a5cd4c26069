"""Run times of a study and the size of its dataset, as far as its store knows them."""

import io
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from analysis.results.declaration import ResultsError, read_json
from analysis.results.store_rows import Collected
from metaseg.schema import CONFIG, run_folder
from metaseg.store.storage import Storage

COLUMNS = ["arm", "seed", "seconds", "workers", "device", "fingerprint"]


def run_costs(storage: Storage, collected: Collected) -> pd.DataFrame:
    """A row a finished run that says how long it took: arm, seed, seconds, workers, device, and its dataset's
    fingerprint.

    Raises:
        ResultsError: a run's configuration can't be read.
    """
    rows = []
    missing = {run.run_id for run in collected.missing}
    for run in collected.study.runs:
        path = f"{run_folder(run.run_id)}/{CONFIG}"
        content = storage.read_or_none(path) if run.run_id not in missing else None
        if content is None:
            continue
        config = read_json(content, storage.locate(path))
        hardware, dataset = _object(config, "hardware"), _object(config, "dataset")
        seconds, workers = config.get("seconds"), hardware.get("workers", 1)
        if not isinstance(seconds, int | float) or not 0 <= seconds < float("inf") or not isinstance(workers, int):
            continue
        device, fingerprint = str(hardware.get("device") or "unknown"), str(dataset.get("fingerprint") or "")
        rows.append((run.arm, run.seed, float(seconds), workers, device, fingerprint))
    return pd.DataFrame(rows, columns=COLUMNS)


def sample_counts(storage: Storage, fingerprint: str) -> tuple[int, int] | None:
    """Samples of a decoded dataset: all, and those of test; None where the store has it no longer.

    Raises:
        ResultsError: its table can't be read.
    """
    path = f"cache/{fingerprint}/table.parquet"
    content = storage.read_or_none(path)
    if content is None:
        return None
    try:
        split = pq.read_table(io.BytesIO(content), columns=["split"]).column("split").to_pylist()
    except Exception as error:  # a damaged file can raise anything inside a decoder
        raise ResultsError(f"{storage.locate(path)}: not a dataset's table: {str(error).splitlines()[0]}") from error
    return len(split), split.count("test")


def _object(config: dict[str, Any], key: str) -> dict[str, Any]:
    value = config.get(key)
    return value if isinstance(value, dict) else {}
