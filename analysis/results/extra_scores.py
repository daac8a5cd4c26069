"""Files of boundary and object scores, which pixel counts don't give, as `metaseg score` leaves them in a store."""

import pyarrow as pa

from analysis.results.declaration import ResultsError, Run, read_json
from analysis.results.parquet import read_parquet, require
from analysis.results.store_rows import checksums
from metaseg.schema import OBJECTS, ROW, SCORES_SETTINGS, SCORES_VERSION, WEIGHTS, score_file
from metaseg.store.storage import Storage

AGAIN = "delete it and score again: metaseg score"


def read_scores(storage: Storage, run: Run) -> pa.Table | None:
    """A finished run's extra scores, a row a test image and class; None where there are none.

    Raises:
        ResultsError: a file that isn't one, is of another version, or of other weights than the run's.
    """
    content = storage.read_or_none(score_file(run.run_id))
    if content is None:
        return None
    path = storage.locate(score_file(run.run_id))
    table = read_parquet(content, path, f"; {AGAIN}")
    require(table, ROW, "text", path, f"; {AGAIN}")
    require(table, [name for name in table.column_names if name not in ROW], "numbers", path, f"; {AGAIN}")
    if lacking := [name for name in OBJECTS if name in table.column_names and table[name].null_count]:
        raise ResultsError(f"{path}: column {lacking[0]!r} has missing values; {AGAIN}")
    settings = read_json((table.schema.metadata or {}).get(SCORES_SETTINGS, b"{}"), path)
    if settings.get("version") != SCORES_VERSION:
        raise ResultsError(f"{path}: scores of version {settings.get('version')!r}; expected {SCORES_VERSION}: {AGAIN}")
    if settings.get("weights_sha256") != checksums(storage, run).get(WEIGHTS):
        raise ResultsError(f"{path}: scores of other weights than run {run} has; {AGAIN}")
    return table.replace_schema_metadata(None)
