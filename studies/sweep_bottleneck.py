"""Which bottleneck? Reduction ratio, hidden layers and activation of the excitation, and where in the U-Net blocks sit.

Searched inside one arm or in each, as `sweep_schedule.py` does; see there.

    python studies/sweep_bottleneck.py                                         # the arm sme, simulated images
    python studies/sweep_bottleneck.py --objectives val_f1 parameters --pruner none    # how small may it be?
    python studies/sweep_bottleneck.py --tune-each-arm                         # is SME still ahead when all are tuned?

The schedule is that of `studies/seven_cells.py`. The defaults are sized for a few minutes on two CPU cores.
"""

import sys
from typing import TYPE_CHECKING

from metaseg.cli.sweep_page import SweepOptions, SweepPage
from studies.sweep_schedule import PRESETS, images

if TYPE_CHECKING:
    from metaseg.sweeps.space import Space


def space(options: SweepOptions) -> "Space":
    """Search the blocks' perceptrons, places and embeddings."""
    from metaseg.sweeps.spaces import BOTTLENECK_SPACE

    return BOTTLENECK_SPACE


SWEEP = SweepPage(PRESETS, lambda options: images("sweep_bottleneck", options), space, __doc__)

if __name__ == "__main__":
    sys.exit(SWEEP.main())
