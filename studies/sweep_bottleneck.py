"""Which bottleneck? Reduction ratio, hidden layers and activation of the excitation, and where in the U-Net blocks sit.

Searched inside one arm or in each, as `sweep_schedule.py` does; see there.

    python studies/sweep_bottleneck.py                                         # the arm sme, simulated images
    python studies/sweep_bottleneck.py --objectives val_f1 parameters --pruner none    # how small may it be?
    python studies/sweep_bottleneck.py --tune-each-arm                         # is SME still ahead when all are tuned?

The schedule is that of `studies/seven_cells.py`. The defaults are sized for a few minutes on two CPU cores.
"""

import sys

from metaseg.cli.options import parse
from metaseg.cli.sweep_page import PRESETS, launch_sweep
from metaseg.sweeps.spaces import BOTTLENECK_SPACE

if __name__ == "__main__":
    sys.exit(launch_sweep("sweep_bottleneck", BOTTLENECK_SPACE, parse(PRESETS, __doc__)))
