"""A ledger of what was sent to trackers that can't be asked what they have: a small file for each run."""

import json
import os
import uuid
from dataclasses import asdict
from pathlib import Path

from metaseg.store.names import as_name
from metaseg.store.runs import from_json
from metaseg.tracking.tracker import Kept, TrackedRun


class Ledger:
    """Files `STUDY/RUN_ID.json` in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def kept(self, run: TrackedRun) -> Kept:
        """Epochs that were sent of a run; nothing if the file is gone or damaged."""
        try:
            found = from_json(self._path(run).read_bytes()) or {}
        except OSError:
            return Kept()
        epoch, ended = found.get("epoch"), found.get("ended")
        return Kept(epoch, ended) if type(epoch) is int and epoch >= 0 and type(ended) is bool else Kept()

    def note(self, run: TrackedRun, kept: Kept) -> None:
        """Write what has been sent of a run."""
        path = self._path(run)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        temporary.write_text(json.dumps(asdict(kept)))
        os.replace(temporary, path)

    def _path(self, run: TrackedRun) -> Path:
        return self._folder / as_name(run.study) / f"{as_name(run.run_id)}.json"
