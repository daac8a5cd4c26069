"""The argument of every importer: the dataset's place, a scratch folder, and choices of columns."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Progress = Callable[[int, int], None]
"""Called with the number of items done, and of all items."""


@dataclass(frozen=True)
class Source:
    """A dataset on disk and the choices for importing it: the argument of every importer."""

    path: Path
    """The table, or the published layout's folder; it is only read."""
    scratch: Path
    """Folder for files that an importer has to make: masks drawn from polygons, slices cut from volumes."""
    metadata: tuple[str, ...] = ()
    """Columns that the networks see, as in `metaseg.datasets.table.read_table`; by default the layout's own metadata,
    if it has any."""
    group_by: str | None = None
    """Column whose values mustn't straddle splits; by default the layout's own groups."""
    progress: Progress = lambda done, total: None
    """Called while files are made."""
    per: tuple[str, ...] = ()
    """Columns of a table that distinguish the rows of one image: its annotator, task or style."""
