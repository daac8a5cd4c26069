"""A peer in a process of an environment of its own, with which it talks in JSON, a line a message."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.training.contender import Lap, NotMeasuredError
from benchmarks.training.work import Work
from metaseg.device import KEPT_BYTES

MEMORY = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(KEPT_BYTES)}
"""`metaseg.device.keep_freed_memory` as variables of the environment, for processes that needn't have metaseg."""

KEEPS_MEMORY = "keeps freed memory, as ours does"
"""Words of a contender's note about it: by themselves, peers don't."""


def interpreter(variable: str, package: str) -> Path:
    """Python interpreter of the environment that has a package, which an environment variable names.

    Raises:
        NotMeasuredError: none is named, or it isn't there.
    """
    named = os.environ.get(variable)
    if named and Path(named).is_file():
        return Path(named)
    state = f"{named} is no file" if named else "it isn't set"
    raise NotMeasuredError(
        f"{variable} must name the Python of an environment with {package}, and {state}; benchmarks/README.md says how "
        "to make one"
    )


class WorkerPeer:
    """Trains in its own process, which waits for its turn.

    Args:
        variable: environment variable that names the interpreter.
        package: what it must have.
        worker: script that the interpreter runs.
        request: what the worker is to start with.

    Raises:
        NotMeasuredError: the package isn't installed.
        RuntimeError: its process failed; the message holds its traceback.
    """

    def __init__(self, variable: str, package: str, worker: Path, **request: Any) -> None:
        self._package = package
        self._process = subprocess.Popen(
            [interpreter(variable, package), worker], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            # Our environment's modules aren't the other's.
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | MEMORY,
        )  # fmt: skip
        self.started = self._ask(do="start", **request)
        self.parameters = int(self.started["parameters"])

    def lap(self) -> Lap:
        """An epoch, without validation; the seconds are its own process's."""
        answer = self._ask(do="lap")
        return Lap(answer["images"], answer["seconds"])

    def score(self) -> float:
        """Mean F1 over the validation images."""
        return float(self._ask(do="score")["f1"])

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait()

    def _ask(self, **request: Any) -> dict[str, Any]:
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"error": f"it ended with exit code {self._process.wait()}"}
        if "error" in answer:
            raise RuntimeError(f"{self._package}'s process failed at {request['do']!r}: {answer['error']}")
        return answer


def files(work: Work, split: str) -> list[list[Any]]:
    """Image, mask and cell line, as a number from 0, of each sample of a split."""
    table = work.dataset.table
    values = sorted(table["cell_line"].unique())
    rows = table[table["split"] == split]
    places = ([str(work.data / name) for name in rows[column]] for column in ("image", "mask"))
    return [list(each) for each in zip(*places, rows["cell_line"].map(values.index), strict=True)]
