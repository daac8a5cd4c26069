"""Simulated images for a dry run: a few at full size stand for many that would take an hour to draw."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol, Self, TypeVar

from metaseg.data.manifest import Manifest
from metaseg.datasets.source import Progress

SOON = 20_000_000
"""Pixels that are drawn in half a minute or so."""


class Simulation(Protocol):
    """What a simulator makes."""

    @property
    def name(self) -> str:
        """A folder name that no other configuration has."""

    @property
    def size(self) -> int:
        """Side of the square images, in pixels."""

    @property
    def count(self) -> int:
        """How many images are drawn."""

    def sketch(self) -> Self:
        """The same with about as few images as a study can be planned on."""


Simulated = TypeVar("Simulated", bound=Simulation)


def simulate(
    make: Callable[[Path, Simulated, Progress], Manifest],
    folder: Path,
    config: Simulated,
    progress: Progress,
    *,
    dry_run: bool,
) -> Manifest:
    """Make simulated images in a subfolder of `folder`, or reuse them.

    In a dry run, images that aren't there yet and would take long are not drawn: the manifest is of a few, and says
    with `Manifest.share` which share of the whole they are.
    """
    whole = folder / config.name
    if not dry_run or whole.exists() or config.count * config.size**2 <= SOON:
        return make(whole, config, progress)
    few = config.sketch()
    return replace(make(folder / few.name, few, progress), share=few.count / config.count)
