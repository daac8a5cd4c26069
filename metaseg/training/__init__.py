"""Training and evaluation of one run in plain PyTorch, in the current process group if there is one. No Ray."""

TRAINING_VERSION = 3
"""Part of every run id. Raise it when a change of code changes the numbers that a configuration gives."""
