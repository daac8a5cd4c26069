"""A study's last report, as far as it is read again: its declared comparisons, and the runs that it is of."""

import hashlib
import io
from dataclasses import dataclass

import pandas as pd

from analysis.report.study import report_folder
from metaseg.store.storage import Storage

COLUMNS = frozenset(
    {"class", "subgroup", "arm", "reference", "difference", "ci_low", "ci_high", "n_seeds", "verdict"}
)  # fmt: skip
"""Columns of `tests.csv` that readers rely on."""


@dataclass(frozen=True)
class LastReport:
    """Tables of the report on F1 that lies in a store."""

    page: str
    """Name of its page in the store; empty if there is none."""
    digest: str
    """Differs if its tables do."""
    tests: pd.DataFrame | None
    """The declared comparisons (`analysis.stats.comparisons.compare`); None if there are none that can be read."""
    runs: frozenset[str]
    """Ids of the runs that it is of: it is out of date if the study has finished others."""

    @classmethod
    def read(cls, storage: Storage, study: str) -> "LastReport":
        """Read what there is; files that can't be read are as none."""
        folder = report_folder(study, "f1")
        page, tests, runs = (f"{folder}{name}" for name in ("report.html", "tests.csv", "runs.csv"))
        found = [storage.read_foreign(name) or b"" for name in (tests, runs)]
        digest = hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in found)).hexdigest()
        compared, of = (_table(content) for content in found)
        if compared is not None and not COLUMNS.issubset(compared):
            compared = None
        ids = frozenset(of["run_id"]) if of is not None and "run_id" in of else frozenset()
        return cls(page if storage.exists(page) else "", digest, compared, ids)


def _table(content: bytes) -> pd.DataFrame | None:
    try:
        return pd.read_csv(io.BytesIO(content), keep_default_na=False, na_values=[""], dtype={"run_id": str})
    except (ValueError, OSError):  # none yet, or not one that we write
        return None
