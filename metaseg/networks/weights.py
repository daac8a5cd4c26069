"""Files of trained weights that a network starts from."""

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from metaseg.config import ConfigError

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Last parts of keys that batch normalisation alone has."""


def encode_weights(weights: Mapping[str, Tensor]) -> bytes:
    """Weights as the store keeps them: safetensors, equal for equal weights whatever file they came from."""
    return save({name: weights[name].detach().clone().contiguous() for name in sorted(weights)})


def checksum(content: bytes) -> str:
    """SHA-256 of `encode_weights`, as a run's id has it."""
    return hashlib.sha256(content).hexdigest()


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a file by key: safetensors, or a state dict that PyTorch saved, which is read without running code.

    Raises:
        ConfigError: the file can't be read, or is neither.
    """
    path = path.expanduser()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"weights is {str(path)!r}: {error.strerror or error}; expected a file") from error
    if path.suffix == ".safetensors":
        try:
            return load(content)
        except SafetensorError as error:
            raise ConfigError(f"{path}: not a safetensors file: {error}") from error
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(f"{path}: not a state dict that PyTorch saved: {reason[0]}") from error
    for inner in ("state_dict", "model"):  # as training scripts save them beside other things
        if isinstance(found, Mapping) and isinstance(found.get(inner), Mapping):
            found = found[inner]
    if not isinstance(found, Mapping) or not found or not all(isinstance(each, Tensor) for each in found.values()):
        raise ConfigError(f"{path}: is a {type(found).__name__}; expected tensors by key")
    return {str(name): tensor for name, tensor in found.items()}


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], without_statistics: bool = False) -> int:
    """Load weights by their own keys: those of the network, or of one of its parts, such as its encoder.

    Args:
        network: changed in place. Parts that the weights don't have keep what they have.
        weights: tensors by key, each of which the network or the part must have.
        without_statistics: True if batch normalisation was replaced, so that its statistics have no place.

    Returns:
        The number of tensors loaded.

    Raises:
        ConfigError: a key or shape that the network hasn't, keys that fit several of its parts, or a value that isn't
            finite.
    """
    if without_statistics:
        weights = {name: tensor for name, tensor in weights.items() if name.rpartition(".")[2] not in STATISTICS}
    if wrong := [name for name, tensor in weights.items() if not tensor.isfinite().all()]:
        raise ConfigError(f"weights have NaN or infinity in {wrong[0]!r}; expected finite numbers")
    own = network.state_dict()
    prefixes = ["", *(f"{name}." for name, _ in network.named_children())]
    unfit = {prefix: [name for name in weights if not _fits(own, prefix + name, weights[name])] for prefix in prefixes}
    fitting = [prefix for prefix in prefixes if not unfit[prefix]]
    if len(fitting) > 1 and "" not in fitting:
        parts = ", ".join(prefix.removesuffix(".") for prefix in fitting)
        raise ConfigError(f"weights fit several parts of the network: {parts}; expected keys that begin with the part")
    prefix = "" if "" in fitting else min(prefixes, key=lambda each: len(unfit[each]))
    if unfit[prefix]:
        name = unfit[prefix][0]
        if prefix + name not in own:
            raise ConfigError(
                f"weights have key {name!r}, which the network hasn't ({len(unfit[prefix])} of {len(weights)} keys); "
                f"expected keys such as {next(iter(own), 'none')!r}"
            )
        raise ConfigError(
            f"weights have {name!r} of shape {tuple(weights[name].shape)}; the network expects "
            f"{tuple(own[prefix + name].shape)}: leave out what doesn't fit, such as a head for other classes"
        )
    network.load_state_dict({prefix + name: tensor for name, tensor in weights.items()}, strict=False)
    return len(weights)


def _fits(own: Mapping[str, Tensor], name: str, tensor: Tensor) -> bool:
    return name in own and own[name].shape == tensor.shape
