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

from metaseg import datasets
from metaseg.cli.options import REQUIRED, NetworkOptions, Preset, ScheduleOptions, StudyOptions, parse
from metaseg.cli.presets import PAPER_NETWORK, PAPER_SCHEDULE, SMALL_NETWORK, SMALL_SCHEDULE
from metaseg.cli.study_page import Page, launch
from metaseg.config import NetworkConfig, ScheduleConfig
from metaseg.data.manifest import Manifest
from metaseg.datasets.source import Progress, Source
from metaseg.store.names import as_name


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
    continuous and everything else is categorical, unless the name ends in :categorical or :continuous. The first
    categorical one is what the tables are broken down by."""

    group_by: str | None = None
    """Column whose values mustn't straddle training, validation and test: well, patient, field of view."""

    per: tuple[str, ...] = ()
    """Columns that tell the rows of one image apart, where it has several masks: annotator, task, style. Its rows stay
    together in a split and count as one unit."""

    name: str | None = None
    """Name of the study in the store (default: made of the manifest's). A study replaces an older one of its name."""

    layout: str = "table"
    """How the manifest is stored: table, or the name of a published layout (dsb2018, livecell, nnunet ...)."""


PRESETS: dict[Preset, OwnData] = {
    "quick": OwnData(manifest=REQUIRED),
    "small": OwnData(manifest=REQUIRED, network=SMALL_NETWORK, schedule=SMALL_SCHEDULE),
    "paper": OwnData(manifest=REQUIRED, network=PAPER_NETWORK, schedule=PAPER_SCHEDULE),
}

if __name__ == "__main__":
    options = parse(PRESETS, __doc__)

    def read(folder: Path, progress: Progress) -> Manifest:
        """The images given."""
        source = Source(options.manifest, folder, options.metadata, options.group_by, progress, options.per)
        return datasets.read(options.layout, source)

    made = as_name(f"own_data-{options.manifest.resolve().parent.name}-{options.manifest.stem}")
    name = made if options.name is None else options.name
    sys.exit(launch(Page(name=name, read=read), options))
