"""ivadomed, in a process of an environment of its own; `ivadomed_worker.py` says how they talk."""

from pathlib import Path
from typing import Literal

from benchmarks.training.work import Work
from benchmarks.training.worker_process import KEEPS_MEMORY, WorkerPeer, files

VARIABLE = "METASEG_BENCH_IVADOMED"
WORKER = Path(__file__).with_name("ivadomed_worker.py")


class IvadomedPeer(WorkerPeer):
    """FiLMedUnet with about `parameters` parameters."""

    def __init__(
        self, work: Work, seed: int, epochs: int, parameters: int, transforms: Literal["flips", "default"]
    ) -> None:
        super().__init__(
            VARIABLE, "ivadomed", WORKER, train=files(work, "train"), val=files(work, "val"),
            values=work.dataset.table["cell_line"].nunique(), batch=work.size.batch, crop=work.size.crop,
            depth=work.size.network.depth, seed=seed, parameters=parameters, threads=work.threads,
            device=work.device.type, epochs=epochs, transforms=transforms,
        )  # fmt: skip
        self.about = (
            f"FiLMedUnet of width {self.started['width']} by its own loader, {transforms} transforms; float32, NCHW; "
            f"torch {self.started['versions']['torch']}; {KEEPS_MEMORY}"
        )
