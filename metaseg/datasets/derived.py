"""Folders of derived or simulated files: complete or absent, and made once."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from metaseg.config import ConfigError

PARAMETERS = "parameters.json"
"""Parameters that a derived folder was made from; written last."""


def derive(folder: Path, parameters: Mapping[str, object], write: Callable[[Path], None]) -> Path:
    """Let `write` fill `folder`, unless it has been filled with the same parameters before.

    Args:
        folder: doesn't exist, is empty, or was made by this function. It appears complete or not at all, even if
            several processes make it at once.
        parameters: plain values that determine the content.
        write: called with an empty folder, which becomes `folder` afterwards.

    Returns:
        `folder`.

    Raises:
        ConfigError: `folder` holds something else.
    """
    made = json.loads(json.dumps(parameters))
    if not _holds(folder, made):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
            complete = Path(temporary) / folder.name
            complete.mkdir()
            write(complete)
            (complete / PARAMETERS).write_text(json.dumps(made, indent=2) + "\n")
            try:
                os.rename(complete, folder)
            except OSError:
                if not _holds(folder, made):  # else another process was first
                    raise
    return folder


def _holds(folder: Path, made: object) -> bool:
    """Return True if `folder` was made from `made`, False if it is absent or empty; else raise `ConfigError`."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    path = folder / PARAMETERS
    found = json.loads(path.read_text()) if path.is_file() else f"no {PARAMETERS}"
    if found != made:
        raise ConfigError(f"{folder} exists already, with {found}; expected {made}, or a folder that doesn't exist yet")
    return True


def mask_name(source: str) -> str:
    """Name the file of a derived mask by what it is made from: readable, and like no other source's."""
    return f"{PurePosixPath(source).stem[:100]}-{hashlib.sha256(source.encode()).hexdigest()[:8]}.png"
