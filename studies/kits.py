"""Kidney tumours: does telling the network the tumour's size help, and does it obey? (paper, section 3.4 and Figure 2A)

Axial CT slices with kidney, tumour and cyst; the metadata is the tumour's radiographic size in cm, a number. Networks
are told the true size, zero, or, after training, a series of sizes with the image held fixed: `sweep.png` shows the
masks, `response.png` and `response.csv` the predicted area against the given size.

    python studies/kits.py                                        # simulated slices
    python studies/kits.py --layout kits --manifest kits21        # KiTS19, KiTS21 or KiTS23 as downloaded
    python studies/kits.py --manifest slices/manifest.csv --size radiographic_size_cm --group-by case_id \\
        --classes kidney tumour --shrink 4 --crop 128 --depth 4 --epochs 100 --batch-size 4 \\
        --intensity 0.1 --folds 5                                 # slices that are there already

Without `--manifest` the slices are **simulated** (`metaseg.simulators.kidney_tumours`): where a tumour ends isn't
visible, and its size tells; `--synthetic.metadata-effect 0` takes that away.
"""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from metaseg.cli.options import NetworkOptions, Preset, ScheduleOptions, StudyOptions
from metaseg.cli.presets import CONTROLS, paper, small
from metaseg.cli.study_page import Page, StudyPage, named
from metaseg.config import NetworkConfig, ScheduleConfig, Scoring
from metaseg.datasets.settings import KitsConfig
from metaseg.simulators.settings import RENAL_CLASSES, RenalConfig

if TYPE_CHECKING:
    from metaseg.data.manifest import Manifest
    from metaseg.datasets.source import Progress

ARMS = ("baseline", "me-dummy", "me", "sme-dummy", "sme", "film-dummy", "film")


@dataclass(frozen=True, kw_only=True)
class Kits(StudyOptions):
    """Options of the page."""

    arms: tuple[str, ...] = ARMS + CONTROLS
    network: NetworkOptions = NetworkConfig(width=8, depth=3, reduction=1)
    schedule: ScheduleOptions = ScheduleConfig(
        epochs=20, cycles=1, lr_max=3e-3, batch_size=2, crop=96, validate_every=5
    )

    manifest: Path | None = None
    """A CSV or Parquet table of slices, or the folder of a download (with --layout kits). Without it, slices are
    simulated."""

    layout: Literal["table", "kits"] = "table"
    """Format of the manifest: table, or kits (KiTS19, KiTS21 or KiTS23 as downloaded)."""

    size: str = "radiographic_size"
    """The table's column that holds the tumour's size."""

    group_by: str = "case_id"
    """The table's column that holds the case."""

    kits: KitsConfig = field(default_factory=KitsConfig)
    synthetic: RenalConfig = field(default_factory=lambda: RenalConfig(size=96, cases=80))


QUICK = Kits()

PRESETS: dict[Preset, Kits] = {
    "quick": QUICK,
    "small": replace(small(QUICK), synthetic=RenalConfig(size=256, cases=120, slices_per_case=6)),
    "paper": replace(paper(QUICK), synthetic=RenalConfig(size=512, cases=200, slices_per_case=52)),
}


def page(options: Kits) -> Page:
    """Read the slices given, else simulate some; score tumours on slices that have one."""
    from metaseg.datasets.kits import read_kits
    from metaseg.datasets.source import Source
    from metaseg.datasets.table import read_table
    from metaseg.pictures.choose import both, overlays, sweep
    from metaseg.simulators.dry_run import simulate
    from metaseg.simulators.kidney_tumours import make_renal

    def read(folder: Path, progress: "Progress") -> "Manifest":
        if options.manifest is None:
            return simulate(make_renal, folder, options.synthetic, progress, dry_run=options.dry_run)
        if options.layout == "kits":
            return read_kits(Source(options.manifest, folder, progress=progress), options.kits)
        manifest = read_table(options.manifest, [f"{options.size}:continuous"], options.group_by)
        return replace(manifest, classes=RENAL_CLASSES)

    return Page(
        name=named("kits", options.manifest),
        read=read,
        # A slice without a tumour, or without a cyst, is scored 0 for one wrong pixel: it would drown the others.
        scoring=Scoring(empty="left out", endpoint="tumour"),
        pictures=both(overlays(("baseline", "sme"), label="tumour"), sweep("sme", "tumour")),
    )


STUDY = StudyPage(PRESETS, page, __doc__)

if __name__ == "__main__":
    sys.exit(STUDY.main())
