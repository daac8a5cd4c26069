"""Counts of a study's masks against those that other annotators drew of the same images, as a store has them."""

import pandas as pd

from analysis.results.declaration import ResultsError
from analysis.results.parquet import read_parquet, refused, require
from metaseg.schema import COUNTS, OTHER, ROW, observers_file
from metaseg.store.storage import Storage

AGAIN = "the study's command writes it anew, and trains nothing"


def read_observers(storage: Storage, study: str) -> pd.DataFrame | None:
    """A row per tested mask, other mask of its image and class; None where the study has none.

    Returns:
        Columns `ROW` (the mask, as runs' rows name it), `OTHER` (annotator of the other mask) and `COUNTS` (pixels, as
        if the other mask were a prediction).

    Raises:
        ResultsError: the file isn't one.
    """
    content = storage.read_or_none(observers_file(study))
    if content is None:
        return None
    path = storage.locate(observers_file(study))
    table = read_parquet(content, path, f"; {AGAIN}")
    require(table, [*ROW, OTHER], "text", path, f"; {AGAIN}")
    require(table, COUNTS, "integers", path, f"; {AGAIN}")
    columns = [*ROW, OTHER, *COUNTS]
    if lacking := [name for name in columns if table[name].null_count]:
        raise ResultsError(f"{path}: column {lacking[0]!r} has missing values; {AGAIN}")
    with refused(path, f"; {AGAIN}"):
        frame: pd.DataFrame = table.select(columns).to_pandas()
    if negative := [name for name in COUNTS if (frame[name] < 0).any()]:
        raise ResultsError(f"{path}: column {negative[0]!r} has a number below 0; {AGAIN}")
    return frame
