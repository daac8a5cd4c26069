"""Checkpoints: a run's state in the middle of training, as bytes with a checksum."""

import copy
import hashlib
import io
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor
from torch.optim import Optimizer

from metaseg.training.history import Epoch
from metaseg.training.world import World

FORMAT = 1
"""Version of a checkpoint's content. Raise it when that changes: other versions are skipped, and training restarts."""

DIGEST_BYTES = hashlib.sha256().digest_size


class CheckpointWarning(UserWarning):
    """A checkpoint couldn't be read or saved. Training goes on, but an interruption would cost more time."""


class Checkpoints(Protocol):
    """The place where `metaseg.training.fit.fit` saves and finds checkpoints; only the first worker calls it."""

    def newest_first(self) -> Iterable[tuple[str, bytes]]:
        """Saved checkpoints, each with a name for messages."""

    def is_due(self, epoch: int, epoch_ended: bool) -> bool:
        """Return True if a checkpoint should be saved now."""

    def save(self, position: str, content: bytes) -> None:
        """Save a checkpoint; `position` sorts after those of earlier ones. Raises nothing, since training can go on."""


@dataclass
class State:
    """Everything the rest of a training depends on. Random numbers are counter-based: their state is the position."""

    run: str = ""
    """The run's configuration as JSON; empty in checkpoints of versions that didn't store it."""
    epoch: int = 1
    """The epoch in which training resumes, from 1."""
    step: int = 0
    """Number of steps of this epoch that are done."""
    loss_sums: list[float] = field(default_factory=list)
    """Each worker's sum of losses in these steps."""
    seconds: float = 0.0
    """Time spent on these steps."""
    history: list[Epoch] = field(default_factory=list)
    """Finished epochs."""
    best_f1: float = -1.0
    best_epoch: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    """Weights of the best validation so far; empty before the first."""
    arithmetic: str = ""
    """Name of the training's arithmetic; empty in checkpoints of versions that didn't store it."""

    @property
    def position(self) -> str:
        """The checkpoint's name, which sorts in the order of training."""
        return f"{self.epoch:06}-{self.step:08}"


Parts = dict[str, Any]
"""Network, optimizer, scheduler and gradient scaler by name: each has `state_dict` and `load_state_dict`."""


