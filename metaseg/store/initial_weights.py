"""Weights that runs start from: copied to the store by the driver, read by workers, named by their checksum."""

import hashlib

from metaseg.store.runs import DamagedRunError, Store


def weights_file(checksum: str) -> str:
    """Name of the file of weights with this SHA-256."""
    return f"weights/{checksum}.safetensors"


def has_weights(store: Store, checksum: str) -> bool:
    """Return True if the store has the weights."""
    return store.storage.exists(weights_file(checksum))


def save_weights(store: Store, checksum: str, content: bytes) -> None:
    """Write weights; `content` has this SHA-256."""
    store.storage.write(weights_file(checksum), content)


def read_weights(store: Store, checksum: str) -> bytes:
    """Read weights.

    Raises:
        DamagedRunError: they aren't there, or aren't what was written.
    """
    name = weights_file(checksum)
    content = store.storage.read_or_none(name)
    if content is None or hashlib.sha256(content).hexdigest() != checksum:
        wrong = "isn't there" if content is None else "isn't what was written"
        raise DamagedRunError(f"{store.storage.locate(name)}: {wrong}; start the study again with --weights")
    return content
