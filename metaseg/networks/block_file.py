"""Blocks and networks from a Python file that a user names: how a finished run's own code is given to a command."""

import hashlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from torch import nn

from metaseg.config import ConfigError
from metaseg.networks.block_source import Code


def read_blocks(places: Sequence[str]) -> tuple[Code, ...]:
    """Import classes of blocks, and what makes networks, from files. The files are run, so name only your own.

    Args:
        places: each `FILE.py:NAME`, the name of a block's or network's class or of a function that makes a network.

    Raises:
        ConfigError: there is no such file, it can't be run, or it has nothing of that name.
    """
    return tuple(map(_read_block, places))


def _read_block(place: str) -> Code:
    file, _, name = place.rpartition(":")
    module = import_file(file, f"block {place}")
    found: Any = getattr(module, name, None)
    if not _is_code(found):
        blocks = [
            key
            for key, value in vars(module).items()
            if _is_code(value) and getattr(value, "__module__", "") == module.__name__
        ]
        raise ConfigError(f"block {place}: the file has no block {name!r}; it has: {', '.join(blocks) or 'none'}")
    code: Code = found
    return code


def _is_code(value: object) -> bool:
    """True for classes of modules, which blocks are too, and for functions."""
    return isinstance(value, FunctionType) or (isinstance(value, type) and issubclass(value, nn.Module))


def import_file(file: str, about: str) -> ModuleType:
    """Import a Python file; `about` is what errors call what is sought in it.

    Raises:
        ConfigError: there is no such file, or it can't be run.
    """
    path = Path(file).expanduser()
    if not file or path.suffix != ".py" or not path.is_file():
        kind, _, place = about.partition(" ")
        raise ConfigError(f"{kind} is {place!r}; expected FILE.py:NAME, with a file that is there")
    # A name of its own, since a file may be called as a module of Python's.
    name = f"{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # a name that ends in .py always has one, with a loader
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # so that the source of what it defines can be read
    sys.path.insert(0, str(path.resolve().parent))  # as for a script: modules beside it can be imported
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a user's file raises
        del sys.modules[name]
        raise ConfigError(f"{about}: the file can't be run: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(path.resolve().parent))
    return module
