"""`python study.py FAULTS PAGE OPTIONS...`: a page under studies/, with the points of `points` in its processes."""

import functools
import os
import runpy
import sys
from pathlib import Path
from typing import Any

import points

from metaseg import engine
from metaseg.store import claims
from metaseg.store import folder as folder_storage


def main() -> None:
    folder, page, *options = sys.argv[1:]
    engine.run_study = functools.partial(engine.run_study, execute=functools.partial(points.execute, Path(folder)))
    if name := os.environ.get("FAULTS_MACHINE"):  # whose processes those of other names can't see
        claims.machine = lambda: name
    write = folder_storage._write_flushed

    def write_flushed(path: Path, content: bytes) -> Any:
        if path.parents[2].name == "results":  # what analysis collects
            points.half_written(path, content)
            points.wait_at(Path(folder), "study", "collection")
        return write(path, content)

    folder_storage._write_flushed = write_flushed
    sys.argv = [page, *options]
    runpy.run_path(page, run_name="__main__")


if __name__ == "__main__":
    main()
