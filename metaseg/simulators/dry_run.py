"""Simulated images for a dry run: a few at full size stand for many that would take long to draw."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol, Self, TypeVar

from metaseg.data.manifest import Manifest
from metaseg.datasets.source import Progress

SOON = 20_000_000
"""Pixels that take about half a minute to draw."""


class Simulation(Protocol):
    """Settings of any simulator."""

    @property
    def name(self) -> str:
        """A folder name that no other configuration has."""

    @property
    def size(self) -> int:
        """Side of the square images, in pixels."""

    @property
    def count(self) -> int:
        """Number of images."""

    def sketch(self) -> Self:
        """Return the same settings with about as few images as a study can be planned on."""


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

    In a dry run, images that don't exist yet and would take long are not drawn: the manifest lists a few, and its
    `share` is their share of all.
    """
    whole = folder / config.name
    if not dry_run or whole.exists() or config.count * config.size**2 <= SOON:
        return make(whole, config, progress)
    few = config.sketch()
    return replace(make(folder / few.name, few, progress), share=few.count / config.count)
