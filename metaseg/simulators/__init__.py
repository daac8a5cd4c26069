"""Simulators: each makes a manifest of simulated images."""
