"""LIVECell: does telling the network the cell line help on eight public lines? (paper, section 3.1, on public images)

The same question as `seven_cells.py`, on images that anybody can download: LIVECell (Edlund et al. 2021), phase
contrast of A172, BT474, BV2, Huh7, MCF7, SHSY5Y, SkBr3 and SKOV3, with the outlines of whole cells.

    python studies/livecell.py                                    # simulated images in LIVECell's layout
    python studies/livecell.py --preset paper --manifest LIVECell # the downloaded folder

Without `--manifest` the images are **simulated**, written in LIVECell's published layout and read by its importer: two
pairs of lines look alike and are annotated differently, by `--synthetic.metadata-effect`.
"""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from metaseg.cli.options import NetworkOptions, Preset, ScheduleOptions, StudyOptions
from metaseg.cli.presets import CONTROLS, LINE_ARMS, QUICK_NETWORK, QUICK_SCHEDULE, paper, small
from metaseg.cli.study_page import Page, StudyPage, named
from metaseg.simulators.settings import LiveCellSimulation

if TYPE_CHECKING:
    from metaseg.data.manifest import Manifest
    from metaseg.datasets.source import Progress


@dataclass(frozen=True, kw_only=True)
class LiveCell(StudyOptions):
    """Options of the page."""

    arms: tuple[str, ...] = LINE_ARMS + CONTROLS
    network: NetworkOptions = QUICK_NETWORK
    schedule: ScheduleOptions = QUICK_SCHEDULE

    manifest: Path | None = None
    """LIVECell's folder, with `images` and `annotations` (or the JSON files) in it. Without it, images are
    simulated."""

    synthetic: LiveCellSimulation = field(default_factory=LiveCellSimulation)


QUICK = LiveCell()

PRESETS: dict[Preset, LiveCell] = {
    "quick": QUICK,
    "small": replace(small(QUICK), synthetic=LiveCellSimulation(size=256, images_per_line=90, wells_per_line=30)),
    # LIVECell has 5239 images of 704 x 520 pixels.
    "paper": replace(paper(QUICK), synthetic=LiveCellSimulation(size=704, images_per_line=655, wells_per_line=48)),
}


def page(options: LiveCell) -> Page:
    """Read the images given, else simulate some in the same layout; compare the paper's arms and controls."""
    from metaseg.datasets.livecell import read_livecell
    from metaseg.datasets.source import Source
    from metaseg.pictures.choose import overlays
    from metaseg.simulators.dry_run import simulate
    from metaseg.simulators.livecell import simulate_livecell

    def read(folder: Path, progress: "Progress") -> "Manifest":
        def downloaded(path: Path) -> "Manifest":
            return read_livecell(Source(path, folder, ("cell_line",), progress=progress))

        def simulated(path: Path, config: LiveCellSimulation, progress: "Progress") -> "Manifest":
            return downloaded(simulate_livecell(path, config, progress))

        if options.manifest is None:
            return simulate(simulated, folder, options.synthetic, progress, dry_run=options.dry_run)
        return downloaded(options.manifest)

    return Page(name=named("livecell", options.manifest), read=read, pictures=overlays(("baseline", "sme")))


STUDY = StudyPage(PRESETS, page, __doc__)

if __name__ == "__main__":
    sys.exit(STUDY.main())
