"""Annotators: does a network that is told who drew a mask come closer to it, and closer than another human?

Several people outlined the same images, each in a style of their own. Give a CSV or Parquet table with one row an
image and annotator: `image` and `mask` hold paths relative to the table's folder, other columns say who drew the mask.

    python studies/annotators.py --manifest retina/table.csv --annotator annotator --group-by patient
    python studies/annotators.py --manifest cells/table.csv --annotator person --metadata tool --per tool

Networks learn from all annotators' masks without label (`baseline`), from one annotator's alone
(`baseline-stratified`), from the vote of all masks of an image (`majority-vote`), or are told who drew each mask (`me`,
`sme`); all are tested against each annotator's own masks. The report compares each with the other humans, image by
image (`humans.csv`), and shows what networks do that are told another annotator than the true one (`swapped.csv`).

The majority vote of two masks is their union: a pixel is foreground where at least half of the masks have it.

The defaults are sized for some twenty images of 700 x 600 pixels within half an hour on two CPU cores; hundreds of
images need fewer `--epochs`.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from metaseg.cli.options import REQUIRED, DataOptions, NetworkOptions, Preset, ScheduleOptions, StudyOptions
from metaseg.cli.presets import paper, small
from metaseg.cli.study_page import Page, StudyPage
from metaseg.config import DataConfig, NetworkConfig, ScheduleConfig, Subset
from metaseg.schema import BASELINE
from metaseg.store.names import as_name
from metaseg.study.arms import ARMS, Arm

if TYPE_CHECKING:
    from metaseg.data.manifest import Manifest
    from metaseg.datasets.source import Progress
    from metaseg.store.runs import Store
    from metaseg.study.plan import Study

OWN_MASKS, VOTES = (Subset("is_vote", value, ("train", "val")) for value in ("no", "yes"))

MAJORITY = Arm("majority-vote", "se", "absent", VOTES)
"""Trained and validated on the vote of all masks of each image; tested, like all arms, against each annotator's own."""

SEEN = tuple(arm if arm.stratified else replace(arm, subset=OWN_MASKS) for arm in ARMS.values())
"""All other arms: the vote is no mask of theirs. A network for each annotator sees that annotator's masks anyway."""


@dataclass(frozen=True, kw_only=True)
class Annotators(StudyOptions):
    """Options of the page."""

    arms: tuple[str, ...] = ("baseline", "baseline-stratified", MAJORITY.name, "me", "sme", "sme-dummy")
    seeds: int = 2
    network: NetworkOptions = NetworkConfig(width=8, depth=4)
    schedule: ScheduleOptions = ScheduleConfig(
        epochs=90, shape="one-cycle", lr_max=5e-3, batch_size=4, crop=128, validate_every=30
    )
    data: DataOptions = DataConfig(folds=5)

    manifest: Path
    """CSV or Parquet table with a row for each image and annotator."""

    annotator: str
    """Column that names who drew a mask: the first metadata column, what the tables are broken down by."""

    metadata: tuple[str, ...] = ()
    """Further metadata columns that the networks see, such as the tool that a mask was drawn with or the image's
    source; as in `own_data.py`."""

    per: tuple[str, ...] = ()
    """Columns that tell the masks of one image and annotator apart, where there are several: tool, session."""

    group_by: str | None = None
    """Column whose values mustn't straddle training, validation and test: patient, field of view."""

    only: tuple[str, ...] = ()
    """Rows to keep, where not all of the table are wanted: COLUMN=VALUE; COLUMN= for rows without a value; or
    COLUMN>=NUMBER, COLUMN<=NUMBER. Of several conditions all must be met."""

    name: str | None = None
    """Name of the study in the store (default: made of the manifest's). A study replaces an older one of its name."""


QUICK = Annotators(manifest=REQUIRED, annotator=REQUIRED)

PRESETS: dict[Preset, Annotators] = {"quick": QUICK, "small": small(QUICK), "paper": paper(QUICK)}


def page(options: Annotators) -> Page:
    """Read the images given, with the majority vote of their masks where an arm learns from it."""
    from metaseg.datasets.majority_vote import require_one_class, with_majority_vote
    from metaseg.datasets.row_filter import keep_rows
    from metaseg.datasets.table import read_table
    from metaseg.pictures.choose import overlays
    from metaseg.scoring.observers import write_observers

    has_vote = MAJORITY.name in options.arms
    if has_vote:
        require_one_class(options.data)

    def read(folder: Path, progress: "Progress") -> "Manifest":
        columns = [f"{options.annotator}:categorical", *options.metadata]
        per = dict.fromkeys([options.annotator, *options.per])
        manifest = read_table(options.manifest, columns, options.group_by, tuple(per))
        manifest = keep_rows(manifest, options.only)
        return with_majority_vote(manifest, folder, progress) if has_vote else manifest

    def record(study: "Study", store: "Store") -> None:
        write_observers(store, study.name, study.dataset, options.annotator)

    told = [name for name in options.arms if name in ARMS and ARMS[name].metadata_mode == "true"]
    drawn = "sme" if "sme" in told else next(iter(told), BASELINE)
    made = as_name(f"annotators-{options.manifest.resolve().parent.name}-{options.manifest.stem}")
    return Page(
        name=made if options.name is None else options.name,
        read=read,
        arms=(*SEEN, MAJORITY) if has_vote else (),
        pictures=overlays((BASELINE, drawn)),
        record=record,
    )


STUDY = StudyPage(PRESETS, page, __doc__)

if __name__ == "__main__":
    sys.exit(STUDY.main())
