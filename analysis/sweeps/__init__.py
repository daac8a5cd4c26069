"""Sweeps: trials, importance, the expected best, Pareto fronts."""
