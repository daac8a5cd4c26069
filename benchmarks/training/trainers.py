"""The contenders: our training and its peers."""

from collections.abc import Callable

import torch

from benchmarks.training.bare import Arithmetic, Dtype
from benchmarks.training.contender import MakeTrainer, NotMeasuredError, Trainer
from benchmarks.training.ivadomed_peer import IvadomedPeer
from benchmarks.training.ours import Ours
from benchmarks.training.work import Work
from metaseg.device import half_precision, training_format
from metaseg.packages import install

OURS, OURS_FLOAT32 = "ours", "ours float32"


def _ours(full_precision: bool) -> MakeTrainer:
    return lambda work, seed, epochs: Ours(work, work.config(seed, epochs), full_precision)


def _textbook(dtype: str) -> MakeTrainer:
    def make(work: Work, seed: int, epochs: int) -> Trainer:
        from benchmarks.training.textbook import textbook

        return textbook(work, seed, epochs, dtype)

    return make


def _monai(dtype: str) -> MakeTrainer:
    def make(work: Work, seed: int, epochs: int) -> Trainer:
        try:
            from benchmarks.training.monai_peer import monai_loop
        except ModuleNotFoundError as error:
            raise NotMeasuredError(f"MONAI isn't installed: {install('scores')}") from error
        return monai_loop(work, seed, epochs, our_parameters(work), dtype)

    return make


def _ivadomed(transforms: str) -> MakeTrainer:
    return lambda work, seed, epochs: IvadomedPeer(work, seed, epochs, our_parameters(work), transforms)


def our_parameters(work: Work) -> int:
    """Weights of our network, which peers' come close to."""
    return sum(weights.numel() for weights in Arithmetic().network(work).parameters())


TRAINERS: dict[str, MakeTrainer] = {
    OURS: _ours(full_precision=False),
    OURS_FLOAT32: _ours(full_precision=True),
    "textbook float32": _textbook("float32"),
    "textbook bfloat16": _textbook("bfloat16"),
    "MONAI float32": _monai("float32"),
    "MONAI bfloat16": _monai("bfloat16"),
    "ivadomed": _ivadomed("flips"),
    "ivadomed, its transforms": _ivadomed("default"),
}
"""Functions that make trainers, by name."""


def limit_of(name: str, device: torch.device) -> Arithmetic:
    """The bare loop that does a trainer's arithmetic: what ours chooses for the device, or what the name says."""
    last = {OURS: training_format(device) is torch.channels_last, OURS_FLOAT32: True}.get(name, False)
    if name == OURS:
        return Arithmetic(_dtype(device), last)
    return Arithmetic("bfloat16" if "bfloat16" in name else "float32", last)


def evaluation_limit(device: torch.device) -> Arithmetic:
    """The bare forward pass that does what our evaluation does."""
    return Arithmetic(_dtype(device), channels_last=True)


def _dtype(device: torch.device) -> Dtype:
    half = half_precision(device)
    return "float32" if half is None else "float16" if half is torch.float16 else "bfloat16"


def make_trainers(
    names: list[str], work: Work, seed: int, epochs: int, missing: Callable[[str, str], None]
) -> dict[str, Trainer]:
    """Those of `names` that can take part; `missing` is called with the name and the reason of each that can't."""
    made: dict[str, Trainer] = {}
    for name in names:
        try:
            made[name] = TRAINERS[name](work, seed, epochs)
        except NotMeasuredError as error:
            missing(name, str(error))
    return made
