"""Blocks from outside metaseg on their way to Ray's workers, which can't import a user's files."""

import importlib
from collections.abc import Iterable

from ray import cloudpickle

from metaseg.config import ConfigError, RunConfig
from metaseg.networks.block_name import own_sources


def ship_blocks(configs: Iterable[RunConfig]) -> None:
    """Let Ray send the blocks of these runs, with all that they use from files that aren't installed, by value.

    Raises:
        ConfigError: a block holds what can't be sent: an open file, a lock, a connection.
    """
    for source in own_sources(config.block for config in configs):
        for module in source.modules:
            cloudpickle.register_pickle_by_value(importlib.import_module(module))
        try:
            cloudpickle.dumps(source.block)
        except Exception as error:  # whatever an object's own pickling raises
            raise ConfigError(
                f"block {source.block.__qualname__!r} of {source.file} can't be sent to Ray's workers: {error}; "
                "expected a class that uses functions, classes and plain values alone"
            ) from None
