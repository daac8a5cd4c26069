"""LIVECell: does telling the network the cell line help on eight public lines? (paper, section 3.1, on public images)

The same question as `seven_cells.py`, on images that anybody can download: LIVECell (Edlund et al. 2021), phase
contrast of A172, BT474, BV2, Huh7, MCF7, SHSY5Y, SkBr3 and SKOV3, with the outlines of whole cells.

    python studies/livecell.py                                    # simulated images in LIVECell's layout
    python studies/livecell.py --preset paper --manifest LIVECell # the downloaded folder

Without `--manifest` the images are **simulated**, written in LIVECell's published layout and read by its importer: two
pairs of lines look alike and are annotated differently, by `--synthetic.metadata-effect`.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from metaseg.cli.options import NetworkOptions, Preset, ScheduleOptions, StudyOptions, parse
from metaseg.cli.presets import PAPER_NETWORK, PAPER_SCHEDULE, SMALL_NETWORK, SMALL_SCHEDULE
from metaseg.cli.study_page import Page, launch, named
from metaseg.config import NetworkConfig, ScheduleConfig
from metaseg.data.manifest import Manifest
from metaseg.datasets.livecell import read_livecell
from metaseg.datasets.source import Progress, Source
from metaseg.pictures.choose import overlays
from metaseg.simulators.dry_run import simulate
from metaseg.simulators.livecell import LiveCellSimulation, simulate_livecell

ARMS = ("baseline", "baseline-stratified", "film-dummy", "film", "me", "sme-dummy", "sme")
CONTROLS = ("baseline-matched", "sme-shuffled")


@dataclass(frozen=True, kw_only=True)
class LiveCell(StudyOptions):
    """Options of the page."""

    arms: tuple[str, ...] = ARMS + CONTROLS
    network: NetworkOptions = NetworkConfig(width=8, depth=2, reduction=1)
    schedule: ScheduleOptions = ScheduleConfig(
        epochs=10, cycles=1, lr_max=1e-2, batch_size=4, crop=96, validate_every=2
    )

    manifest: Path | None = None
    """LIVECell's folder, with `images` and `annotations` (or the JSON files) in it. Without it, images are
    simulated."""

    synthetic: LiveCellSimulation = field(default_factory=LiveCellSimulation)


PRESETS: dict[Preset, LiveCell] = {
    "quick": LiveCell(),
    "small": LiveCell(
        network=SMALL_NETWORK,
        schedule=SMALL_SCHEDULE,
        synthetic=LiveCellSimulation(size=256, images_per_line=90, wells_per_line=30),
    ),
    # LIVECell has 5239 images of 704 x 520 pixels.
    "paper": LiveCell(
        network=PAPER_NETWORK,
        schedule=PAPER_SCHEDULE,
        synthetic=LiveCellSimulation(size=704, images_per_line=655, wells_per_line=48),
    ),
}

if __name__ == "__main__":
    options = parse(PRESETS, __doc__)

    def read(folder: Path, progress: Progress) -> Manifest:
        """The images given, else simulated ones in the same layout."""

        def simulated(path: Path, config: LiveCellSimulation, progress: Progress) -> Manifest:
            return downloaded(simulate_livecell(path, config, progress))

        def downloaded(path: Path) -> Manifest:
            return read_livecell(Source(path, folder, ("cell_line",), progress=progress))

        if options.manifest is None:
            return simulate(simulated, folder, options.synthetic, progress, dry_run=options.dry_run)
        return downloaded(options.manifest)

    page = Page(name=named("livecell", options.manifest), read=read, pictures=overlays(("baseline", "sme")))
    sys.exit(launch(page, options))
