"""ivadomed, in a process of an environment of its own; `ivadomed_worker.py` says how they talk."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Literal

from benchmarks.training.contender import Lap, NotMeasuredError
from benchmarks.training.work import Work

VARIABLE = "METASEG_BENCH_IVADOMED"
WORKER = Path(__file__).with_name("ivadomed_worker.py")


def interpreter() -> Path:
    """Python interpreter of the environment that has ivadomed.

    Raises:
        NotMeasuredError: none is named, or it isn't there.
    """
    named = os.environ.get(VARIABLE)
    if named and Path(named).is_file():
        return Path(named)
    state = f"{named} is no file" if named else "it isn't set"
    raise NotMeasuredError(
        f"{VARIABLE} must name the Python of an environment with ivadomed, and {state}; benchmarks/README.md says how "
        "to make one"
    )


class IvadomedPeer:
    """Trains in its own process, which waits for its turn.

    Raises:
        NotMeasuredError: ivadomed isn't installed.
        RuntimeError: its process failed; the message holds its traceback.
    """

    def __init__(
        self, work: Work, seed: int, epochs: int, parameters: int, transforms: Literal["flips", "default"]
    ) -> None:
        self._process = subprocess.Popen(
            [interpreter(), WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            # Our environment's modules aren't the other's.
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        )  # fmt: skip
        table = work.dataset.table
        values = sorted(table["cell_line"].unique())

        def files(split: str) -> list[list[Any]]:
            rows = table[table["split"] == split]
            places = ([str(work.data / name) for name in rows[column]] for column in ("image", "mask"))
            return [list(each) for each in zip(*places, rows["cell_line"].map(values.index), strict=True)]

        answer = self._ask(
            do="start", train=files("train"), val=files("val"), values=len(values), batch=work.size.batch,
            crop=work.size.crop, depth=work.size.network.depth, seed=seed, parameters=parameters,
            threads=work.threads, device=work.device.type, epochs=epochs, transforms=transforms,
        )  # fmt: skip
        self.parameters = int(answer["parameters"])
        self.about = (
            f"FiLMedUnet of width {answer['width']} by its own loader, {transforms} transforms; float32, NCHW; torch "
            f"{answer['versions']['torch']}"
        )

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
            raise RuntimeError(f"ivadomed's process failed at {request['do']!r}: {answer['error']}")
        return answer
