"""Your own images: does metadata help on them, for which values, and is it real?

Give a CSV or Parquet table with one row an image: its columns `image` and `mask` hold paths relative to the table's
folder, other columns hold metadata. A column `split` (train, val, test) is used where there is one; else images are
split so that `--group-by`'s groups (wells, patients, fields) stay together and each metadata value is in every part
(where it has three groups or more).

    python studies/own_data.py --manifest images/table.csv --metadata cell_line --group-by well

The defaults are sized for a first answer on a few hundred images within half an hour on two CPU cores; the paper's are
`--width 64 --depth 4 --epochs 100 --cycles 8 --lr-max 8e-4 --validate-every 1`.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from metaseg import datasets
from metaseg.config import NetworkConfig, ScheduleConfig
from metaseg.datasets.source import Source
from metaseg.launch import launch
from metaseg.options import NetworkOptions, ScheduleOptions, StudyOptions, parse


@dataclass(frozen=True, kw_only=True)
class OwnData(StudyOptions):
    """Options of the page."""

    arms: tuple[str, ...] = ("baseline", "me", "sme", "sme-dummy")
    network: NetworkOptions = NetworkConfig(width=8, depth=3)
    schedule: ScheduleOptions = ScheduleConfig(epochs=16, cycles=1, lr_max=3e-3, validate_every=4)

    manifest: Path
    """CSV or Parquet table of the images; or the folder of a published layout (see --layout)."""

    metadata: tuple[str, ...]
    """Metadata columns that the networks see. Numbers are continuous and everything else is categorical, unless the
    name ends in :categorical or :continuous. The first categorical one is what the tables are broken down by."""

    group_by: str | None = None
    """Column whose values mustn't straddle training, validation and test: well, patient, field of view."""

    name: str | None = None
    """Name of the study in the store (default: made of the manifest's). A study replaces an older one of its name."""

    layout: str = "table"
    """How the manifest is stored: table, or dsb2018 (the Data Science Bowl's published folders)."""


if __name__ == "__main__":
    options = parse(OwnData, __doc__)
    sys.exit(
        launch(
            options.name or f"own_data-{options.manifest.resolve().parent.name}-{options.manifest.stem}",
            options,
            lambda folder, progress: datasets.read(
                options.layout, Source(options.manifest, folder, options.metadata, options.group_by, progress)
            ),
        )
    )
