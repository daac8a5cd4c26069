"""The network of an arm's runs: what a configuration needs to say of it, and whether it can be built."""

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from metaseg.config import (
    BLOCK_SETTINGS,
    Architecture,
    ArchitectureConfig,
    ConfigError,
    NetworkConfig,
    RunConfig,
    ScheduleConfig,
)
from metaseg.data.dataset import Dataset
from metaseg.networks.build import build, is_from_elsewhere, start_from
from metaseg.networks.network_name import NetworkName
from metaseg.networks.segmenter import Segmenter
from metaseg.networks.weights import read_weights
from metaseg.study.arms import Arm
from metaseg.training.fit import encode_metadata


def resolve(config: RunConfig) -> RunConfig:
    """The configuration without settings that mean nothing to its network: those of metaseg's U-Net."""
    if not is_from_elsewhere(config.architecture):
        return config
    return replace(config, network=NetworkConfig(**{name: getattr(config.network, name) for name in BLOCK_SETTINGS}))


def in_words(architecture: Architecture) -> str:
    """The network as a report calls it, with what differs from a plain training of all of it."""
    given = "" if architecture.weights is None else f"starts from weights {architecture.weights[:12]}"
    places = ", ".join(architecture.condition_at)
    said = (
        given,
        f"blocks on {places}" if places else "",
        "blocks start without effect" if architecture.start == "identity" else "",
        "blocks alone are trained" if architecture.train == "blocks" else "",
        "group normalisation in place of batch normalisation" if architecture.batch_norm == "group" else "",
    )
    name = architecture.network
    return ", ".join([name.written if isinstance(name, NetworkName) else name, *filter(None, said)])


def check_architecture(arm: Arm, chosen: ArchitectureConfig, dataset: Dataset) -> Architecture | None:
    """The network of an arm's runs; None for metaseg's own U-Net. One from elsewhere is built once, as a check.

    Raises:
        ConfigError: the network is unknown, can't be built for the dataset's images, conditioned with the arm's block,
            or take the weights.
    """
    try:
        others = ("weights", "condition_at", "start", "train", "batch_norm")
        given = [name for name in others if getattr(chosen, name) != getattr(ArchitectureConfig(), name)]
        if arm.network is not None and given:
            raise ConfigError(
                f"its network is {arm.network!r}; expected no {given[0]}, which is for the study's network"
            )
        found = arm.architecture(chosen)
        if found is None:
            return None
        if arm.positions is not None and is_from_elsewhere(found):
            places = " and ".join(arm.positions)
            raise ConfigError(f"network {found.network!r} has no {places}; expected one of metaseg's for blocks there")
        if arm.metadata_mode == "heads":
            raise ConfigError(f"network {chosen.network!r} has one output layer; expected metaseg's U-Net for heads")
        view = dataset.views[0]
        run = RunConfig(
            arm.block_name,
            arm.metadata_mode,
            0,
            "",
            NetworkConfig(),
            ScheduleConfig(),
            architecture=found,
            metadata_dropout=arm.metadata_dropout,
        )
        size = encode_metadata(run, view)[1].shape[1]
        with torch.random.fork_rng(devices=[]):
            network = build(
                dataset.channels, len(dataset.classes), arm.block_name, size, NetworkConfig(), architecture=found
            )
            if chosen.weights is not None:
                _tell_partial(start_from(network, read_weights(chosen.weights), found), network, chosen.weights)
            _try(network, dataset.channels, size, found.network)
        return found
    except ConfigError as error:
        raise ConfigError(f"arm {arm.name!r}: {error}") from None


def _tell_partial(loaded: int, network: nn.Module, path: Path) -> None:
    """Warn of weights that are those of a part alone."""
    of = len(network.bare.state_dict()) if isinstance(network, Segmenter) else loaded
    if loaded < of:
        warnings.warn(f"{path}: {loaded} of the network's {of} tensors; the others start at random", stacklevel=2)


def _try(network: nn.Module, channels: int, size: int, name: str) -> None:
    """Pass images through the network, as in training and in evaluation; a later failure would cost more time."""
    for training, (height, width) in ((True, (64, 64)), (False, (45, 70))):
        image, metadata = torch.zeros(2, channels, height, width), torch.zeros(2, size)
        try:
            with torch.no_grad():
                network.train(training)(image, metadata)
        except (RuntimeError, TypeError, ValueError) as error:
            when = "training" if training else "evaluation"
            raise ConfigError(
                f"network {name!r} fails in {when} on images of {height} x {width} pixels: {str(error).strip()}"
            ) from error


def check_distinct(runs: Mapping[str, str]) -> None:
    """Refuse arms that are the same runs, by another name.

    Args:
        runs: an id of a run of each arm, by the arm's name.

    Raises:
        ConfigError: two arms have the same run.
    """
    seen: dict[str, str] = {}
    for arm, run in runs.items():
        if seen.setdefault(run, arm) != arm:
            raise ConfigError(f"arms {seen[run]!r} and {arm!r} are the same runs, such as {run}; expected one of them")
