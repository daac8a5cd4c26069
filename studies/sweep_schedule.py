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

from metaseg.config import NetworkConfig, ScheduleConfig
from metaseg.datasets.synthetic import SyntheticConfig
from metaseg.launch_sweep import SweepOptions, launch_sweep
from metaseg.options import Preset, parse
from metaseg.presets import PAPER_NETWORK, PAPER_SCHEDULE, SMALL_NETWORK, SMALL_SCHEDULE
from metaseg.sweeps.spaces import QUICK_SCHEDULE_SPACE, SCHEDULE_SPACE
from metaseg.sweeps.sweep import SearchConfig

PRESETS: dict[Preset, SweepOptions] = {
    "quick": SweepOptions(
        network=NetworkConfig(width=8, depth=2, reduction=1),
        schedule=ScheduleConfig(epochs=10, cycles=1, lr_max=1e-2, batch_size=4, crop=96, validate_every=2),
    ),
    "small": SweepOptions(
        search=SearchConfig(trials=60),
        network=SMALL_NETWORK,
        schedule=SMALL_SCHEDULE,
        synthetic=SyntheticConfig(size=256, images_per_line=108, wells_per_line=36),
    ),
    "paper": SweepOptions(
        search=SearchConfig(trials=100),
        network=PAPER_NETWORK,
        schedule=PAPER_SCHEDULE,
        synthetic=SyntheticConfig(size=1080, images_per_line=432, wells_per_line=48),
    ),
}

if __name__ == "__main__":
    options = parse(PRESETS, __doc__)
    space = QUICK_SCHEDULE_SPACE if options.preset == "quick" else SCHEDULE_SPACE
    sys.exit(launch_sweep("sweep_schedule", space, options))
