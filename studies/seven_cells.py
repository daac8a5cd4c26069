"""Seven Cell Lines: does telling the network the cell line help, and for which lines? (paper, section 3.1 and Table 1)

Trains the paper's arms and its controls on seven cell lines, and prints Table 1 and, for each line, whether metadata
helped. Table S1 is `distribution.csv` in the report, Figure S1 is `overlays.png`.

    python studies/seven_cells.py                                            # simulated images
    python studies/seven_cells.py --preset paper --manifest /data/SevenCells # the laboratory's folder, or a table

The laboratory's images aren't public, so without `--manifest` this page **simulates** them
(`metaseg.simulators.seven_cells`): seven lines with a look of their own, except for two pairs of lines that look alike
and are annotated differently, for which the cell line holds information that the image doesn't.
`--synthetic.metadata-effect 0` takes that information away.
"""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from metaseg.cli.options import NetworkOptions, Preset, ScheduleOptions, StudyOptions
from metaseg.cli.presets import (
    CONTROLS,
    LINE_ARMS,
    PAPER_CELLS,
    QUICK_NETWORK,
    QUICK_SCHEDULE,
    SMALL_CELLS,
    paper,
    small,
)
from metaseg.cli.study_page import Page, StudyPage, named
from metaseg.datasets.settings import SevenCellsConfig
from metaseg.simulators.settings import SyntheticConfig

if TYPE_CHECKING:
    from metaseg.data.manifest import Manifest
    from metaseg.datasets.source import Progress


@dataclass(frozen=True, kw_only=True)
class SevenCells(StudyOptions):
    """Options of the page."""

    arms: tuple[str, ...] = LINE_ARMS + CONTROLS
    network: NetworkOptions = QUICK_NETWORK
    schedule: ScheduleOptions = QUICK_SCHEDULE

    manifest: Path | None = None
    """The laboratory's folder (images/, StencilsNuclei/, Index.xml), or a CSV or Parquet table with columns image, mask
    and cell_line. Without it, images are simulated."""

    laboratory: SevenCellsConfig = field(default_factory=SevenCellsConfig)
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)


QUICK = SevenCells()

PRESETS: dict[Preset, SevenCells] = {
    "quick": QUICK,
    "small": replace(small(QUICK), synthetic=SMALL_CELLS),
    "paper": replace(paper(QUICK), synthetic=PAPER_CELLS),
}


def page(options: SevenCells) -> Page:
    """Read the images given, else simulate some; compare the paper's arms and controls."""
    from metaseg.datasets.seven_cells import read_seven_cells
    from metaseg.datasets.source import Source
    from metaseg.pictures.choose import overlays
    from metaseg.simulators.dry_run import simulate
    from metaseg.simulators.seven_cells import make_seven_cells

    def read(folder: Path, progress: "Progress") -> "Manifest":
        if options.manifest is None:
            return simulate(make_seven_cells, folder, options.synthetic, progress, dry_run=options.dry_run)
        source = Source(options.manifest, folder, ("cell_line",), progress=progress)
        return read_seven_cells(source, options.laboratory)

    return Page(name=named("seven_cells", options.manifest), read=read, pictures=overlays(("baseline", "sme")))


STUDY = StudyPage(PRESETS, page, __doc__)

if __name__ == "__main__":
    sys.exit(STUDY.main())
