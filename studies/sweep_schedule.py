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

from metaseg.cli.options import parse
from metaseg.cli.sweep_page import PRESETS, launch_sweep
from metaseg.sweeps.spaces import QUICK_SCHEDULE_SPACE, SCHEDULE_SPACE

if __name__ == "__main__":
    options = parse(PRESETS, __doc__)
    space = QUICK_SCHEDULE_SPACE if options.preset == "quick" else SCHEDULE_SPACE
    sys.exit(launch_sweep("sweep_schedule", space, options))
