"""The contenders: our training and its peers."""

from collections.abc import Callable

import torch
from torch import nn

from benchmarks.training.bare import ALL, Arithmetic, type_name
from benchmarks.training.best_setting import best_setting
from benchmarks.training.contender import MakeTrainer, NotMeasuredError, Trainer
from benchmarks.training.ivadomed_peer import IvadomedPeer
from benchmarks.training.loop import Loss
from benchmarks.training.nnunet_peer import NnunetPeer
from benchmarks.training.ours import Ours
from benchmarks.training.work import Work
from metaseg.device import half_precision, possible_arithmetic, usual_arithmetic
from metaseg.packages import install

OURS, OURS_FLOAT32 = "ours", "ours float32"


def _ours(full_precision: bool) -> MakeTrainer:
    return lambda work, seed, epochs: Ours(work, work.config(seed, epochs), full_precision)


def _textbook(given: Arithmetic | None, compiled: bool = False) -> MakeTrainer:
    def make(work: Work, seed: int, epochs: int) -> Trainer:
        from benchmarks.training.textbook import textbook, textbook_network

        arithmetic = _setting("textbook", given, compiled, work, lambda: textbook_network(work))
        return textbook(work, seed, epochs, arithmetic)

    return make


def _monai(given: Arithmetic | None, compiled: bool = False) -> MakeTrainer:
    def make(work: Work, seed: int, epochs: int) -> Trainer:
        try:
            from benchmarks.training.monai_peer import monai_loop, monai_network
        except ModuleNotFoundError as error:
            raise NotMeasuredError(f"MONAI isn't installed: {install('scores')}") from error
        parameters = our_parameters(work)
        arithmetic = _setting("MONAI", given, compiled, work, lambda: monai_network(parameters)[:2])
        return monai_loop(work, seed, epochs, parameters, arithmetic)

    return make


def _smp(given: Arithmetic | None, compiled: bool = False) -> MakeTrainer:
    def make(work: Work, seed: int, epochs: int) -> Trainer:
        try:
            from benchmarks.training.smp_peer import smp_loop, smp_network
        except ModuleNotFoundError as error:
            raise NotMeasuredError(f"segmentation_models_pytorch isn't installed: {install('smp')}") from error
        parameters = our_parameters(work)
        arithmetic = _setting("SMP", given, compiled, work, lambda: smp_network(parameters))
        return smp_loop(work, seed, epochs, parameters, arithmetic)

    return make


def _setting(
    name: str, given: Arithmetic | None, compiled: bool, work: Work, make: Callable[[], tuple[nn.Module, Loss]]
) -> Arithmetic:
    """The setting that is asked for; where none is, the fastest."""
    return given or best_setting(name, work, make, compiled)


def _ivadomed(transforms: str) -> MakeTrainer:
    return lambda work, seed, epochs: IvadomedPeer(work, seed, epochs, our_parameters(work), transforms)


def _nnunet(work: Work, seed: int, epochs: int) -> Trainer:
    return NnunetPeer(work, seed, epochs, our_parameters(work))


PEERS = {"textbook": _textbook, "MONAI": _monai, "SMP": _smp}
"""Peers whose setting can be chosen."""


def named(setting: Arithmetic) -> str:
    """A setting, as names of trainers have it."""
    return str(setting).removesuffix(" NCHW")


def our_parameters(work: Work) -> int:
    """Weights of our network, which peers' come close to."""
    return sum(weights.numel() for weights in Arithmetic().network(work).parameters())


TRAINERS: dict[str, MakeTrainer] = {
    OURS: _ours(full_precision=False),
    OURS_FLOAT32: _ours(full_precision=True),
    **{peer: make(None) for peer, make in PEERS.items()},
    "ivadomed": _ivadomed("flips"),
    "ivadomed, its transforms": _ivadomed("default"),
    "nnU-Net": _nnunet,
    **{f"{peer} or compiled": make(None, compiled=True) for peer, make in PEERS.items()},
    **{f"{peer} {named(setting)}": make(setting) for peer, make in PEERS.items() for setting in ALL},
}
"""Functions that make trainers, by name. Peers without a number format in their name have their fastest setting; those
"or compiled" may be compiled for it, which takes minutes to warm up."""

USUAL = (
    OURS, OURS_FLOAT32, "textbook", "MONAI", "SMP", "ivadomed", "ivadomed, its transforms", "nnU-Net"
)  # fmt: skip
"""Trainers that are measured unless others are asked for: one row a peer."""


def limits_of(name: str, device: torch.device) -> list[Arithmetic]:
    """Bare loops, the fastest of which is a trainer's limit.

    Ours may choose its arithmetic, so it is compared with all that the device has; in float32 with both memory formats.
    So may peers whose name says no number format; others are compared with the one that it says.
    """
    if name == OURS or name.partition(" or ")[0] in PEERS:
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
