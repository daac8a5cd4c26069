"""Which bottleneck? Reduction ratio, hidden layers and activation of the excitation, and where in the U-Net blocks sit.

Searched inside one arm or in each, as `sweep_schedule.py` does; see there.

    python studies/sweep_bottleneck.py                                         # the arm sme, simulated images
    python studies/sweep_bottleneck.py --objectives val_f1 parameters --pruner none    # how small may it be?
    python studies/sweep_bottleneck.py --tune-each-arm                         # is SME still ahead when all are tuned?

The schedule is that of `studies/seven_cells.py`. The defaults are sized for a few minutes on two CPU cores.
"""

import sys

from metaseg.config import NetworkConfig, ScheduleConfig
from metaseg.datasets.synthetic import SyntheticConfig
from metaseg.launch_sweep import SweepOptions, launch_sweep
from metaseg.options import Preset, parse
from metaseg.presets import PAPER_NETWORK, PAPER_SCHEDULE, SMALL_NETWORK, SMALL_SCHEDULE
from metaseg.sweeps.spaces import BOTTLENECK_SPACE
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
    sys.exit(launch_sweep("sweep_bottleneck", BOTTLENECK_SPACE, parse(PRESETS, __doc__)))
