"""The store: where runs live. A run exists once its `DONE` does; whatever was before that can be lost without harm."""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaseg.config import ConfigError


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that readers see the old one or the whole new one, whatever happens in between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def to_json(value: Any) -> bytes:
    """Readable JSON with a newline at its end."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


@dataclass(frozen=True)
class Store:
    """A folder of runs, studies and what is derived from them."""

    root: Path
    """Absolute."""

    @classmethod
    def at(cls, where: str) -> "Store":
        """The store at a path (`~` and relative ones are resolved); raises `ConfigError` for a bucket URL."""
        if "://" in where:
            raise ConfigError(f"storage is {where!r}; expected a folder: bucket URLs aren't supported yet")
        return cls(Path(where).expanduser().resolve())

    @property
    def cache(self) -> Path:
        """Decoded datasets; may be deleted at any time."""
        return self.root / "cache"

    def run_folder(self, run_id: str) -> Path:
        """Where a run's files are, or will be."""
        return self.root / "runs" / run_id

    def is_done(self, run_id: str) -> bool:
        """Whether the run has been trained, evaluated and written completely."""
        return (self.run_folder(run_id) / "DONE").exists()

    def failure(self, run_id: str) -> Path:
        """Where a failed run's last words are."""
        return self.root / "failures" / f"{run_id}.json"

    def commit_run(self, run_id: str, files: Mapping[str, bytes]) -> None:
        """Write a run's files, and last the `DONE` with their checksums that makes them a run.

        The run's folder appears whole. Where the run is done already, by whomever, nothing is written.
        """
        folder = self.run_folder(run_id)
        temporary = folder.with_name(f".{run_id}.{uuid.uuid4().hex}")
        try:
            for name, content in files.items():
                write_atomically(temporary / name, content)
            checksums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
            write_atomically(temporary / "DONE", to_json({"sha256": checksums}))
            os.rename(temporary, folder)
        except OSError:
            if not self.is_done(run_id):  # else another process was first
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self.failure(run_id).unlink(missing_ok=True)

    def record_failure(self, run_id: str, error: str, traceback: str) -> None:
        """Keep a failed run's last words, until it succeeds: the next command tries it again."""
        write_atomically(self.failure(run_id), to_json({"error": error, "traceback": traceback.splitlines()}))

    def write_study(self, name: str, record: Mapping[str, Any]) -> Path:
        """Write what a study declares: its arms, runs and comparisons. The newest declaration under a name counts."""
        path = self.root / "studies" / f"{name}.json"
        write_atomically(path, to_json(record))
        return path
