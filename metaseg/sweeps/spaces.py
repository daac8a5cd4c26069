"""The spaces that studies search; a command line changes them (`Space.changed`)."""

from itertools import combinations
from typing import get_args

from metaseg.config import POSITIONS, Activation, Modulate, Shape
from metaseg.sweeps.dimensions import Choice, Float, Integer
from metaseg.sweeps.space import Space

SCHEDULE_SPACE = Space(
    (
        Choice("shape", get_args(Shape)),
        Integer("cycles", 1, 8, when=("shape", ("cyclic",))),
        # Up to where lr_max begins, so that no trial has them the wrong way round.
        Float("lr_min", 1e-6, 2e-4, log=True, when=("shape", ("cyclic", "one-cycle", "cosine"))),
        Float("lr_max", 2e-4, 1e-2, log=True),
        Integer("epochs", 10, 100, log=True),
        Choice("batch_size", (4, 8, 16, 32)),
        Float("weight_decay", 1e-5, 1e-1, log=True),
    )
)
"""Length of the training and its learning rates."""

QUICK_SCHEDULE_SPACE = SCHEDULE_SPACE.changed(
    ["cycles=1..3", "lr_max=1e-3..3e-2", "epochs=4..12:log", "batch_size=4,8,16"]
)
"""The same for trainings of minutes: fewer steps want higher rates."""

BOTTLENECK_SPACE = Space(
    (
        Choice("reduction", (1, 2, 4, 8, 16, 32)),
        Integer("hidden_layers", 1, 3),
        Choice("activation", get_args(Activation)),
        Choice("positions", tuple(some for size in (1, 2, 3) for some in combinations(POSITIONS, size))),
        Choice("modulate", get_args(Modulate)),
        Choice("embedding", (0, 4, 8, 16)),
    )
)
"""Blocks: size of their MLPs, position, feature maps that they re-weight, and embedding of the metadata."""

NETWORK_SPACE = Space((Choice("width", (8, 16, 32, 64)), Integer("depth", 2, 5)))
"""The U-Net around the blocks."""
