"""Speed of training and evaluation, as ratios to the bare loop on the same machine: `python -m benchmarks.training`."""
