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
from dataclasses import dataclass, field
from pathlib import Path

from metaseg import datasets
from metaseg.cli.options import NetworkOptions, Preset, ScheduleOptions, StudyOptions, parse
from metaseg.cli.presets import PAPER_NETWORK, PAPER_SCHEDULE, SMALL_NETWORK, SMALL_SCHEDULE
from metaseg.cli.study_page import Page, launch, named
from metaseg.config import NetworkConfig, ScheduleConfig, Subset
from metaseg.data.manifest import Manifest
from metaseg.datasets.source import Progress, Source
from metaseg.pictures.choose import both, overlays, probabilities
from metaseg.simulators.annotation_styles import StyleConfig, with_styles
from metaseg.simulators.dry_run import simulate
from metaseg.simulators.seven_cells import SyntheticConfig, make_seven_cells
from metaseg.study.plan import Arm

THIRD = Arm("baseline-third", "se", "absent", Subset("style", "accurate", ("train",)))
"""Trained on the third with accurate masks."""

ARMS = (THIRD.name, "baseline", "me", "sme", "film", "sme-dummy")
CONTROLS = ("baseline-matched", "sme-shuffled")


@dataclass(frozen=True, kw_only=True)
class AnnotationStyles(StudyOptions):
    """Options of the page."""

    arms: tuple[str, ...] = ARMS + CONTROLS
    network: NetworkOptions = NetworkConfig(width=8, depth=2, reduction=1)
    schedule: ScheduleOptions = ScheduleConfig(
        epochs=10, cycles=1, lr_max=1e-2, batch_size=4, crop=96, validate_every=2
    )

    manifest: Path | None = None
    """CSV or Parquet table of the images; or the folder of a published layout (see --layout). Without it, images are
    simulated."""

    layout: str = "table"
    """How the manifest is stored: table, or the name of a published layout."""

    strata: tuple[str, ...] = ()
    """Categorical columns of the manifest; the styles' thirds, and the split where the manifest has none, have equal
    shares of the first one's values."""

    group_by: str | None = None
    """Column whose values mustn't straddle training, validation and test: well, patient, field of view."""

    styles: StyleConfig = field(default_factory=StyleConfig)
    synthetic: SyntheticConfig = field(default_factory=lambda: SyntheticConfig(metadata_effect=0))


PRESETS: dict[Preset, AnnotationStyles] = {
    "quick": AnnotationStyles(),
    "small": AnnotationStyles(
        network=SMALL_NETWORK,
        schedule=SMALL_SCHEDULE,
        synthetic=SyntheticConfig(size=256, images_per_line=108, wells_per_line=36, metadata_effect=0),
    ),
    "paper": AnnotationStyles(
        network=PAPER_NETWORK,
        schedule=PAPER_SCHEDULE,
        synthetic=SyntheticConfig(size=1080, images_per_line=432, wells_per_line=48, metadata_effect=0),
    ),
}

if __name__ == "__main__":
    options = parse(PRESETS, __doc__)

    def read(folder: Path, progress: Progress) -> Manifest:
        """The images given, else simulated ones, with training masks of three styles."""
        if options.manifest is None:
            manifest = simulate(make_seven_cells, folder, options.synthetic, progress, dry_run=options.dry_run)
        else:
            source = Source(options.manifest, folder, options.strata, options.group_by, progress)
            manifest = datasets.read(options.layout, source)
        return with_styles(manifest, folder, options.styles, progress)

    pictures = both(overlays(("baseline", "sme")), probabilities(("baseline", "sme"), column="style"))
    sys.exit(
        launch(
            Page(name=named("annotation_styles", options.manifest), read=read, arms=(THIRD,), pictures=pictures),
            options,
        )
    )
