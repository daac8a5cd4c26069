"""Sweeps: searches over schedule and network settings inside one arm, with Optuna."""
