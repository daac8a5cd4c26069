"""Where a dataset lies, and what an importer may need besides."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Progress = Callable[[int, int], None]
"""Called with how many items are done, and how many there are."""


@dataclass(frozen=True)
class Source:
    """What an importer is called with."""

    path: Path
    """The table, or the published layout's folder; it is only read."""
    scratch: Path
    """Folder for files that an importer has to make: masks drawn from polygons, slices cut from volumes."""
    metadata: tuple[str, ...] = ()
    """Columns that the networks see, as in `metaseg.datasets.table.read_table`. Where there are none, an importer of a
    layout that has metadata of its own takes those."""
    group_by: str | None = None
    """Column whose values mustn't straddle a split; by default what the layout knows."""
    progress: Progress = lambda done, total: None
    """Called while files are made."""
    per: tuple[str, ...] = ()
    """Columns of a table that tell the rows of one image apart: its annotator, task or style."""
