"""The network of an arm's runs: what a configuration needs to say of it, and whether it can be built."""

from dataclasses import replace

import torch

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
from metaseg.networks.build import build, start_from
from metaseg.networks.network_name import NetworkName
from metaseg.networks.weights import read_weights
from metaseg.study.arms import Arm
from metaseg.training.fit import encode_metadata


def resolve(config: RunConfig) -> RunConfig:
    """The configuration without settings that mean nothing to its network: those of metaseg's U-Net."""
    if config.architecture is None or is_native(config.architecture):
        return config
    return replace(config, network=NetworkConfig(**{name: getattr(config.network, name) for name in BLOCK_SETTINGS}))


def is_native(architecture: Architecture) -> bool:
    """True for networks of metaseg, which all of `NetworkConfig` applies to."""
    return isinstance(architecture.network, NetworkName) and architecture.network.native


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
        found = arm.architecture(chosen)
        if found is None:
            return None
        if arm.positions is not None and not is_native(found):
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
        if chosen.weights is not None and arm.network is None:
            start_from(network, read_weights(chosen.weights))
        return found
    except ConfigError as error:
        raise ConfigError(f"arm {arm.name!r}: {error}") from None
