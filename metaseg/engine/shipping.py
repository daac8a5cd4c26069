"""Code from outside metaseg, blocks and networks, on its way to Ray's workers, which can't import a user's files."""

import importlib
from collections.abc import Iterable

from ray import cloudpickle

from metaseg.config import ConfigError, RunConfig
from metaseg.networks.block_name import own_sources
from metaseg.networks.weights import checksum, encode_weights, read_weights
from metaseg.store.initial_weights import has_weights, save_weights
from metaseg.store.runs import Store


def ship_weights(configs: Iterable[RunConfig], store: Store) -> None:
    """Copy weights that these runs start from to the store, where it doesn't have them.

    Raises:
        ConfigError: a file can't be read, or has changed since the runs were planned.
    """
    architectures = {config.architecture for config in configs if config.architecture and config.architecture.weights}
    for architecture in architectures:
        assert architecture.weights is not None
        if has_weights(store, architecture.weights):
            continue
        path = getattr(architecture.network, "weights", None)
        if path is None:
            raise ConfigError(
                f"the store has no weights {architecture.weights[:12]}; expected the file that holds them"
            )
        content = encode_weights(read_weights(path))
        if checksum(content) != architecture.weights:
            raise ConfigError(f"weights {str(path)!r} have changed since the study was planned; start it again")
        save_weights(store, architecture.weights, content)


def ship_code(configs: Iterable[RunConfig]) -> None:
    """Let Ray send the blocks and networks of these runs by value, with all that they use from files not installed.

    Raises:
        ConfigError: one holds what can't be sent: an open file, a lock, a connection.
    """
    for source in own_sources(name for config in configs for name in config.names):
        for module in source.modules:
            cloudpickle.register_pickle_by_value(importlib.import_module(module))
        try:
            cloudpickle.dumps(source.block)
        except Exception as error:  # whatever an object's own pickling raises
            name = f"{source.kind} {source.block.__qualname__!r} of {source.file}"
            raise ConfigError(
                f"{name} can't be sent to Ray's workers: {error}; expected one that uses functions, classes and plain "
                "values alone"
            ) from None
