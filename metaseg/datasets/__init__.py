"""Importers: each reads a published on-disk layout, as it is, into a manifest."""

from collections.abc import Callable, Sequence
from pathlib import Path

from metaseg.config import ConfigError
from metaseg.data.manifest import Manifest
from metaseg.datasets.dsb2018 import read_dsb2018
from metaseg.datasets.table import read_table

LAYOUTS: dict[str, Callable[[Path, Sequence[str], str | None], Manifest]] = {
    "table": read_table,
    "dsb2018": read_dsb2018,
}
"""Readers by name, each called with (path, metadata, group_by)."""


def read(layout: str, path: Path, metadata: Sequence[str], group_by: str | None = None) -> Manifest:
    """Read the dataset at `path` by the reader called `layout`.

    Raises:
        ConfigError: no layout has that name.
        ManifestError: what is at `path` isn't of that layout.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"layout is {layout!r}; expected one of {', '.join(LAYOUTS)}")
    return LAYOUTS[layout](path, metadata, group_by)
