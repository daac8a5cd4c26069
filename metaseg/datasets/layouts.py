"""Importers by the names of the layouts that they read."""

from collections.abc import Callable

from metaseg.config import ConfigError
from metaseg.data.manifest import Manifest
from metaseg.datasets.artseg import read_artseg
from metaseg.datasets.dsb2018 import read_dsb2018
from metaseg.datasets.kits import read_kits
from metaseg.datasets.livecell import read_livecell
from metaseg.datasets.nnunet import read_nnunet
from metaseg.datasets.seven_cells import read_seven_cells
from metaseg.datasets.source import Source
from metaseg.datasets.table import read_table

LAYOUTS: dict[str, Callable[[Source], Manifest]] = {
    "table": lambda source: read_table(source.path, source.metadata, source.group_by, source.per),
    "dsb2018": read_dsb2018,
    "seven-cells": read_seven_cells,
    "livecell": read_livecell,
    "artseg": read_artseg,
    "kits": read_kits,
    "nnunet": read_nnunet,
}
"""Importers by the layout's name."""


def read(layout: str, source: Source) -> Manifest:
    """Read a dataset by the importer of `layout`.

    Raises:
        ConfigError: no layout has that name, or `source.per` is given for a layout other than `table`.
        ManifestError: the files at the source's path haven't that layout.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"layout is {layout!r}; expected one of {', '.join(LAYOUTS)}")
    if source.per and layout != "table":
        raise ConfigError(
            f"per is {', '.join(source.per)}, but layout {layout!r} determines the rows of an image itself; expected "
            "no --per, or layout 'table'"
        )
    return LAYOUTS[layout](source)
