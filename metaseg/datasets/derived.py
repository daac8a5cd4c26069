"""Folders of files that are made from something else, or from nothing: complete or absent, and made once."""

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from metaseg.config import ConfigError

PARAMETERS = "parameters.json"
"""What a derived folder was made by; written last."""


def derive(folder: Path, parameters: Mapping[str, object], write: Callable[[Path], None]) -> Path:
    """Let `write` fill `folder`, unless it has been filled with the same parameters before.

    Args:
        folder: doesn't exist, is empty, or was made by this function. It appears complete or not at all, also when
            several processes make it at once.
        parameters: plain values that the content is a function of.
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
    """Whether `folder` is the result for `made`; a ConfigError where it is something else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    path = folder / PARAMETERS
    found = json.loads(path.read_text()) if path.is_file() else f"no {PARAMETERS}"
    if found != made:
        raise ConfigError(f"{folder} is there with {found}; expected {made}, or a folder that doesn't exist yet")
    return True
