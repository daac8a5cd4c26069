"""Blocks from a Python file that a user names: how a finished run's own block is given to a command."""

import hashlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from metaseg.config import ConfigError
from metaseg.networks.blocks import ChannelModulation


def read_blocks(places: Sequence[str]) -> tuple[type[ChannelModulation], ...]:
    """Import block classes from files, each named as `FILE.py:CLASS`. The files are run, so name only your own.

    Raises:
        ConfigError: there is no such file, it can't be run, or it has no block of that name.
    """
    return tuple(map(_read_block, places))


def _read_block(place: str) -> type[ChannelModulation]:
    file, _, name = place.rpartition(":")
    path = Path(file).expanduser()
    if not file or path.suffix != ".py" or not path.is_file():
        raise ConfigError(f"block is {place!r}; expected FILE.py:CLASS, with a file that is there")
    # A name of its own, since a file may be called as a module of Python's.
    name_of_module = f"{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name_of_module, path)
    assert spec is not None  # a name that ends in .py always has one, with a loader
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name_of_module] = module  # so that the class's source can be read
    sys.path.insert(0, str(path.resolve().parent))  # as for a script: modules beside it can be imported
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a user's file raises
        del sys.modules[name_of_module]
        raise ConfigError(f"block {place}: the file can't be run: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(path.resolve().parent))
    found = getattr(module, name, None)
    if not (isinstance(found, type) and issubclass(found, ChannelModulation)):
        blocks = [
            key for key, value in vars(module).items() if isinstance(value, type) and _is_own(value, name_of_module)
        ]
        raise ConfigError(f"block {place}: the file has no block {name!r}; it has: {', '.join(blocks) or 'none'}")
    return found


def _is_own(value: type, module: str) -> bool:
    return issubclass(value, ChannelModulation) and value.__module__ == module
