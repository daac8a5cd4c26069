"""Your own images: does metadata help on them, for which values, and is it real?

Give a CSV or Parquet table with one row an image: its columns `image` and `mask` hold paths relative to the table's
folder, other columns hold metadata. An image with several masks has a row for each, told apart by the columns that
`--per` names: annotator, task, style. A column `split` (train, val, test) is used where there is one; else images are
split so that `--group-by`'s groups (wells, patients, fields) stay together and each metadata value is in every part
(where it has three groups or more).

    python studies/own_data.py --manifest images/table.csv --metadata cell_line --group-by well

The defaults are sized for a first answer on a few hundred images within half an hour on two CPU cores;
`--preset paper` has the paper's.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from metaseg.cli.options import REQUIRED, NetworkOptions, Preset, ScheduleOptions, StudyOptions
from metaseg.cli.presets import paper, small
from metaseg.cli.study_page import Page, StudyPage
from metaseg.config import NetworkConfig, ScheduleConfig
from metaseg.schema import BASELINE
from metaseg.store.names import as_name
from metaseg.study.arms import ARMS

if TYPE_CHECKING:
    from metaseg.data.manifest import Manifest
    from metaseg.datasets.source import Progress


@dataclass(frozen=True, kw_only=True)
class OwnData(StudyOptions):
    """Options of the page."""

    arms: tuple[str, ...] = ("baseline", "me", "sme", "sme-dummy")
    network: NetworkOptions = NetworkConfig(width=8, depth=3)
    schedule: ScheduleOptions = ScheduleConfig(epochs=16, cycles=1, lr_max=3e-3, validate_every=4)

    manifest: Path
    """CSV or Parquet table of the images; or the folder of a published layout (see --layout)."""

    metadata: tuple[str, ...] = ()
    """Metadata columns that the networks see; without any, those that a published layout has of its own. Numbers are
    continuous and everything else is categorical, unless the name ends in :categorical or :continuous. With :unknown at
    the end, values may be missing. The first categorical one is what the tables are broken down by."""

    group_by: str | None = None
    """Column whose values mustn't straddle training, validation and test: well, patient, field of view."""

    per: tuple[str, ...] = ()
    """Columns that tell the rows of one image apart, where it has several masks: annotator, task, style. Its rows stay
    together in a split and count as one unit."""

    only: tuple[str, ...] = ()
    """Rows to keep, where not all of the table are wanted: COLUMN=VALUE; COLUMN= for rows without a value; or
    COLUMN>=NUMBER, COLUMN<=NUMBER. Of several conditions all must be met."""

    name: str | None = None
    """Name of the study in the store (default: made of the manifest's). A study replaces an older one of its name."""

    layout: str = "table"
    """Format of the manifest: table, or the name of a published layout (dsb2018, livecell, nnunet ...)."""


QUICK = OwnData(manifest=REQUIRED)

PRESETS: dict[Preset, OwnData] = {"quick": QUICK, "small": small(QUICK), "paper": paper(QUICK)}


def page(options: OwnData) -> Page:
    """Read the images given; draw what the first arm that sees metadata, SME if it is among them, does otherwise."""
    from metaseg.datasets.layouts import read as read_layout
    from metaseg.datasets.row_filter import keep_rows
    from metaseg.datasets.source import Source
    from metaseg.pictures.choose import overlays

    def read(folder: Path, progress: "Progress") -> "Manifest":
        source = Source(options.manifest, folder, options.metadata, options.group_by, progress, options.per)
        return keep_rows(read_layout(options.layout, source), options.only)

    made = as_name(f"own_data-{options.manifest.resolve().parent.name}-{options.manifest.stem}")
    told = [name for name in options.arms if name in ARMS and ARMS[name].metadata_mode == "true"]
    drawn = "sme" if "sme" in told else next(iter(told), BASELINE)
    return Page(name=made if options.name is None else options.name, read=read, pictures=overlays((BASELINE, drawn)))


STUDY = StudyPage(PRESETS, page, __doc__)

if __name__ == "__main__":
    sys.exit(STUDY.main())
