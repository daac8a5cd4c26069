"""Nuclei and anomalies: can one network with one output do two tasks, and does the rare one gain? (paper, section 3.3)

All images have a mask of nuclei; a few (365 of 3024 in the paper) also have one of anomalies: debris, bubbles, spots
out of focus. The metadata says which mask is wanted. Compared with one network a task (the paper's "baseline
stratified"): networks that are told the task, one that isn't ("dummy"), and, on the images with both masks, one output
for each task ("heads-subset") against the task as metadata ("sme-subset"). It prints Table 3; with labels swapped at
test time: `swapped.csv`. Figure 2B is `overlays.png`.

    python studies/anomalies.py                                       # simulated images
    python studies/anomalies.py --manifest table.csv --group-by well  # a row for each image and task
    python studies/anomalies.py --manifest nuclei.csv --artseg ArtSeg # nuclei of a table, anomalies of ArtSeg's folders

A table has columns image, mask and task (nuclei or anomaly); an image with both masks has two rows. Without
`--manifest` the images are **simulated** (`metaseg.simulators.anomalies`); `--synthetic.metadata-effect 0` makes both
tasks ask for the same mask, so that the task says nothing.
"""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from metaseg.cli.options import NetworkOptions, Preset, ScheduleOptions, StudyOptions
from metaseg.cli.presets import paper, small
from metaseg.cli.study_page import Page, StudyPage, named
from metaseg.config import NetworkConfig, ScheduleConfig, Scoring, Subset
from metaseg.datasets.settings import ArtSegConfig
from metaseg.simulators.settings import AnomalyConfig
from metaseg.study.arms import ARMS as KNOWN
from metaseg.study.arms import Arm

if TYPE_CHECKING:
    from metaseg.data.manifest import Manifest
    from metaseg.datasets.source import Progress

BASELINE = "baseline-stratified"

BOTH_MASKS = Subset("both_masks", "yes", ("train", "val"))
"""The multi-label subset; all test samples stay, so that its arms' rows are comparable with the others'."""

OWN_ARMS = (
    replace(KNOWN["heads"], name="heads-subset", subset=BOTH_MASKS),
    replace(KNOWN["sme"], name="sme-subset", subset=BOTH_MASKS),
    Arm("matched-stratified", "se-matched", "zeros", stratified=True),
)

ARMS = (BASELINE, "me", "sme-dummy", "sme", "heads-subset", "sme-subset")
CONTROLS = ("matched-stratified", "sme-shuffled")


@dataclass(frozen=True, kw_only=True)
class Anomalies(StudyOptions):
    """Options of the page."""

    arms: tuple[str, ...] = ARMS + CONTROLS
    network: NetworkOptions = NetworkConfig(width=8, depth=3, reduction=1)
    schedule: ScheduleOptions = ScheduleConfig(epochs=8, cycles=1, lr_max=1e-2, batch_size=4, crop=96, validate_every=2)

    manifest: Path | None = None
    """CSV or Parquet table with columns image, mask and task (no task with --artseg). Without it, images are
    simulated."""

    artseg: Path | None = None
    """ArtSeg's folder, with train, validation and test in it: masks of anomalies, beside the manifest's of nuclei."""

    artseg_masks: ArtSegConfig = field(default_factory=ArtSegConfig)

    group_by: str | None = None
    """Column whose values mustn't straddle training, validation and test: well, patient, field of view."""

    # Twice the simulator's default: of 252 images, 8 would be tested for anomalies.
    synthetic: AnomalyConfig = field(default_factory=lambda: AnomalyConfig(images=504))


QUICK = Anomalies()

PRESETS: dict[Preset, Anomalies] = {
    "quick": QUICK,
    "small": replace(small(QUICK), synthetic=AnomalyConfig(size=256, images=756)),
    "paper": replace(paper(QUICK), synthetic=AnomalyConfig(size=1080, images=3024)),
}


def page(options: Anomalies) -> Page:
    """Read the images given, else simulate some; the overall score is the mean of both tasks."""
    from metaseg.datasets.artseg import read_artseg
    from metaseg.datasets.source import Source
    from metaseg.datasets.table import read_table
    from metaseg.datasets.tasks import join_tasks, read_tasks
    from metaseg.pictures.choose import overlays
    from metaseg.simulators.anomalies import make_anomalies
    from metaseg.simulators.dry_run import simulate

    def read(folder: Path, progress: "Progress") -> "Manifest":
        if options.manifest is None:
            return simulate(make_anomalies, folder, options.synthetic, progress, dry_run=options.dry_run)
        if options.artseg is None:
            return read_tasks(options.manifest, options.group_by)
        nuclei = read_table(options.manifest, (), options.group_by)
        anomalies = read_artseg(Source(options.artseg, folder, progress=progress), options.artseg_masks)
        return join_tasks(nuclei, anomalies, ("nuclei", "anomaly"))

    return Page(
        name=named("anomalies", options.manifest),
        read=read,
        arms=OWN_ARMS,
        baseline=BASELINE,
        scoring=Scoring(average="subgroups"),
        pictures=overlays((BASELINE, "sme")),
    )


STUDY = StudyPage(PRESETS, page, __doc__)

if __name__ == "__main__":
    sys.exit(STUDY.main())
