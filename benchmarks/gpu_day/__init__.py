"""Everything that is to be checked and measured on a GPU, in minutes: see `benchmarks/gpu_day.sh`."""
