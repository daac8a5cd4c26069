"""nnU-Net's trainer, in a process of an environment of its own; `nnunet_worker.py` says how they talk."""

from pathlib import Path

from benchmarks.training.work import Work
from benchmarks.training.worker_process import KEEPS_MEMORY, WorkerPeer, files

VARIABLE = "METASEG_BENCH_NNUNET"
WORKER = Path(__file__).with_name("nnunet_worker.py")


class NnunetPeer(WorkerPeer):
    """nnU-Net's PlainConvUNet with about `parameters` parameters, by its planner, preprocessing and trainer."""

    def __init__(self, work: Work, seed: int, epochs: int, parameters: int) -> None:
        super().__init__(
            VARIABLE, "nnunetv2", WORKER, train=files(work, "train"), val=files(work, "val"), batch=work.size.batch,
            crop=work.size.crop, depth=work.size.network.depth, seed=seed, parameters=parameters,
            threads=work.threads, device=work.device.type, epochs=epochs,
        )  # fmt: skip
        self.about = (
            f"nnU-Net {self.started['versions']['nnunetv2']}'s trainer: {self.started['network']}, first width "
            f"{self.started['width']}, its augmentation in the training process; {self.started['arithmetic']}; torch "
            f"{self.started['versions']['torch']}; {KEEPS_MEMORY}"
        )