def pack(state: State, parts: Parts) -> bytes:
    """Encode a state and its parts as bytes that begin with the SHA-256 of the rest."""
    content = {
        "format": FORMAT,
        "state": {**vars(state), "history": [asdict(epoch) for epoch in state.history]},
        "parts": {name: part.state_dict() for name, part in parts.items()},
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return hashlib.sha256(buffer.getvalue()).digest() + buffer.getvalue()


def unpack(content: bytes) -> tuple[State, Parts]:
    """Decode the bytes of `pack`: the state, and the `state_dict` of each part.

    Raises:
        ValueError: the content is truncated, altered, of another format, or not a checkpoint at all.
    """
    digest, payload = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    if hashlib.sha256(payload).digest() != digest:
        raise ValueError(f"its {len(content)} bytes don't have the checksum that they begin with")
    try:
        loaded = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        if loaded["format"] != FORMAT:
            raise ValueError(f"its format is {loaded['format']}; expected {FORMAT}")
        fields = {**loaded["state"], "history": [Epoch(**epoch) for epoch in loaded["state"]["history"]]}
        return State(**fields), dict(loaded["parts"])
    except ValueError:
        raise
    except Exception as error:  # torch.load and others promise no type of error for foreign content
        raise ValueError(f"it isn't a checkpoint: {type(error).__name__}: {str(error)[:200]}") from error


def resume(checkpoints: Checkpoints, parts: Parts, run: str = "") -> State:
    """Restore `parts` from the newest usable checkpoint, on every worker, and return its state; a fresh one if none is.

    A checkpoint that is damaged, belongs to another run than `run` (its configuration as JSON), or doesn't fit `parts`
    is skipped with a warning, and the one before it is tried.
    """
    world = World.current()
    content = next(_usable(checkpoints, parts, run), b"") if world.rank == 0 else b""
    if world.size > 1:
        shared = [content]
        dist.broadcast_object_list(shared, src=0)
        content = shared[0]
    if not content:
        return State(run)
    state, loaded = unpack(content)
    _load(parts, loaded)
    state.run = run
    return state


def _usable(checkpoints: Checkpoints, parts: Parts, run: str) -> Iterator[bytes]:
    """Checkpoints that fit the parts, the newest first; one that doesn't leaves the parts as they were."""
    for name, content in checkpoints.newest_first():
        fresh = copy.deepcopy({part: owner.state_dict() for part, owner in parts.items()})
        try:
            state, loaded = unpack(content)
            if state.run not in ("", run):
                raise ValueError("it belongs to another run")
            _check_state(state, fresh)
            _check_parts(loaded, fresh, parts)
            _load(parts, loaded)
        except Exception as error:  # parts promise no type of error for a state that isn't theirs
            _load(parts, fresh)
            reason = str(error).partition("\n")[0]
            warnings.warn(f"checkpoint {name} is skipped: {reason}", CheckpointWarning, stacklevel=3)
        else:
            yield content


def _check_state(state: State, fresh: Parts) -> None:
    """Raise `ValueError` if a state contradicts itself, or its best weights are another network's."""
    if not isinstance(state.epoch, int) or not isinstance(state.step, int) or state.epoch < 1 or state.step < 0:
        raise ValueError(f"it is at epoch {state.epoch!r}, step {state.step!r}; expected numbers from 1 and from 0")
    numbered = all(epoch.epoch == k for k, epoch in enumerate(state.history, start=1))
    if not numbered or len(state.history) != state.epoch - 1:
        raise ValueError(f"it is at epoch {state.epoch}; expected a history of the epochs before")
    numbers = [state.seconds, state.best_f1, state.best_epoch, *state.loss_sums]
    numbers += [value for epoch in state.history for value in vars(epoch).values() if value is not None]
    _require_alike([0.0] * len(numbers), numbers, "history")
    validated = any(epoch.val_f1 is not None and epoch.val_f1 >= 0 for epoch in state.history)
    if not validated <= (1 <= state.best_epoch < state.epoch):
        raise ValueError(f"its best epoch is {state.best_epoch}; expected one of its history")
    _require_alike(fresh.get("network", {}) if state.best_epoch else {}, state.best_weights, "best weights")


def _check_parts(loaded: Parts, fresh: Parts, parts: Parts) -> None:
    """Raise `ValueError` if a part's state doesn't fit the part: not every part checks that, or stays as it was."""
    for name, own in fresh.items():
        expected, found = own, loaded.get(name)
        if isinstance(parts[name], Optimizer) and isinstance(found, dict):
            weights = [weight for group in parts[name].param_groups for weight in group["params"]]
            moments = [{"step": torch.tensor(0.0), "exp_avg": weight, "exp_avg_sq": weight} for weight in weights]
            # A weight that hasn't been updated yet has no moments.
            expected = own | {"state": {k: moments[k] for k in found.get("state", ()) if k in range(len(weights))}}
        _require_alike(expected, found, name)


def _require_alike(own: Any, found: Any, where: str) -> None:
    """Raise `ValueError` if keys, lengths, shapes or types differ; int and float count as one type."""
    if isinstance(own, dict):
        alike = isinstance(found, dict) and found.keys() == own.keys()
        pairs = [(own[key], found[key]) for key in own] if alike else []
    elif isinstance(own, list | tuple):
        alike = isinstance(found, list | tuple) and len(found) == len(own)
        pairs = list(zip(own, found, strict=True)) if alike else []
    elif isinstance(own, Tensor):
        alike = isinstance(found, Tensor) and (found.shape, found.dtype) == (own.shape, own.dtype)
        pairs = []
    else:
        kinds = (int, float) if isinstance(own, int | float) else type(own)
        alike, pairs = isinstance(found, kinds), []
    if not alike:
        raise ValueError(f"its {where} doesn't fit this run")
    for one, other in pairs:
        _require_alike(one, other, where)


def _load(parts: Parts, states: Parts) -> None:
    for name, part in parts.items():
        part.load_state_dict(states[name])
