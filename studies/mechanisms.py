"""Mechanisms: which way of telling a network the metadata helps, and is it the metadata? (paper, section 1)

Trains the blocks and networks that the paper proposes and cites on one dataset. Each that sees metadata has a dummy
beside it: the same network, told zeros. docs/reference/arms.md has the formulas and sources.

    python studies/mechanisms.py                                                 # simulated cell lines
    python studies/mechanisms.py --manifest images/table.csv --metadata cell_line --group-by well

Without `--manifest` the images are **simulated** as those of seven_cells.py, and the metadata is the cell line.
`--synthetic.metadata-effect 0` takes the information in it away.

The mechanisms differ in size. A control of any one's is `se-matched` with its name (docs/how-to/own-study.md).
"""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from metaseg.cli.options import NetworkOptions, Preset, ScheduleOptions, StudyOptions
from metaseg.cli.presets import PAPER_CELLS, QUICK_NETWORK, QUICK_SCHEDULE, SMALL_CELLS, paper, small
from metaseg.cli.study_page import Page, StudyPage, named
from metaseg.simulators.settings import SyntheticConfig

if TYPE_CHECKING:
    from metaseg.data.manifest import Manifest
    from metaseg.datasets.source import Progress

UNTOLD = ("baseline", "none", "fuse", "cbam", "resdunet")
"""Arms without metadata."""

TOLD = (
    "me",
    "sme",
    "film",
    "film-ivadomed",
    "film-ivadomed-tied",
    "cunet-simple",
    "cunet-complex",
    "cbn",
    "cbam-metadata",
    "concat",
    "concat-input",
    "resdunet-sme",
)
"""Arms with metadata. Each has a dummy, which is told zeros."""


@dataclass(frozen=True, kw_only=True)
class Mechanisms(StudyOptions):
    """Options of the page."""

    arms: tuple[str, ...] = UNTOLD + tuple(arm for told in TOLD for arm in (f"{told}-dummy", told))
    network: NetworkOptions = QUICK_NETWORK
    schedule: ScheduleOptions = QUICK_SCHEDULE

    manifest: Path | None = None
    """CSV or Parquet table of the images; or the folder of a published layout (see --layout). Without it, images are
    simulated."""

    layout: str = "table"
    """Format of the manifest: table, or the name of a published layout."""

    metadata: tuple[str, ...] = ()
    """Metadata columns of the manifest that the networks see; without any, those that a published layout has."""

    group_by: str | None = None
    """Column whose values mustn't straddle training, validation and test: well, patient, field of view."""

    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)


QUICK = Mechanisms()

PRESETS: dict[Preset, Mechanisms] = {
    "quick": QUICK,
    "small": replace(small(QUICK), synthetic=SMALL_CELLS),
    "paper": replace(paper(QUICK), synthetic=PAPER_CELLS),
}


def page(options: Mechanisms) -> Page:
    """Read the images given, else simulate some; compare all mechanisms."""
    from metaseg.datasets.layouts import read as read_layout
    from metaseg.datasets.source import Source
    from metaseg.pictures.choose import overlays
    from metaseg.simulators.dry_run import simulate
    from metaseg.simulators.seven_cells import make_seven_cells

    def read(folder: Path, progress: "Progress") -> "Manifest":
        if options.manifest is None:
            return simulate(make_seven_cells, folder, options.synthetic, progress, dry_run=options.dry_run)
        source = Source(options.manifest, folder, options.metadata, options.group_by, progress)
        return read_layout(options.layout, source)

    return Page(name=named("mechanisms", options.manifest), read=read, pictures=overlays(("baseline", "sme")))


STUDY = StudyPage(PRESETS, page, __doc__)

if __name__ == "__main__":
    sys.exit(STUDY.main())
