"""Annotation styles: can a network learn from coarse outlines and still draw accurate ones? (paper, section 3.2)

Of the training masks one third stays accurate, one third becomes finely and one third coarsely polygonised; validation
and test masks stay accurate. Networks that are told the style are tested in the accurate style (Table 2) and, as a
control, in the others. Figures S2 and S3 are `styles.png` and `probabilities.png` in the report.

    python studies/annotation_styles.py                                      # simulated images
    python studies/annotation_styles.py --manifest images/table.csv --group-by well --strata cell_line

Any table or published layout whose masks have one class will do. Without `--manifest` the images are **simulated**
(`metaseg.simulators.seven_cells`, all lines outlined alike); their polygons are as real ones' would be.
`--styles.effect 0` leaves all outlines accurate, so that the style says nothing.
"""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from metaseg.cli.options import NetworkOptions, Preset, ScheduleOptions, StudyOptions
from metaseg.cli.presets import CONTROLS, PAPER_CELLS, QUICK_NETWORK, QUICK_SCHEDULE, SMALL_CELLS, paper, small
from metaseg.cli.study_page import Page, StudyPage, named
from metaseg.config import Subset
from metaseg.simulators.settings import StyleConfig, SyntheticConfig
from metaseg.study.arms import Arm

if TYPE_CHECKING:
    from metaseg.data.manifest import Manifest
    from metaseg.datasets.source import Progress

THIRD = Arm("baseline-third", "se", "absent", Subset("style", "accurate", ("train",)))
"""Trained on the third with accurate masks."""

ARMS = (THIRD.name, "baseline", "me", "sme", "film", "sme-dummy")


@dataclass(frozen=True, kw_only=True)
class AnnotationStyles(StudyOptions):
    """Options of the page."""

    arms: tuple[str, ...] = ARMS + CONTROLS
    network: NetworkOptions = QUICK_NETWORK
    schedule: ScheduleOptions = QUICK_SCHEDULE

    manifest: Path | None = None
    """CSV or Parquet table of the images; or the folder of a published layout (see --layout). Without it, images are
    simulated."""

    layout: str = "table"
    """Format of the manifest: table, or the name of a published layout."""

    strata: tuple[str, ...] = ()
    """Categorical columns of the manifest; the styles' thirds, and the split where the manifest has none, have equal
    shares of the first one's values."""

    group_by: str | None = None
    """Column whose values mustn't straddle training, validation and test: well, patient, field of view."""

    styles: StyleConfig = field(default_factory=StyleConfig)
    synthetic: SyntheticConfig = field(default_factory=lambda: SyntheticConfig(metadata_effect=0))


QUICK = AnnotationStyles()

PRESETS: dict[Preset, AnnotationStyles] = {
    "quick": QUICK,
    "small": replace(small(QUICK), synthetic=replace(SMALL_CELLS, metadata_effect=0)),
    "paper": replace(paper(QUICK), synthetic=replace(PAPER_CELLS, metadata_effect=0)),
}


def page(options: AnnotationStyles) -> Page:
    """Read the images given, else simulate some, and draw the training masks in three styles."""
    from metaseg.datasets.layouts import read as read_layout
    from metaseg.datasets.source import Source
    from metaseg.pictures.choose import both, overlays, probabilities
    from metaseg.simulators.annotation_styles import with_styles
    from metaseg.simulators.dry_run import simulate
    from metaseg.simulators.seven_cells import make_seven_cells

    def read(folder: Path, progress: "Progress") -> "Manifest":
        if options.manifest is None:
            manifest = simulate(make_seven_cells, folder, options.synthetic, progress, dry_run=options.dry_run)
        else:
            source = Source(options.manifest, folder, options.strata, options.group_by, progress)
            manifest = read_layout(options.layout, source)
        return with_styles(manifest, folder, options.styles, progress)

    return Page(
        name=named("annotation_styles", options.manifest),
        read=read,
        arms=(THIRD,),
        pictures=both(overlays(("baseline", "sme")), probabilities(("baseline", "sme"), column="style")),
    )


STUDY = StudyPage(PRESETS, page, __doc__)

if __name__ == "__main__":
    sys.exit(STUDY.main())
