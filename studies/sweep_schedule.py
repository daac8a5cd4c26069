"""Which schedule? Learning rates, their shape, epochs, batch size and weight decay, searched inside one arm or in each.

Ray Tune runs trials in parallel, Optuna proposes settings from the results so far and ends trials that do badly. Trials
are compared by validation F1 alone; test images can't be read before the settings are fixed.

    python studies/sweep_schedule.py                                           # the arm sme, simulated images
    python studies/sweep_schedule.py --tune-each-arm                           # is SME still ahead when all are tuned?
    python studies/sweep_schedule.py --manifest images/table.csv --metadata cell_line --group-by well

The same command goes on after a crash; with more `--trials`, or a wider `--space lr_max=1e-3..1e-1`, the same sweep
continues. The defaults are sized for a few minutes on two CPU cores.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from metaseg.cli.options import Preset
from metaseg.cli.presets import PAPER_CELLS, QUICK_NETWORK, QUICK_SCHEDULE, SMALL_CELLS, paper, small
from metaseg.cli.study_page import Page, named
from metaseg.cli.sweep_page import SweepOptions, SweepPage
from metaseg.study.arms import Arm
from metaseg.sweeps.search import SearchConfig

if TYPE_CHECKING:
    from metaseg.data.manifest import Manifest
    from metaseg.datasets.source import Progress
    from metaseg.sweeps.space import Space

QUICK = SweepOptions(network=QUICK_NETWORK, schedule=QUICK_SCHEDULE)

PRESETS: dict[Preset, SweepOptions] = {
    "quick": QUICK,
    "small": replace(small(QUICK), search=SearchConfig(trials=60), synthetic=SMALL_CELLS),
    "paper": replace(paper(QUICK), search=SearchConfig(trials=100), synthetic=PAPER_CELLS),
}
"""Networks, schedules and images of `studies/seven_cells.py`, and more trials where more can be afforded."""


def images(page: str, options: SweepOptions, arms: tuple[Arm, ...] = ()) -> Page:
    """Read the images given, else simulate seven cell lines.

    Args:
        page: the name of the sweep's page.
        options: of the sweep.
        arms: arms of the page's own.
    """
    from metaseg.datasets.layouts import read as read_layout
    from metaseg.datasets.source import Source
    from metaseg.simulators.dry_run import simulate
    from metaseg.simulators.seven_cells import make_seven_cells

    def read(folder: Path, progress: "Progress") -> "Manifest":
        if options.manifest is None:
            return simulate(make_seven_cells, folder, options.synthetic, progress, dry_run=False)
        source = Source(options.manifest, folder, options.metadata, options.group_by, progress)
        return read_layout(options.layout, source)

    name = named(page, options.manifest) if options.name is None else options.name
    return Page(name=name, read=read, arms=arms)


def space(options: SweepOptions) -> "Space":
    """Search schedules; trainings of minutes want other rates than long ones."""
    from metaseg.sweeps.spaces import QUICK_SCHEDULE_SPACE, SCHEDULE_SPACE

    return QUICK_SCHEDULE_SPACE if options.preset == "quick" else SCHEDULE_SPACE


SWEEP = SweepPage(PRESETS, lambda options: images("sweep_schedule", options), space, __doc__)

if __name__ == "__main__":
    sys.exit(SWEEP.main())
