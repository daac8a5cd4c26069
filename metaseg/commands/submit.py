"""`metaseg submit`: a study as a job on a cluster."""

from pathlib import Path
from typing import Annotated

import tyro


def submit(
    command: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="-- COMMAND")],
    address: str | None = None,
    working_dir: Path = Path("."),
    wait: bool = True,
) -> int:
    """Run a study as a job on a Ray cluster, show its log, and exit with its exit code.

    metaseg submit -- python studies/seven_cells.py --storage /shared/metaseg-store

    Ctrl-C stops showing the log, but not the job. `ray job stop` stops the job; the same command resumes it.

    Args:
        command: After `--`: the study's command as it would be typed in the working folder.
        address: The cluster's dashboard, http://HEAD:8265. By default RAY_API_SERVER_ADDRESS, RAY_ADDRESS or the
            cluster that runs on this machine.
        working_dir: Folder that is copied to the job, without files that .gitignore and .rayignore name.
        wait: Show the log until the job ends.
    """
    from metaseg.engine import jobs

    return jobs.submit(command, address, working_dir, wait)
