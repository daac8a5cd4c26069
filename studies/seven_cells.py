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
from dataclasses import dataclass, field
from pathlib import Path

from metaseg.cli.options import NetworkOptions, Preset, ScheduleOptions, StudyOptions, parse
from metaseg.cli.presets import PAPER_NETWORK, PAPER_SCHEDULE, SMALL_NETWORK, SMALL_SCHEDULE
from metaseg.cli.study_page import Page, launch, named
from metaseg.config import NetworkConfig, ScheduleConfig
from metaseg.data.manifest import Manifest
from metaseg.datasets.seven_cells import SevenCellsConfig, read_seven_cells
from metaseg.datasets.source import Progress, Source
from metaseg.pictures.choose import overlays
from metaseg.simulators.dry_run import simulate
from metaseg.simulators.seven_cells import SyntheticConfig, make_seven_cells

ARMS = ("baseline", "baseline-stratified", "film-dummy", "film", "me", "sme-dummy", "sme")
CONTROLS = ("baseline-matched", "sme-shuffled")


@dataclass(frozen=True, kw_only=True)
class SevenCells(StudyOptions):
    """Options of the page."""

    arms: tuple[str, ...] = ARMS + CONTROLS
    # Reduction ratio 1: at this width, the paper's 4 would leave the first level's blocks two hidden units.
    network: NetworkOptions = NetworkConfig(width=8, depth=2, reduction=1)
    schedule: ScheduleOptions = ScheduleConfig(
        epochs=10, cycles=1, lr_max=1e-2, batch_size=4, crop=96, validate_every=2
    )

    manifest: Path | None = None
    """The laboratory's folder (images/, StencilsNuclei/, Index.xml), or a CSV or Parquet table with columns image, mask
    and cell_line. Without it, images are simulated."""

    laboratory: SevenCellsConfig = field(default_factory=SevenCellsConfig)
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)


PRESETS: dict[Preset, SevenCells] = {
    "quick": SevenCells(),
    "small": SevenCells(
        network=SMALL_NETWORK,
        schedule=SMALL_SCHEDULE,
        synthetic=SyntheticConfig(size=256, images_per_line=108, wells_per_line=36),
    ),
    "paper": SevenCells(
        network=PAPER_NETWORK,
        schedule=PAPER_SCHEDULE,
        synthetic=SyntheticConfig(size=1080, images_per_line=432, wells_per_line=48),
    ),
}

if __name__ == "__main__":
    options = parse(PRESETS, __doc__)

    def read(folder: Path, progress: Progress) -> Manifest:
        """The images given, else simulated ones."""
        if options.manifest is None:
            return simulate(make_seven_cells, folder, options.synthetic, progress, dry_run=options.dry_run)
        source = Source(options.manifest, folder, ("cell_line",), progress=progress)
        return read_seven_cells(source, options.laboratory)

    page = Page(name=named("seven_cells", options.manifest), read=read, pictures=overlays(("baseline", "sme")))
    sys.exit(launch(page, options))
