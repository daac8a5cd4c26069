"""Checkpoints in memory, after one of which the power goes."""

from collections.abc import Iterator


class PowerError(Exception):
    """The power has gone."""


class MemoryCheckpoints:
    """Keeps every state, of each check or of each epoch's end; the power goes after `until` of them."""

    def __init__(self, until: int, epochs_alone: bool = False) -> None:
        self.states: list[tuple[str, bytes]] = []
        self._until, self._epochs_alone = until, epochs_alone

    def newest_first(self) -> Iterator[tuple[str, bytes]]:
        return reversed(self.states)

    def is_due(self, epoch: int, epoch_ended: bool) -> bool:
        return epoch_ended or not self._epochs_alone

    def save(self, position: str, content: bytes) -> None:
        self.states.append((position, content))
        if len(self.states) == self._until:
            raise PowerError
