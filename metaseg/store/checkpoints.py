"""A run's checkpoints in the store: when they are due, and what happens if one can't be saved."""

import time
import warnings
from collections.abc import Iterator

from metaseg.config import EngineConfig
from metaseg.store.runs import Store
from metaseg.training.checkpoint import CheckpointWarning

TRY_AGAIN_SECONDS = 30.0
"""Time between attempts when a checkpoint can't be saved; training goes on meanwhile."""


class StoredCheckpoints:
    """`metaseg.training.checkpoint.Checkpoints` of one run, in a store."""

    def __init__(self, store: Store, run_id: str, config: EngineConfig) -> None:
        self._store, self._run_id, self._config = store, run_id, config
        self._due = time.monotonic() + 60 * config.checkpoint_minutes

    def newest_first(self) -> Iterator[tuple[str, bytes]]:
        """Saved checkpoints, each with its path or URL."""
        return self._store.checkpoints(self._run_id)

    def is_due(self, epoch: int, epoch_ended: bool) -> bool:
        """Return True if `checkpoint_minutes` have passed, or a multiple of `checkpoint_epochs` epochs has ended."""
        every = self._config.checkpoint_epochs
        return time.monotonic() >= self._due or (epoch_ended and every is not None and epoch % every == 0)

    def save(self, position: str, content: bytes) -> None:
        """Save a checkpoint; if the store can't take it, warn and try again with a later one."""
        wait = 60 * self._config.checkpoint_minutes
        try:
            self._store.save_checkpoint(self._run_id, position, content)
        except OSError as error:
            warnings.warn(
                f"no checkpoint of run {self._run_id} at {position}: {error}", CheckpointWarning, stacklevel=2
            )
            wait = min(wait, TRY_AGAIN_SECONDS)
        self._due = time.monotonic() + wait
