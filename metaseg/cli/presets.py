"""Networks, schedules and simulated images that studies' presets are made of."""

from dataclasses import replace
from typing import TYPE_CHECKING

from metaseg.config import NetworkConfig, ScheduleConfig
from metaseg.simulators.settings import SyntheticConfig

if TYPE_CHECKING:  # the networks are benchmarked where commands' packages aren't installed
    from metaseg.cli.options import Options

LINE_ARMS = ("baseline", "baseline-stratified", "film-dummy", "film", "me", "sme-dummy", "sme")
"""Arms of the paper's Table 1, in its order."""

CONTROLS = ("baseline-matched", "sme-shuffled")
"""Arms that the paper doesn't have: equal capacity, and metadata of other images."""

# Reduction ratio 1: at this width, the paper's 4 would leave the first level's blocks two hidden units.
QUICK_NETWORK = NetworkConfig(width=8, depth=2, reduction=1)
QUICK_SCHEDULE = ScheduleConfig(epochs=10, cycles=1, lr_max=1e-2, batch_size=4, crop=96, validate_every=2)

# Meant for about an hour on one GPU; sized by arithmetic, not measured on one.
SMALL_NETWORK = NetworkConfig(width=32, depth=4)
SMALL_SCHEDULE = ScheduleConfig(epochs=40, cycles=4, crop=256, batch_size=16, validate_every=2)
SMALL_CELLS = SyntheticConfig(size=256, images_per_line=108, wells_per_line=36)

# Stated in the paper (sections 2.1 and 2.2): reduction 4, Adam, 2e-4 to 8e-4 and back in 8 cycles, 100 epochs, the best
# model by validation. Not stated: width, depth, batch and crop; docs/paper.md says why they are these.
PAPER_NETWORK = NetworkConfig(width=64, depth=4, reduction=4)
PAPER_SCHEDULE = ScheduleConfig(epochs=100, cycles=8, lr_min=2e-4, lr_max=8e-4, batch_size=8, crop=512)
PAPER_CELLS = SyntheticConfig(size=1080, images_per_line=432, wells_per_line=48)


def small(options: "Options") -> "Options":
    """The options with the network and schedule of the preset `small`."""
    return replace(options, network=SMALL_NETWORK, schedule=SMALL_SCHEDULE)


def paper(options: "Options") -> "Options":
    """The options with the paper's network and schedule."""
    return replace(options, network=PAPER_NETWORK, schedule=PAPER_SCHEDULE)
