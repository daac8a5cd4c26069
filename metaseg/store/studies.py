"""A study's record in a store, by the study's name."""

from typing import Any

from metaseg.config import ConfigError
from metaseg.schema import study_file
from metaseg.store.runs import Store, from_json


def read_study(store: Store, study: str) -> dict[str, Any]:
    """Read the newest declaration under a name; empty where it isn't a JSON object.

    Raises:
        ConfigError: the store has no such study.
    """
    names = sorted(name.removesuffix(".json") for name in store.storage.names("studies"))
    if study not in names:
        raise ConfigError(f"unknown study {study!r} in {store.where}; known: {', '.join(names) or 'none'}")
    return from_json(store.storage.read(study_file(study))) or {}
