"""Ray's start in the background, while a study is planned."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from metaseg.schema import study_file


@contextlib.contextmanager
def starting_ray(study: str, storage: str) -> Iterator[None]:
    """Context in which Ray starts in the background, if the store is a folder that has no such study yet.

    Runs are then missing for sure; other commands start Ray when they know.
    """
    folder = Path(storage).expanduser()
    if "://" in storage or (folder / study_file(study)).exists():
        yield
        return
    from metaseg.engine.session import EarlyStart

    early = EarlyStart()
    try:
        yield
    finally:
        early.end()
