"""Networks and schedules that studies' presets are made of."""

from metaseg.config import NetworkConfig, ScheduleConfig

# Meant for about an hour on one GPU; sized by arithmetic, not measured on one.
SMALL_NETWORK = NetworkConfig(width=32, depth=4)
SMALL_SCHEDULE = ScheduleConfig(epochs=40, cycles=4, crop=256, batch_size=16, validate_every=2)

# Stated in the paper (sections 2.1 and 2.2): reduction 4, Adam, 2e-4 to 8e-4 and back in 8 cycles, 100 epochs, the best
# model by validation. Not stated: width, depth, batch and crop; docs/paper.md says why they are these.
PAPER_NETWORK = NetworkConfig(width=64, depth=4, reduction=4)
PAPER_SCHEDULE = ScheduleConfig(epochs=100, cycles=8, lr_min=2e-4, lr_max=8e-4, batch_size=8, crop=512)
