"""The contenders: our training and its peers."""

from collections.abc import Callable

import torch

from benchmarks.training.bare import Arithmetic, Dtype, type_name
from benchmarks.training.contender import MakeTrainer, NotMeasuredError, Trainer
from benchmarks.training.ivadomed_peer import IvadomedPeer
from benchmarks.training.ours import Ours
from benchmarks.training.work import Work
from metaseg.device import half_precision, possible_arithmetic, usual_arithmetic
from metaseg.packages import install

OURS, OURS_FLOAT32 = "ours", "ours float32"


def _ours(full_precision: bool) -> MakeTrainer:
    return lambda work, seed, epochs: Ours(work, work.config(seed, epochs), full_precision)


def _textbook(dtype: Dtype, channels_last: bool = False) -> MakeTrainer:
    def make(work: Work, seed: int, epochs: int) -> Trainer:
        from benchmarks.training.textbook import textbook

        return textbook(work, seed, epochs, dtype, channels_last)

    return make


def _monai(dtype: Dtype, channels_last: bool = False) -> MakeTrainer:
    def make(work: Work, seed: int, epochs: int) -> Trainer:
        try:
            from benchmarks.training.monai_peer import monai_loop
        except ModuleNotFoundError as error:
            raise NotMeasuredError(f"MONAI isn't installed: {install('scores')}") from error
        return monai_loop(work, seed, epochs, our_parameters(work), dtype, channels_last)

    return make


def _smp(dtype: Dtype, channels_last: bool = False) -> MakeTrainer:
    def make(work: Work, seed: int, epochs: int) -> Trainer:
        try:
            from benchmarks.training.smp_peer import smp_loop
        except ModuleNotFoundError as error:
            raise NotMeasuredError("SMP isn't installed: pip install segmentation-models-pytorch") from error
        return smp_loop(work, seed, epochs, our_parameters(work), dtype, channels_last)

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
    "SMP float32": _smp("float32"),
    "SMP bfloat16": _smp("bfloat16"),
    "textbook float32 channels last": _textbook("float32", channels_last=True),
    "textbook bfloat16 channels last": _textbook("bfloat16", channels_last=True),
    "MONAI float32 channels last": _monai("float32", channels_last=True),
    "MONAI bfloat16 channels last": _monai("bfloat16", channels_last=True),
    "SMP float32 channels last": _smp("float32", channels_last=True),
    "SMP bfloat16 channels last": _smp("bfloat16", channels_last=True),
    "ivadomed": _ivadomed("flips"),
    "ivadomed, its transforms": _ivadomed("default"),
}
"""Functions that make trainers, by name."""


def limits_of(name: str, device: torch.device) -> list[Arithmetic]:
    """Bare loops, the fastest of which is a trainer's limit.

    Ours may choose its arithmetic, so it is compared with all that the device has; in float32 with both memory formats.
    Peers are compared with the arithmetic that their name says.
    """
    if name == OURS:
        return [Arithmetic(type_name(each.dtype), each.channels_last) for each in possible_arithmetic(device)]
    if name == OURS_FLOAT32:
        return [Arithmetic("float32", last) for last in (False, True)]
    return [Arithmetic("bfloat16" if "bfloat16" in name else "float32", "channels last" in name)]


def usual_limit(device: torch.device) -> Arithmetic:
    """The bare loop with the arithmetic that ours has where it doesn't measure."""
    usual = usual_arithmetic(device)
    return Arithmetic(type_name(usual.dtype), usual.channels_last)


def evaluation_limit(device: torch.device) -> Arithmetic:
    """The bare forward pass that does what our evaluation does."""
    return Arithmetic(type_name(half_precision(device)), channels_last=True)


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
